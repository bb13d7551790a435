// What the lesson's page asks of the library: functions from JSON to JSON, by name. The same functions run in the
// browser (host_wasm.cpp) and natively (host_native.cpp), where a test compares their answers. All numbers and pictures
// of the page come from here.
#pragma once
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "diffusion/pipeline.h"
#include "diffusion/sampler.h"
#include "tensor/tensor.h"

namespace sfumato::lesson {

using Json = io::Json;

// A row of a table `functions`; throws Error, or Json's own exception, for arguments that it cannot use.
struct Function {
  const char* name;
  Json (*call)(const Json& args);
};
std::span<const Function> forward_functions();   // forward.cpp: chapters 1 to 3
std::span<const Function> model_functions();     // model.cpp: 4, 5, 7
std::span<const Function> plane_functions();     // plane.cpp: 6 and 7 in the plane
std::span<const Function> live_functions();      // live.cpp: 6 with digits
std::span<const Function> bound_functions();     // bound.cpp: 10
std::span<const Function> notation_functions();  // notation.cpp: 11

// {"call": name, ...arguments} -> {"result": ...} or {"error": text}, as JSON text.
std::string answer(const std::string& request);

// A part of an answer before it is complete; the host passes it on. Defined by each host.
void emit(const Json& part);

// The model and the pictures of the page, read from the folders model/ and pictures/ at first use.
//   pictures/shape.json  [N,H,W,C]   pictures/images.u8  N H W C bytes   pictures/labels.u8  N bytes
// run.json, in a page of `sfumato lesson`: {"name", "step": [...], "loss": [...]} of the run.
const diffusion::Pipeline& model();
const diffusion::Schedule& schedule();  // the model's
// The model's answer, without a graph. labels i64 [N], or not defined for a model without classes.
Tensor network(const Tensor& xt, const Tensor& t, const Tensor& labels);
struct Pictures {
  Tensor images;  // u8 [N,H,W,C]
  Tensor labels;  // i64 [N]
};
const Pictures& pictures();

// The schedule that args.schedule names, of args.steps steps (default: 1000); the model's without a name.
diffusion::Schedule schedule_of(const Json& args);
// x_0 f32 [1,H,W,C]: args.pixels, bytes, where they are given (a drawing), else picture number args.picture.
Tensor picture_of(const Json& args);
// i64 [n], all t.
Tensor times(std::int64_t n, std::int64_t t);

// Numbers as they are, and pixels as bytes for a canvas (-1 is 0, 1 is 255).
Json numbers(const Tensor& x);
Json pixels(const Tensor& x);
// The first two moments over all elements, in double.
struct Moments {
  double mean, variance;
};
Moments moments(const Tensor& x);
// How many elements fall into each of `bins` parts of [-range, range], those outside into the outermost, as shares per
// unit of length; and the density of N(0, σ²) in the middle of each part.
Json histogram(const Tensor& x, double range, int bins);
Json density(double sigma, double range, int bins);

}  // namespace sfumato::lesson

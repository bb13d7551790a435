// What training and sampling need of a network, whatever it is made of. The U-Net (unet.h) and the diffusion transformer
// (dit.h) are two, lucidrains' U-Net (lucid_unet.h) a third; another one is a class derived from Network in files of its own, and a row in network.cpp that reads its
// config.json.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nn/conditioning.h"
#include "nn/layers.h"
#include "tensor/io/image.h"
#include "tensor/io/json.h"

namespace sfumato::nn {

// Running it is const and may happen on several threads at once; its parameters belong to the Params whose Scope
// it was built in, and must outlive it.
class Network {
 public:
  virtual ~Network() = default;
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  // x [N,H,W,in_channels]; t [N], i64 or floating; labels as `conditioning` wants them
  // -> [N,H,W,out_channels]. Throws Error for other shapes.
  virtual Var operator()(const Var& x, const Tensor& t, const Tensor& labels = {},
                         const Mode& mode = {}) const = 0;

  // Its config.json: `_class_name` and all that rebuilds it. (A pipeline adds sample_size.)
  virtual io::Json config() const = 0;

  // The same architecture, built in `scope` with `rows` rows in the class table. Throws Error unless the class
  // overrides it.
  virtual std::unique_ptr<Network> with_rows(const Scope& scope, std::int64_t rows) const;

  // Why it cannot take pictures of this size: "pictures are 28x27: ..."; empty when it can.
  std::string size_problem(std::int64_t height, std::int64_t width) const;

  std::int64_t in_channels = 1, out_channels = 1;
  std::int64_t size_multiple = 1;  // height and width must be multiples of it
  bool square = false;             // and equal
  bool takes_estimate =
      false;  // beside the picture: x may be [N,H,W,2 in_channels] (self_conditioned.h)
  // Of the pictures that it was trained on; it takes others too. 0 x 0: not known (sample_size: null).
  io::Extent sample_size;
  Conditioning conditioning;

 protected:
  Network() = default;
};

// Builds a network whose configuration is known; its parameters are made in the scope.
using BuildNetwork = std::function<std::unique_ptr<Network>(const Scope&)>;

// A class of networks that config.json can name.
struct NetworkClass {
  const char* name;   // `_class_name`, as diffusers has it
  const char* title;  // for people: "U-Net"
  // What a pipeline of diffusers calls the part, and its folder: "unet".
  const char* part;
  // The pipeline with such a part; null: the one that the sampler names.
  const char* pipeline;
  // Throws Error naming the file, and the key, for what the class cannot be or have. `notes` gets a line about what
  // was read past; may be null.
  BuildNetwork (*read)(const io::JsonObject& config, std::vector<std::string>* notes);
  // Whether a config that names no class is of this one.
  bool (*recognises)(const io::JsonObject& config);
  const char* library;  // of Python, that has the class
};
std::span<const NetworkClass> network_classes();

// "UNet2DModel", or more names separated by commas.
std::string network_class_names();
// Null when there is none of that name.
const NetworkClass* find_network_class(const std::string& name);
// Each part's name once: "unet", "transformer".
std::vector<std::string> network_parts();
// The class of a config.json. Throws Error that says what it is of instead; `part_of` ends the message:
// " of a StableDiffusionPipeline".
const NetworkClass& network_class_of(const io::JsonObject& config, const std::string& part_of = "");

}  // namespace sfumato::nn

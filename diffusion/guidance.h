// Guidance: a network that knows what is asked for (the label), led away from one that knows less: the same without
// the label (classifier-free guidance, Ho & Salimans 2021), or an earlier or smaller one with it (autoguidance,
// Karras 2024). With scale w, these write, of answers "good" and "away", something like
//     away + w (good − away),
// and differ in when, in which words (ε, x_0, velocity) and in what of the difference is kept. Or a network led by a
// classifier's gradient (classifier_guidance.h). A method is a row of
// guidance.cpp; samplers see its estimate and know nothing of it.
#pragma once
#include <functional>
#include <limits>
#include <string_view>

#include "diffusion/noise_level.h"
#include "diffusion/objective.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// Two answers about one x_t, [N, ...]. Each picture is guided by itself.
struct Answers {
  const Prediction& prediction;  // what the outputs are
  NoiseLevel level;
  const Tensor& xt;
  Tensor good, away;
  Tensor&
      memory;  // the method's own, from one evaluation of a walk to the next; undefined at the first one
  Tensor score = {};  // ∇_{x_t} log p(y | x_t), for a method `by_classifier`, which has no `away`

  Estimate estimate(const Tensor& output) const { return read(prediction, level, xt, output); }
};

// ∇_{x_t} log p(y | x_t) of pictures x_t [N, ...], about which the network says `said`: [N, ...].
using ScoreOfClass =
    std::function<Tensor(const NoiseLevel& level, const Tensor& xt, const Estimate& said)>;

struct Guidance {
  std::string_view name, help;
  Estimate (*guide)(const Answers& answers, double w);
  double default_scale = 2;
  double least = -std::numeric_limits<double>::infinity(),  // the scales that it takes
      most = std::numeric_limits<double>::infinity();
  // It acts where σ / a is in (from, to]. Elsewhere the good answer stands and the other one is not asked for.
  double from = -1,  // less than no noise
      to = std::numeric_limits<double>::infinity();
  bool acts_at(const NoiseLevel& level) const {
    return level.sigma() > from && level.sigma() <= to;
  }
  // Its ε̂ is not that of its x̂_0, so that it needs a sampler that takes both (Sampler::takes_both).
  bool own_eps = false;
  // It is led by a ScoreOfClass instead of away from an answer.
  bool by_classifier = false;

  // The scale that is no guidance.
  double none() const { return by_classifier ? 0 : 1; }
  // A method by classifier has one, and no other method. Throws Error.
  void expect_classifier(bool given) const;
  // Throws Error for a scale that it does not take.
  void expect_scale(double w) const;

  static const Guidance cfg, interval, rising, rescale, cfgpp, apg, cfg_zero, classifier;
  static constexpr const Guidance* all[] = {&cfg,   &interval, &rising,   &rescale,
                                            &cfgpp, &apg,      &cfg_zero, &classifier};

  bool operator==(const Guidance& other) const { return name == other.name; }
};

}  // namespace sfumato::diffusion

// Chapter 11: one noise level in the words of several papers; and random numbers, for the test of equal bits.
#include <cmath>

#include "apps/lesson/bridge.h"
#include "diffusion/noise_level.h"
#include "tensor/rng.h"

namespace sfumato::lesson {
namespace {

// {t, schedule, steps, guidance}: see noise_level.h. EDM's σ and flow matching's t are those with the same signal-to-noise ratio.
Json notation(const Json& args) {
  const diffusion::Schedule s = schedule_of(args);
  const std::int64_t t = args.at("t");
  const diffusion::NoiseLevel level = s.level(t);
  const double a = level.signal(), sigma = level.noise();
  const auto i = static_cast<std::size_t>(t);
  return {{"T", s.steps()},
          {"beta", s.beta[i]},
          {"alpha", s.alpha[i]},
          {"alpha_bar", s.alpha_bar[i]},
          {"signal", a},
          {"noise", sigma},
          {"snr", level.snr()},
          {"log_snr", level.log_snr()},
          {"edm_sigma", sigma / a},
          {"edm_scale", 1 / a},
          {"flow_t", sigma / (a + sigma)},
          {"flow_scale", 1 / (a + sigma)},
          {"guidance_here", args.value("guidance", 1.0)},
          {"guidance_paper", args.value("guidance", 1.0) - 1},
          {"alpha_bar_again", diffusion::flow_matching(sigma / (a + sigma)).alpha_bar()}};
}

// {points}: log-SNR and √ᾱ along the schedule, for the curve behind the slider.
Json curve(const Json& args) {
  const diffusion::Schedule s = schedule_of(args);
  const std::int64_t points = args.value("points", 100);
  Json t = Json::array(), log_snr = t, alpha_bar = t;
  for (std::int64_t i = 0; i < points; ++i) {
    t.push_back(i * (s.steps() - 1) / (points - 1));
    log_snr.push_back(s.level(t.back()).log_snr());
    alpha_bar.push_back(s.level(t.back()).alpha_bar());
  }
  return {{"t", t}, {"log_snr", log_snr}, {"alpha_bar", alpha_bar}};
}

// {seed, index, count}
Json random(const Json& args) {
  Rng rng(args.value("seed", std::uint64_t{0}), Purpose::test,
          args.value("index", std::uint64_t{0}));
  const std::int64_t n = args.value("count", 1000);
  const Tensor normal = rng.normal({n}), uniform = rng.uniform({n}),
               whole = rng.randint({n}, 1 << 20);
  return {{"normal", numbers(normal)},
          {"uniform", numbers(uniform)},
          {"randint", whole.values<std::int64_t>()}};
}

constexpr Function kFunctions[] = {{"notation", notation}, {"curve", curve}, {"random", random}};

}  // namespace

std::span<const Function> notation_functions() { return kFunctions; }

}  // namespace sfumato::lesson

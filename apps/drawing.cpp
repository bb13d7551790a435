#include "apps/drawing.h"

#include <fmt/format.h>

#include "apps/guide.h"
#include "apps/labels.h"
#include "apps/notes.h"

namespace sfumato::apps {

std::string default_steps_help() {
  const std::int64_t usual = diffusion::Sampler::ddim.default_steps;
  std::string steps = std::to_string(usual);
  for (const diffusion::Sampler* s : diffusion::Sampler::all)
    if (s->default_steps != usual)
      steps += fmt::format(
          "; {} for {}", s->default_steps > 0 ? std::to_string(s->default_steps) : "all", s->name);
  return steps;
}

std::string default_guidance_help() {
  const double usual = diffusion::Guidance::cfg.default_scale;
  std::string scales = fmt::format("{}", usual);
  for (const diffusion::Guidance* g : diffusion::Guidance::all)
    if (g->default_scale != usual) scales += fmt::format(", {} for {}", g->default_scale, g->name);
  return scales;
}

void declare_drawing(CommandLine& line, DrawingOptions& o, const std::string& default_steps,
                     const std::string& default_guidance) {
  line(o.model, kModelOption);
  line(o.steps, {"steps", "Denoising steps (default: " + default_steps + ")"}, kSteps);
  line(o.sampler,
       {"sampler", "How noise becomes a picture (default: as the model says, ddim for ddpm)"},
       Choices<diffusion::Sampler>(diffusion::Sampler::all));
  line(o.spacing, kSpacingOption, diffusion::kSpacings);
  line(o.variance,
       {"variance",
        "The noise in ddpm's steps: fixed_small is right for data that is a point, fixed_large for "
        "data that is noise (default: as the model says)"},
       {"fixed_small", "fixed_large"});
  line(o.eta, {"eta", "Noise in ddim's steps: 0 none, 1 as much as ddpm"}, {0, 1});
  line(o.restart,
       {"restart",
        "Walk part of the way three times, with new noise before each (Restart), by any sampler"});
  line(o.clip, kClipOption, {"on", "diffusers", "dynamic", "off"});
  line(o.guidance,
       {"guidance", "Scale of the guidance; 1 is none (default" + default_guidance + ")"},
       kGuidances);
  line(o.method, kGuidanceMethodOption, Choices<diffusion::Guidance>(diffusion::Guidance::all));
  line(o.guidance_from,
       {"guidance_from",
        "Guide only where the noise σ / a is more than this (default: the method's)"},
       kSigmas);
  line(o.guidance_to,
       {"guidance_to", "Guide only where the noise σ / a is at most this (default: the method's)"},
       kSigmas);
  line(o.guide, kGuideOption);
  line(o.classifier,
       {"classifier",
        "With --guide classifier: its weights, as `evaluate --classifier` writes them "
        "(default: those that `evaluate` has kept of the run's data)"});
  line.needs("classifier", "guide");
  line(o.negative, kNegativeOption);
  line(o.null_label, {"null_label", "The label that means 'no class', for models that do not say"},
       {0, 1 << 24});
  line(o.seed, kSeedOption, kSeeds);
  line(o.batch, {"batch", "Pictures at a time"}, {1, 4096});
  line(o.precision, kPrecisionOption, Choices<nn::Precision>(nn::Precision::all));
}

DrawingModel load_drawing_model(const DrawingOptions& o, Device device) {
  DrawingModel m{diffusion::load_pipeline(o.model), {}, {}};
  m.model.expect_sampling();
  nn::use(*m.model.params, device, *o.precision);
  print_notes(m.model.notes);
  if (o.null_label) {
    if (const std::int64_t rows = m.model.conditioning().rows; *o.null_label >= rows)
      throw Error("sample", fmt::format("--null-label {}: the model's class table has {} rows",
                                        *o.null_label, rows));
    m.model.network->conditioning.null_label = o.null_label;
  }
  if (o.guide == kClassifierGuide)
    m.classifier = load_picture_classifier(o.classifier, "--classifier", o.model, m.model, device);
  else if (!o.classifier.empty())
    throw Error("sample", fmt::format("--classifier guides with --guide classifier, got --guide {}",
                                      o.guide));
  else
    m.guide = load_guide(o.guide, o.model, m.model, device, *o.precision);
  return m;
}

diffusion::GenerateOptions generate_options(const DrawingOptions& o, const DrawingModel& m) {
  diffusion::GenerateOptions g;
  if (!o.clip.empty()) g.clip = diffusion::parse_clip(o.clip);
  g.sampler = o.sampler.value_or(diffusion::default_sampler(m.model));
  g.spacing = o.spacing;
  g.steps = o.steps.value_or(diffusion::default_steps(m.model, g.sampler));
  if (!o.variance.empty()) g.variance = diffusion::parse_variance(o.variance);
  g.eta = o.eta;
  g.restart = o.restart;
  g.guide = m.guide ? &*m.guide : nullptr;
  g.classifier = m.classifier ? &*m.classifier : nullptr;
  g.method =
      o.method.value_or(g.classifier ? diffusion::Guidance::classifier : diffusion::Guidance::cfg);
  g.method.from = o.guidance_from.value_or(g.method.from);
  g.method.to = o.guidance_to.value_or(g.method.to);
  if (!(g.method.from < g.method.to))
    throw Error(
        "sample",
        fmt::format("guidance acts nowhere: expected --guidance-from {} below --guidance-to {}",
                    g.method.from, g.method.to));
  g.guidance = o.guidance.value_or(diffusion::default_guidance(m.model, g.method, g.guide));
  if (!diffusion::guides(g) && (o.method || o.guidance_from || o.guidance_to))
    throw Error("sample", fmt::format("guidance {} is none: expected another --guidance beside "
                                      "--guidance-method, --guidance-from and --guidance-to",
                                      g.guidance));
  if (!o.negative.empty()) g.negative = parse_label("--negative", o.negative, m.model);
  g.seed = o.seed;
  g.batch = o.batch;
  return g;
}

}  // namespace sfumato::apps

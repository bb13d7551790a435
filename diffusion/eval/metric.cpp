#include "diffusion/eval/metric.h"

#include <algorithm>

#include "diffusion/eval/frechet.h"
#include "diffusion/eval/kid.h"
#include "diffusion/eval/manifold.h"
#include "diffusion/eval/neighbours.h"
#include "diffusion/eval/sliced.h"

namespace sfumato::eval {
namespace {

// A measure of the sample alone, without resamples.
using OfSample = Estimate (*)(const Tensor& drawn, const Tensor& real);
template <OfSample measure>
Measure against_sample(const Real& real) {
  return [sample = real.sample](const Judged& set, std::int64_t) {
    return measure(set.predictions.features, sample);
  };
}

}  // namespace

const Metric Metric::agreement = {.name = "agreement",
                                  .help = "read by the classifier as what was asked for",
                                  .against = [](const Real&) -> Measure {
                                    return [](const Judged& set, std::int64_t) {
                                      return share(correct(set.predictions, set.labels),
                                                   static_cast<std::int64_t>(set.labels.size()));
                                    };
                                  },
                                  .unit = "%",
                                  .needs_labels = true};

const Metric Metric::fd = {.name = "fd",
                           .help = "Fréchet distance",
                           .against = [](const Real& real) -> Measure {
                             return [test = real.test](const Judged& set, std::int64_t resamples) {
                               return frechet_estimate(set.predictions.features, test, resamples);
                             };
                           },
                           .of_floor = true};

const Metric Metric::kid = {.name = "kid",
                            .help = "kernel distance, without bias",
                            .against = [](const Real& real) -> Measure {
                              return [kid = Kid(real.test)](const Judged& set,
                                                            std::int64_t resamples) {
                                return kid(set.predictions.features, resamples);
                              };
                            }};

const Metric Metric::mind = {.name = "mind",
                             .help = "sliced Wasserstein distance, squared",
                             .against = [](const Real& real) -> Measure {
                               return [distance = SlicedWasserstein(real.test)](
                                          const Judged& set, std::int64_t resamples) {
                                 return distance(set.predictions.features, resamples);
                               };
                             },
                             .of_floor = true};

const Metric Metric::precision = {.name = "precision",
                                  .help = "drawn pictures that lie among real ones",
                                  .against = against_sample<eval::precision>,
                                  .unit = "%"};

const Metric Metric::recall = {.name = "recall",
                               .help = "real pictures that lie among drawn ones",
                               .against = against_sample<eval::recall>,
                               .unit = "%"};

const Metric Metric::density = {
    .name = "density",
    .help = "how densely real pictures lie about the drawn ones",
    .against = [](const Real& real) -> Measure {
      return [sample = real.sample](const Judged& set, std::int64_t resamples) {
        return eval::density(set.predictions.features, sample, resamples);
      };
    }};

const Metric Metric::coverage = {.name = "coverage",
                                 .help = "real pictures with a drawn one nearby",
                                 .against = against_sample<eval::coverage>,
                                 .unit = "%"};

const Metric Metric::copied = {
    .name = "copied",
    .help = "much nearer to one training picture than to any other (slow)",
    .against = [](const Real& real) -> Measure {
      return [training = real.training](const Judged& set, std::int64_t) {
        const std::vector<Neighbours> found = nearest(set.pictures, training);
        return share(std::count_if(found.begin(), found.end(),
                                   [](const Neighbours& n) { return n.copied(); }),
                     static_cast<std::int64_t>(found.size()));
      };
    },
    .unit = "%",
    .by_default = false,
    .floor_of_test = true};

}  // namespace sfumato::eval

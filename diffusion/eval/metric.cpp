#include "diffusion/eval/metric.h"

#include "diffusion/eval/frechet.h"

namespace sfumato::eval {

const Metric Metric::agreement = {
    .name = "agreement",
    .help = "pictures that the classifier reads as what was asked for",
    .measure =
        [](const Judged& set, const Real&, std::int64_t) {
          return share(correct(set.predictions, set.labels),
                       static_cast<std::int64_t>(set.labels.size()));
        },
    .unit = "%",
    .needs_labels = true};

const Metric Metric::fd = {
    .name = "fd",
    .help = "Fréchet distance of the classifier's features to the test pictures'",
    .measure =
        [](const Judged& set, const Real& real, std::int64_t resamples) {
          return frechet_estimate(set.predictions.features, real.test.features, resamples);
        },
    .of_floor = true};

}  // namespace sfumato::eval

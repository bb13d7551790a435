// What share of the digits that the page drew after live training shows the digit that was asked for: read by the
// classifier of `sfumato evaluate`, trained on MNIST at 16x16, which has never seen a drawn one.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "diffusion/data/dataset.h"
#include "diffusion/eval/classifier.h"
#include "tensor/io/json.h"

using namespace sfumato;

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: lesson_judge MNIST DRAWN.json...\n");
    return 2;
  }
  data::LoadOptions options{.size = io::Extent{16, 16}};
  const eval::Classifier classifier = eval::train_classifier(data::load_dataset(argv[1], options));
  options.split = data::Split::test;
  const data::ImageDataset test = data::load_dataset(argv[1], options);
  const auto real = test.labels.values<std::int64_t>();
  std::printf("classifier: %.1f %% of the real test pictures\n",
              eval::accuracy(eval::classify(classifier, test.images), real));
  bool enough = true;
  for (int i = 2; i < argc; ++i) {
    const io::Json drawn = io::read_json(argv[i]);
    const auto labels = drawn.at("labels").get<std::vector<std::int64_t>>();
    for (const auto& [guidance, bytes] : drawn.at("pictures").items()) {
      const auto pixels = bytes.get<std::vector<std::uint8_t>>();
      const Tensor pictures =
          Tensor::from<std::uint8_t>({static_cast<std::int64_t>(labels.size()), 16, 16, 1}, pixels);
      const double share = eval::accuracy(eval::classify(classifier, pictures), labels);
      std::printf("%s, guidance %s: %.1f %% read as asked\n", argv[i], guidance.c_str(), share);
      enough = enough && (guidance != "2" || share >= 95);
    }
  }
  return enough ? 0 : 1;
}

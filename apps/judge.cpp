#include "apps/judge.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "apps/identity.h"
#include "apps/notes.h"
#include "nn/checkpoint.h"
#include "tensor/io/file.h"

namespace sfumato::apps {
namespace {

// On a terminal, one line that is written over.
void show_progress(std::int64_t step, std::int64_t steps) {
  if (!isatty(STDERR_FILENO) || (step % 100 != 0 && step != steps)) return;
  fmt::print(stderr, "\rtraining the classifier: {:.0f} %{}",
             100.0 * static_cast<double>(step) / static_cast<double>(steps),
             step == steps ? "\n" : "");
}

}  // namespace

std::filesystem::path cached_classifier(const data::ImageDataset& data) {
  const char *cache = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
  std::filesystem::path folder;
  if (cache && *cache) {
    folder = cache;
  } else if (home && *home) {
    folder = std::filesystem::path(home) / ".cache";
  } else {
    return {};  // a folder that others can write to might hold a classifier of theirs
  }
  return folder / "sfumato" /
         fmt::format("classifier-{:016x}.safetensors", fingerprint(identify(data)));
}

eval::Classifier load_or_train_classifier(const std::filesystem::path& file,
                                          const data::ImageDataset& data, bool must_write) {
  if (file.empty()) return eval::train_classifier(data, show_progress);
  if (std::error_code ignored; std::filesystem::exists(file, ignored)) {
    eval::Classifier classifier(data.images.dim(3), data.classes);
    nn::load_parameters(classifier.params(), io::SafeTensors(file));
    return classifier;
  }
  eval::Classifier classifier = eval::train_classifier(data, show_progress);
  try {
    if (file.has_parent_path()) io::make_directories(file.parent_path());
    nn::save_parameters(classifier.params(), classifier.params().flat_values(), file);
  } catch (const Error& e) {
    if (must_write) throw;
    print_notes({fmt::format("the classifier is not kept for the next time: {}", e.what())});
  }
  return classifier;
}

std::vector<std::int64_t> labels_of(const data::ImageDataset& data) {
  const auto labels = data.labels.values<std::int64_t>();
  return {labels.begin(), labels.end()};
}

Tensor real_pictures(const data::ImageDataset& data, const std::vector<std::int64_t>& labels) {
  const std::vector<std::int64_t> all = labels_of(data);
  std::vector<std::int64_t> next(static_cast<std::size_t>(data.classes));
  Tensor pictures(data.images.shape().with(0, static_cast<std::int64_t>(labels.size())), DType::u8);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    std::int64_t& at = next[static_cast<std::size_t>(labels[i])];
    const auto n = static_cast<std::int64_t>(all.size());
    while (at < n && all[static_cast<std::size_t>(at)] != labels[i]) ++at;
    if (at == n)
      throw Error("evaluate", fmt::format("--count {}: the data has too few pictures of class {}",
                                          labels.size(), labels[i]));
    const auto row = static_cast<std::int64_t>(i);
    pictures.slice(row, row + 1).copy_from(data.images.slice(at, at + 1));
    ++at;
  }
  return pictures;
}

}  // namespace sfumato::apps

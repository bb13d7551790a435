// docs/extend.md: a dataset format.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "diffusion/data/loaders.h"
#include "sfumato.h"
#include "tensor/io/file.h"

namespace {

using namespace sfumato;

// CIFAR-10's binary files (https://www.cs.toronto.edu/~kriz/cifar.html): for each picture a byte with its class, then
// 32 x 32 red values, as many green and as many blue ones.
data::ImageDataset load_cifar(const std::filesystem::path& path) {
  constexpr std::int64_t kPixels = 32 * 32, kRecord = 1 + 3 * kPixels;
  const std::string bytes = io::read_file(path, std::size_t{1} << 30);
  const auto size = static_cast<std::int64_t>(bytes.size()), n = size / kRecord;
  if (n < 1 || size % kRecord != 0)
    throw Error(path.string(),
                "expected CIFAR-10 records of 3073 bytes, got " + std::to_string(size) + " bytes");
  data::ImageDataset dataset;
  dataset.images = Tensor({n, 32, 32, 3}, DType::u8);
  Tensor labels({n}, DType::i64);
  auto* to = dataset.images.data<std::uint8_t>();
  for (std::int64_t i = 0; i < n; ++i) {
    const char* record = bytes.data() + i * kRecord;
    labels.data<std::int64_t>()[i] = static_cast<std::uint8_t>(record[0]);
    for (std::int64_t p = 0; p < kPixels; ++p)
      for (std::int64_t c = 0; c < 3; ++c)
        *to++ = static_cast<std::uint8_t>(record[1 + c * kPixels + p]);
  }
  data::set_labels(dataset, path.string(), labels);
  return dataset;
}

TEST(Extend, ADatasetFormat) {
  const auto file = std::filesystem::temp_directory_path() /
                    ("sfumato_cifar_" + std::to_string(::getpid()) + ".bin");
  std::string record(3073, '\0');
  record[0] = 7;
  record[1] = 40;         // the first pixel's red
  record[1 + 1024] = 50;  // and green
  io::write_file_atomic(file, record + record);
  const data::ImageDataset dataset = load_cifar(file);
  std::filesystem::remove(file);
  EXPECT_EQ(dataset.images.shape(), (Shape{2, 32, 32, 3}));
  EXPECT_EQ(dataset.classes, 8);
  EXPECT_EQ(dataset.images.data<std::uint8_t>()[1], 50);
  io::write_file_atomic(file, record + "x");
  EXPECT_THROW(load_cifar(file), Error);
  std::filesystem::remove(file);
}

}  // namespace

// The checksum sees every changed bit, wherever it lies, and pairs of them that cancel each other
// in sums and in plain products.
#include "tensor/io/checksum.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tensor/error.h"
#include "tests/temporary_folder.h"

namespace sfumato::io {
namespace {

namespace fs = std::filesystem;

std::uint64_t sum(const std::string& bytes) { return checksum(bytes.data(), bytes.size()); }

TEST(Checksum, SeesEveryBit) {
  for (const std::size_t size : {1u, 7u, 8u, 9u, 64u}) {
    const std::string bytes(size, '\x5a');
    for (std::size_t bit = 0; bit < 8 * size; ++bit) {
      std::string changed = bytes;
      changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
      EXPECT_NE(sum(changed), sum(bytes)) << size << " bytes, bit " << bit;
    }
  }
}

TEST(Checksum, SeesPairsOfSignsAndTheOrder) {
  std::vector<float> numbers(32, 0.5f);
  const std::uint64_t before = checksum(numbers.data(), 128);
  for (std::size_t i = 0; i < 32; ++i)
    for (std::size_t j = i + 1; j < 32; ++j) {
      numbers[i] = numbers[j] = -0.5f;
      EXPECT_NE(checksum(numbers.data(), 128), before) << i << ' ' << j;
      numbers[i] = numbers[j] = 0.5f;
    }
  EXPECT_NE(sum("12345678abcdefgh"), sum("abcdefgh12345678"));
  EXPECT_NE(sum(std::string(8, '\0')), sum(std::string(9, '\0')));
  EXPECT_NE(sum(""), sum(std::string(1, '\0')));
  EXPECT_NE(checksum("x", 1, 1), checksum("x", 1, 2));
}

TEST(Checksum, OfAFile) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "f.safetensors";
  const std::vector<std::pair<std::string, Tensor>> tensors = {
      {"b", Tensor::full({3, 5}, 0.25)}, {"a", Tensor::full({2}, 7, DType::i64)}};
  EXPECT_EQ(checksum_text(tensors), checksum_text({tensors[1], tensors[0]}));
  EXPECT_NE(checksum_text(tensors), checksum_text({{"c", tensors[0].second}, tensors[1]}));
  write_safetensors(path, tensors, {{kChecksumKey, checksum_text(tensors)}});
  EXPECT_NO_THROW(verify_checksum(SafeTensors(path)));
  const auto size = fs::file_size(path);
  for (std::uintmax_t back = 1; back <= 76; ++back) {  // 16 + 60 bytes of numbers
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(size - back));
    const char byte = static_cast<char>(file.get());
    auto put = [&](char value) {
      file.seekp(static_cast<std::streamoff>(size - back));
      file.put(value).flush();
    };
    put(static_cast<char>(byte ^ 1));
    EXPECT_THROW(verify_checksum(SafeTensors(path)), Error) << back;
    put(byte);
  }
  EXPECT_NO_THROW(verify_checksum(SafeTensors(path)));
  write_safetensors(path, tensors);  // without one there is nothing to compare
  EXPECT_NO_THROW(verify_checksum(SafeTensors(path)));
}

}  // namespace
}  // namespace sfumato::io

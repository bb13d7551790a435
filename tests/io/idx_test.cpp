#include "tensor/io/idx.h"

#include "tests/io/bytes.h"
#include "tests/io/io_test.h"

namespace sfumato::io {
namespace {

using namespace std::string_literals;
using IdxTest = IoTest;

const std::string kImages = idx({2, 3, 2}, "abcdefghijkl");

TEST_F(IdxTest, ReadsRawAndGzipByContent) {
  for (const std::string& bytes : {kImages, gzip(kImages)}) {
    const Tensor t = read_idx(put("f.whatever", bytes));
    EXPECT_EQ(t.shape(), (Shape{2, 3, 2}));
    EXPECT_EQ(t.data<std::uint8_t>()[11], 'l');
  }
  EXPECT_EQ(read_idx(put("f", idx({3}, "abc"))).shape(), (Shape{3}));
  EXPECT_EQ(read_idx(put("f", idx({1, 1, 1, 3}, "abc"))).shape(), (Shape{1, 1, 1, 3}));
}

TEST_F(IdxTest, ReadsConcatenatedGzipMembers) {
  const std::string parts = gzip(kImages.substr(0, 9)) + gzip(kImages.substr(9));
  EXPECT_EQ(read_idx(put("f", parts)).data<std::uint8_t>()[11], 'l');
}

TEST_F(IdxTest, RefusesBrokenFiles) {
  std::string wrong_sum = gzip(kImages);
  wrong_sum[wrong_sum.size() - 8] ^= 1;
  const std::pair<std::string, std::string> cases[] = {
      {"", "cut short inside the IDX header"},
      {"\0\0\x08"s, "cut short inside the IDX header"},
      {"\0\0\x08\3\0\0"s, "cut short inside the IDX header"},
      {"\x89PNG", "got 137 80 78 71"},
      {"\0\0\x0d\3"s + std::string(12, '\1'), "type 13"},
      {"\0\0\x08\2"s + std::string(12, '\1'), "of rank 2"},
      {"\0\0\x08\xff"s + std::string(12, '\1'), "of rank 255"},
      {idx({2, 0, 2}, ""), "extent 1 of the IDX header is 0"},
      {idx({2, 3, 2}, "abcdefghijk"), "cut short: the IDX header promises [2, 3, 2]"},
      {idx({2, 3, 2}, "abcdefghijklm"), "trailing data"},
      {idx({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, "a"), "promises more data"},
      {idx({0xffffffff}, "a"), "promises more data"},
      {gzip(idx({0xffffffff, 28, 28}, "a")), "promises more data"},
      {gzip(idx({2, 3, 2}, "abcdefghijk")), "cut short: the IDX header promises"},
      {gzip(idx({2, 3, 2}, "abcdefghijklm")), "trailing data"},
      {gzip(kImages) + "x", "trailing bytes after the gzip data"},
      {gzip(kImages) + gzip("x"), "trailing data"},
      {wrong_sum, "damaged gzip data: incorrect data check"},
      {gzip(""), "cut short inside the IDX header"},
      {"\x1f\x8b", "cut short inside the gzip data"},
  };
  for (const auto& [bytes, text] : cases)
    expect_error("images.idx", text, [&, &bytes = bytes] { read_idx(put("images.idx", bytes)); });
  expect_error("absent", "no such file", [&] { read_idx(at("absent")); });
}

TEST_F(IdxTest, DecompressionStopsAtThePromise) {
  // 32 MiB of zeros behind a header that promises one byte: refused at once, not unpacked.
  const std::string bomb = gzip(idx({1}, std::string(std::size_t{1} << 25, '\0')));
  ASSERT_LT(bomb.size(), 1u << 20);
  expect_error("bomb", "trailing data", [&] { read_idx(put("bomb", bomb)); });
}

TEST_F(IdxTest, EveryCutIsRefused) {
  for (const std::string& bytes : {kImages, gzip(kImages)})
    for (std::size_t n = 0; n < bytes.size(); ++n)
      expect_error("f.gz", "cut short", [&] { read_idx(put("f.gz", bytes.substr(0, n))); });
}

TEST_F(IdxTest, DamageNeverCrashes) {
  const auto read = [&](const std::string& bytes) { read_idx(put("f.idx", bytes)); };
  survive_damage(kImages, "f.idx", 1000, read);
  survive_damage(gzip(kImages), "f.idx", 1000, read);
}

}  // namespace
}  // namespace sfumato::io

#include "tensor/io/npy.h"

#include <cstring>

#include "tests/io/io_test.h"

namespace sfumato::io {
namespace {

using namespace std::string_literals;
using NpyTest = IoTest;

std::string npy(const std::string& dict, std::string_view data, int version = 1) {
  std::string bytes = "\x93NUMPY";
  bytes += static_cast<char>(version);
  bytes += '\0';
  for (std::size_t i = 0; i < (version == 1 ? 2u : 4u); ++i)
    bytes += static_cast<char>(dict.size() >> 8 * i & 255);
  return bytes.append(dict).append(data);
}

// Python: numpy.save(f, numpy.arange(6, dtype=numpy.float32).reshape(2, 3)), numpy 2.4.6.
const std::string kReferenceNpy =
    npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }" + std::string(58, ' ') + "\n",
        "\0\0\0\0\0\0\x80?\0\0\0@\0\0@@\0\0\x80@\0\0\xa0@"s);

TEST_F(NpyTest, WritesWhatNumpyWrites) {
  write_npy(at("f.npy"), Tensor::from<float>({2, 3}, {0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(get(at("f.npy")), kReferenceNpy);
}

TEST_F(NpyTest, RoundTrips) {
  const Tensor tensors[] = {Tensor::from<std::uint8_t>({1, 2, 2, 1}, {0, 1, 2, 255}),
                            Tensor::from<double>({2}, {0.5, -1}),
                            Tensor::from<std::int64_t>({}, {-9}), Tensor(Shape{0, 3})};
  for (const Tensor& t : tensors) {
    write_npy(at("f.npy"), t);
    EXPECT_EQ((get(at("f.npy")).size() - t.bytes()) % 64, 0u);
    const Tensor u = read_npy(at("f.npy"));
    EXPECT_EQ(u.shape(), t.shape());
    EXPECT_EQ(u.dtype(), t.dtype());
    EXPECT_EQ(std::memcmp(u.raw(), t.raw(), t.bytes()), 0);
  }
  expect_error("f.npy", "undefined", [&] { write_npy(at("f.npy"), Tensor()); });
}

TEST_F(NpyTest, ReadsVersion2AndOtherSpellings) {
  const auto read = [&](const std::string& bytes) { return read_npy(put("f.npy", bytes)).shape(); };
  EXPECT_EQ(read(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }\n", "abc", 2)),
            Shape{3});
  EXPECT_EQ(read(npy("{\"shape\":(1,3),\"fortran_order\":False,\"descr\":\"|u1\"}", "abc")),
            (Shape{1, 3}));
  EXPECT_EQ(read(npy(" { 'shape' : ( ) , 'fortran_order' : False , 'descr' : '|u1' } ", "a")),
            Shape{});
}

TEST_F(NpyTest, RefusesBrokenFiles) {
  const auto with = [](const std::string& descr, const std::string& order,
                       const std::string& shape) {
    return npy("{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }",
               "abcd");
  };
  const std::pair<std::string, std::string> cases[] = {
      {"", "begins with \\x93NUMPY"},
      {"PK\3\4 a zip archive", "begins with \\x93NUMPY"},
      {"\x93NUMPY", "cut short"},
      {"\x93NUMPY\3\0\0\0\0\0"s, "version 1.0 or 2.0, got 3.0"},
      {"\x93NUMPY\1\0\xff\xff{}"s, "its length says 65535"},
      {"\x93NUMPY\2\0\xff\xff\xff\xff"s, "its length says 4294967295"},
      {npy("{}", ""), "all of descr"},
      {npy("", "xx"), "expected {"},
      {npy("{'descr': '|u1'", ""), "expected }"},
      {npy("{'descr': '|u1', 'descr': '|u1'}", ""), "once each"},
      {npy("{'order': '|u1'}", ""), "once each"},
      {npy("{'descr': '|u1", ""), "closing quote"},
      {with("'|u1'", "False", "(4,)") + "x", "the file holds 5"},
      {with("'|u1'", "False", "(5,)"), "the file holds 4"},
      {with("'<f4'", "False", "(4,)"), "needs 4 x 4 bytes"},
      {with("'|u1'", "True", "(4,)"), "fortran_order is True"},
      {with("'|u1'", "0", "(4,)"), "True or False"},
      {with("'>f4'", "False", "(1,)"), "unsupported dtype \">f4\""},
      {with("'<i4'", "False", "(1,)"), "unsupported dtype \"<i4\""},
      {with("[('a', '|u1')]", "False", "(4,)"), "structured"},
      {with("'|u1'", "False", "4"), "expected ("},
      {with("'|u1'", "False", "(-4,)"), "extents >= 0"},
      {with("'|u1'", "False", "(99999999999999999999,)"), "extents >= 0"},
      {with("'|u1'", "False", "(4611686018427387904, 8)"), "too large"},
      {with("'<f8'", "False", "(4611686018427387904,)"), "the file holds 4"},
      {with("'|u1'", "False", "(1, 1, 1, 1, 1, 1, 4)"), "at most 6 axes"},
      {with("'|u1'", "False", "(4,)} {"), "after the closing brace"},
  };
  for (const auto& [bytes, text] : cases)
    expect_error("f.npy", text, [&, &bytes = bytes] { read_npy(put("f.npy", bytes)); });
}

TEST_F(NpyTest, DamageNeverCrashes) {
  survive_damage(kReferenceNpy, "f.npy", 1500,
                 [&](const std::string& bytes) { read_npy(put("f.npy", bytes)); });
  for (std::size_t n = 0; n < kReferenceNpy.size(); ++n)
    expect_error("f.npy", "", [&] { read_npy(put("f.npy", kReferenceNpy.substr(0, n))); });
}

}  // namespace
}  // namespace sfumato::io

#include "tensor/io/safetensors.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/io/io_test.h"

namespace sfumato::io {
namespace {

using namespace std::string_literals;
using SafeTensorsTest = IoTest;

std::string file_of(const std::string& header, std::string_view data = "") {
  const std::uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes.append(header).append(data);
}

// Python: safetensors.numpy.save({...}, metadata={"format": "pt"}), safetensors 0.8.0.
const std::string kReference = file_of(
    "{\"__metadata__\":{\"format\":\"pt\"},\"n\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":["
    "0,8]"
    "},\"d\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[8,16]},\"b\":{\"dtype\":\"F32\","
    "\"shape\""
    ":[2,2],\"data_offsets\":[16,32]},\"c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[32,"
    "36]},"
    "\"\xc3\xa9\\\"\\n\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[36,36]},\"a\":{"
    "\"dtype\":"
    "\"U8\",\"shape\":[3],\"data_offsets\":[36,39]}}  ",
    "\xfb\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\xe0?"
    "\0\0\xc0?\0\0\0\xc0\0\0\0\0\0\0@@\0\0\xe0@\1\2\3"s);

std::vector<std::pair<std::string, Tensor>> reference_tensors() {
  return {{"b", Tensor::from<float>({2, 2}, {1.5f, -2, 0, 3})},
          {"a", Tensor::from<std::uint8_t>({3}, {1, 2, 3})},
          {"n", Tensor::from<std::int64_t>({}, {-5})},
          {"d", Tensor::from<double>({1}, {0.5})},
          {"c", Tensor::from<float>({1}, {7})},
          {"\u00e9\"\n", Tensor(Shape{0, 4})}};
}

TEST_F(SafeTensorsTest, WritesWhatTheReferenceWrites) {
  write_safetensors(at("f"), reference_tensors(), {{"format", "pt"}});
  EXPECT_EQ(get(at("f")), kReference);
}

TEST_F(SafeTensorsTest, ReadsWhatTheReferenceWrites) {
  const SafeTensors file(put("f", kReference));
  EXPECT_EQ(file.names(), (std::vector<std::string>{"a", "b", "c", "d", "n", "\u00e9\"\n"}));
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
  EXPECT_TRUE(file.contains("d"));
  EXPECT_FALSE(file.contains("e"));
  EXPECT_EQ(file.shape("b"), (Shape{2, 2}));
  EXPECT_EQ(file.entry("b").dtype, "F32");
  for (const auto& [name, expected] : reference_tensors()) {
    const Tensor t = file.tensor(name);
    EXPECT_EQ(t.shape(), expected.shape());
    EXPECT_EQ(t.dtype(), expected.dtype());
    EXPECT_EQ(std::memcmp(t.raw(), expected.raw(), t.bytes()), 0) << name;
  }
  expect_error("f]", "holds no tensor \"q\"", [&] { file.tensor("q"); });
}

TEST_F(SafeTensorsTest, EmptyFileRoundTrips) {
  write_safetensors(at("f"), {});
  EXPECT_EQ(get(at("f")), file_of("{}      "));
  EXPECT_TRUE(SafeTensors(at("f")).entries().empty());
}

TEST_F(SafeTensorsTest, ConvertsSmallTypesExactly) {
  const SafeTensors f(
      put("f", file_of(R"({"h":{"dtype":"F16","shape":[7],"data_offsets":[0,14]},)"
                       R"("b":{"dtype":"BF16","shape":[2],"data_offsets":[14,18]},)"
                       R"("i":{"dtype":"I32","shape":[1],"data_offsets":[18,22]},)"
                       R"("s":{"dtype":"I16","shape":[1],"data_offsets":[22,24]},)"
                       R"("c":{"dtype":"I8","shape":[1],"data_offsets":[24,25]},)"
                       R"("t":{"dtype":"BOOL","shape":[3],"data_offsets":[25,28]}})",
                       "\x00\x3c\x00\xc0\x01\x00\xff\x83\x00\x7c\x00\x80\xff\x7b"
                       "\x80\x3f\x49\xc0\xfe\xff\xff\xff\x00\x80\x81\0\1\2"s)));
  const Tensor h = f.tensor("h");
  const float expected[] = {
      1, -2, 0x1p-24f, -1023 * 0x1p-24f, std::numeric_limits<float>::infinity(), -0.0f, 65504};
  for (int i = 0; i < 7; ++i)
    EXPECT_EQ(std::bit_cast<std::uint32_t>(h.data<float>()[i]),
              std::bit_cast<std::uint32_t>(expected[i]))
        << i;
  EXPECT_EQ(f.tensor("b").data<float>()[0], 1.0f);
  EXPECT_EQ(f.tensor("b").data<float>()[1], -3.140625f);
  EXPECT_EQ(f.tensor("i").data<std::int64_t>()[0], -2);
  EXPECT_EQ(f.tensor("s").data<std::int64_t>()[0], -32768);
  EXPECT_EQ(f.tensor("c").data<std::int64_t>()[0], -127);
  const Tensor t = f.tensor("t");
  EXPECT_EQ(t.data<std::uint8_t>()[0] + t.data<std::uint8_t>()[1] + t.data<std::uint8_t>()[2], 2);
}

TEST_F(SafeTensorsTest, EveryHalfIsExact) {
  std::string data(2 * 65536, '\0');
  for (unsigned i = 0; i < 65536; ++i) {
    data[2 * i] = static_cast<char>(i & 255);
    data[2 * i + 1] = static_cast<char>(i >> 8);
  }
  const SafeTensors f(put(
      "f", file_of(R"({"h":{"dtype":"F16","shape":[256,256],"data_offsets":[0,131072]}})", data)));
  const Tensor h = f.tensor("h");
  for (unsigned i = 0; i < 65536; ++i) {
    const int exponent = static_cast<int>(i >> 10 & 31), fraction = static_cast<int>(i & 1023);
    const double magnitude = exponent == 31  ? (fraction ? NAN : INFINITY)
                             : exponent == 0 ? std::ldexp(fraction, -24)
                                             : std::ldexp(1024 + fraction, exponent - 25);
    const float expected = static_cast<float>(i >> 15 ? -magnitude : magnitude);
    const float got = h.data<float>()[i];
    ASSERT_TRUE(std::isnan(expected) ? std::isnan(got) : got == expected) << i;
    ASSERT_TRUE(std::isnan(expected) || std::signbit(got) == std::signbit(expected)) << i;
  }
}

TEST_F(SafeTensorsTest, RefusesBrokenHeaders) {
  const auto entry = [](const std::string& body) {
    return file_of("{\"w\":{" + body + "}}", "12345678");
  };
  const std::string f32 = R"("dtype":"F32",)";
  const std::pair<std::string, std::string> cases[] = {
      {"", "got only 0 bytes"},
      {"1234567", "got only 7 bytes"},
      {"\x10\0\0\0\0\0\0\0{}"s, "at most 2 bytes, its length says 16"},
      {"\xff\xff\xff\xff\xff\xff\xff\xff{}"s, "its length says 18446744073709551615"},
      {file_of(""), "begins with {"},
      {file_of(" {}"), "begins with {"},
      {file_of("[]"), "begins with {"},
      {file_of("{"), "expected JSON"},
      {file_of("{}x"), "expected JSON"},
      {file_of(std::string(200, '[').insert(0, "{\"a\":")), "nested deeper"},
      {file_of("{\"w\":1}"), "\"w\"] expected a JSON object"},
      {file_of("{}", "x"), "expected 0 bytes of data, the file holds 1"},
      {file_of(R"({"__metadata__":{"a":1}})"), "\"a\": expected a string"},
      {file_of(R"({"__metadata__":[]})"), "expected a JSON object"},
      {entry(""), "\"dtype\" is missing"},
      {entry(f32), "expected JSON"},
      {entry(R"("dtype":"F32","shape":[2])"), "\"data_offsets\" is missing"},
      {entry(R"("dtype":"F32","data_offsets":[0,8])"), "\"shape\" is missing"},
      {entry(R"("dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8])"),
       "unsupported dtype \"F8_E4M3\""},
      {entry(R"("dtype":32,"shape":[2],"data_offsets":[0,8])"), "\"dtype\": expected a string"},
      {entry(f32 + R"("shape":[-2],"data_offsets":[0,8])"), "\"shape\" holds -2"},
      {entry(f32 + R"("shape":[2.0],"data_offsets":[0,8])"), "expected a whole number"},
      {entry(f32 + R"("shape":[1,1,1,1,1,1,2],"data_offsets":[0,8])"), "at most 6 axes, got 7"},
      {entry(f32 + R"("shape":[3],"data_offsets":[0,8])"), "span 8 bytes"},
      {entry(f32 + R"("shape":[2],"data_offsets":[0,7])"), "span 7 bytes"},
      {entry(f32 + R"("shape":[2],"data_offsets":[8,0])"), "expected [begin, end]"},
      {entry(f32 + R"("shape":[2],"data_offsets":[0])"), "expected [begin, end]"},
      {entry(f32 + R"("shape":[2],"data_offsets":[-8,0])"), "holds -8"},
      {entry(f32 + R"("shape":[4611686018427387904,8],"data_offsets":[0,8])"), "too large"},
      {entry(f32 + R"("shape":[4611686018427387904],"data_offsets":[0,0])"), "span 0 bytes"},
      {entry(f32 + R"("shape":[9223372036854775808],"data_offsets":[0,8])"), "whole number"},
      {entry(f32 + R"("shape":[4],"data_offsets":[0,16])"),
       "ends at offset 16, but the file holds 8"},
      {entry(f32 + R"("shape":[1],"data_offsets":[4,8])"), "leaves a gap"},
      {entry(f32 + R"("shape":[1],"data_offsets":[0,4])"),
       "expected 4 bytes of data, the file holds 8"},
      {entry(f32 + R"("shape":[2],"data_offsets":[9223372036854775800,9223372036854775807])"),
       "span 7"},
  };
  for (const auto& [bytes, text] : cases)
    expect_error("f.safetensors", text,
                 [&, &bytes = bytes] { SafeTensors(put("f.safetensors", bytes)); });
}

// A header must not cost a hundred times its bytes.
TEST_F(SafeTensorsTest, HeadersAreLimited) {
  expect_error("f]", "header of at most 16777216 bytes",
               [&] { SafeTensors(put("f", file_of("{}" + std::string(16 << 20, ' ')))); });
  std::string lists = R"({"a":[{})";
  for (int i = 0; i < 1'000'000; ++i) lists += ",{}";
  expect_error("f]", "at most 1000000 JSON values",
               [&] { SafeTensors(put("f", file_of(lists + "]}"))); });
  std::string metadata = R"({"__metadata__":{"a":"")";
  for (int i = 0; i < 65536; ++i) metadata += ",\"" + std::to_string(i) + "\":\"\"";
  expect_error("__metadata__", "at most 65536 entries, got 65537",
               [&] { SafeTensors(put("f", file_of(metadata + "}}"))); });
}

TEST_F(SafeTensorsTest, RefusesOverlapsGapsAndDuplicates) {
  const auto two = [](const char* name, int b0, int e0, int b1, int e1) {
    return file_of("{\"v\":{\"dtype\":\"U8\",\"shape\":[" + std::to_string(e0 - b0) +
                       "],\"data_offsets\":[" + std::to_string(b0) + "," + std::to_string(e0) +
                       "]},\"" + name + "\":{\"dtype\":\"U8\",\"shape\":[" +
                       std::to_string(e1 - b1) + "],\"data_offsets\":[" + std::to_string(b1) + "," +
                       std::to_string(e1) + "]}}",
                   "12345678");
  };
  SafeTensors(put("f", two("w", 0, 4, 4, 8)));
  SafeTensors(put("f", two("w", 4, 8, 0, 4)));
  SafeTensors(put("f", two("w", 0, 0, 0, 8)));
  const auto open = [&](const std::string& bytes) {
    return [&, bytes] { SafeTensors(put("f", bytes)); };
  };
  expect_error("f]", "overlaps", open(two("w", 0, 5, 4, 8)));
  expect_error("f]", "overlaps", open(two("w", 0, 8, 0, 8)));
  expect_error("f]", "leaves a gap", open(two("w", 0, 3, 4, 8)));
  expect_error("f]", "\"v\" stands twice", open(two("v", 0, 4, 4, 8)));
}

TEST_F(SafeTensorsTest, DamageNeverCrashes) {
  survive_damage(kReference, "f.st", 2000, [&](const std::string& bytes) {
    const SafeTensors file(put("f.st", bytes));
    for (const std::string& name : file.names()) file.tensor(name);
  });
}

TEST_F(SafeTensorsTest, EveryCutIsRefused) {
  for (std::size_t n = 0; n < kReference.size(); ++n)
    expect_error("f.st", "", [&] { SafeTensors(put("f.st", kReference.substr(0, n))); });
}

TEST_F(SafeTensorsTest, FileCutAfterOpeningIsReported) {
  const SafeTensors file(put("f", kReference));
  std::filesystem::resize_file(at("f"), kReference.size() - 1);
  expect_error("f]", "cut short", [&] { file.tensor("a"); });
}

TEST_F(SafeTensorsTest, RefusesWhatCannotBeWritten) {
  put("f", "old");
  const Tensor t = Tensor::zeros({2});
  const auto write = [&](std::vector<std::pair<std::string, Tensor>> tensors,
                         std::map<std::string, std::string> metadata = {}) {
    return [&, tensors, metadata] { write_safetensors(at("f"), tensors, metadata); };
  };
  expect_error("f]", "\"a\" is given twice", write({{"a", t}, {"b", t}, {"a", t}}));
  expect_error("f]", "is reserved", write({{"__metadata__", t}}));
  expect_error("f]", "\"a\" is undefined", write({{"a", Tensor()}}));
  expect_error("f]", "UTF-8", write({{"\xff", t}}));
  expect_error("f]", "UTF-8", write({{"a", t}}, {{"k", "\xff"}}));
  EXPECT_EQ(get(at("f")), "old");
  EXPECT_EQ(entries(), 1);
}

TEST_F(SafeTensorsTest, ViewsAreWrittenAsTheyLook) {
  const Tensor t = Tensor::from<float>({3, 2}, {0, 1, 2, 3, 4, 5});
  write_safetensors(at("f"), {{"v", t.slice(1, 2)}});
  const Tensor v = SafeTensors(at("f")).tensor("v");
  EXPECT_EQ(v.shape(), (Shape{1, 2}));
  EXPECT_EQ(v.data<float>()[1], 3);
}

}  // namespace
}  // namespace sfumato::io

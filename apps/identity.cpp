#include "apps/identity.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "tensor/error.h"
#include "tensor/io/checksum.h"

namespace sfumato::apps {
namespace {

std::uint64_t get_hex(const io::JsonObject& json, const char* key) {
  const std::string text = json.get_string(key);
  std::uint64_t value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (text.size() != 16 || end.ec != std::errc{} || end.ptr != text.data() + text.size())
    throw Error(json.source(), fmt::format("\"{}\": expected 16 hexadecimal digits, got {}", key,
                                           io::in_quotes(text)));
  return value;
}

}  // namespace

DataIdentity identify(const data::ImageDataset& data) {
  DataIdentity identity{data.images.shape(), data.classes,
                        io::checksum(data.images.raw(), data.images.bytes()), 0};
  if (data.labels.defined()) identity.labels = io::checksum(data.labels.raw(), data.labels.bytes());
  return identity;
}

std::uint64_t fingerprint(const DataIdentity& identity) {
  const std::uint64_t sums[] = {identity.pixels, identity.labels};
  return io::checksum(
      sums, sizeof sums,
      io::checksum(identity.images.begin(),
                   sizeof(std::int64_t) * static_cast<std::size_t>(identity.images.rank())));
}

io::Json to_json(const DataIdentity& identity) {
  io::Json json = io::Json::object();
  json["shape"] = std::vector<std::int64_t>(identity.images.begin(), identity.images.end());
  json["classes"] = identity.classes;
  json["pixels"] = fmt::format("{:016x}", identity.pixels);
  json["labels"] = fmt::format("{:016x}", identity.labels);
  return json;
}

DataIdentity parse_data_identity(const io::JsonObject& json) {
  const std::vector<std::int64_t> shape = json.get_ints("shape");
  if (shape.size() != 4 || *std::min_element(shape.begin(), shape.end()) < 1)
    throw Error(json.source(),
                fmt::format("\"shape\": expected [N,H,W,C], got [{}]", fmt::join(shape, ",")));
  DataIdentity identity;
  try {
    identity.images = Shape(shape.data(), shape.data() + shape.size());
  } catch (const Error& e) {
    throw Error(json.source(), fmt::format("\"shape\": {}", e.what()));
  }
  identity.classes = json.get_int("classes");
  identity.pixels = get_hex(json, "pixels");
  identity.labels = get_hex(json, "labels");
  return identity;
}

std::string difference(const DataIdentity& then, const DataIdentity& now) {
  const Shape &a = then.images, &b = now.images;
  if (a[0] != b[0]) return fmt::format("{} pictures then, {} now", a[0], b[0]);
  if (!(a == b))
    return fmt::format("pictures of {}x{}x{} then, of {}x{}x{} now", a[1], a[2], a[3], b[1], b[2],
                       b[3]);
  if (then.classes != now.classes)
    return fmt::format("{} classes then, {} now", then.classes, now.classes);
  if (then.pixels != now.pixels)
    return then.labels == now.labels ? "the pixels are others" : "pixels and labels are others";
  return then.labels == now.labels ? "" : "the labels are others";
}

}  // namespace sfumato::apps

#include "tensor/io/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "tensor/error.h"
#include "tensor/f16.h"
#include "tensor/io/json.h"

namespace sfumato::io {
namespace {

static_assert(std::endian::native == std::endian::little, "the file's numbers are little-endian");

// The reference implementation reads up to 100 MB, whose parsing takes gigabytes; a header of 16
// MiB names more tensors than any network has here.
constexpr std::uint64_t kMaxHeader = kMaxJsonBytes;
constexpr std::size_t kMaxMetadata = 65536;  // entries
constexpr const char* kMetadata = "__metadata__";

struct FileType {
  const char* name;
  std::uint64_t bytes;
  DType dtype;  // in memory
};

constexpr std::array<FileType, 10> kTypes = {{{"F64", 8, DType::f64},
                                              {"F32", 4, DType::f32},
                                              {"F16", 2, DType::f32},
                                              {"BF16", 2, DType::f32},
                                              {"I64", 8, DType::i64},
                                              {"I32", 4, DType::i64},
                                              {"I16", 2, DType::i64},
                                              {"I8", 1, DType::i64},
                                              {"U8", 1, DType::u8},
                                              {"BOOL", 1, DType::u8}}};

const FileType* find_type(std::string_view name) {
  const auto it = std::find_if(kTypes.begin(), kTypes.end(),
                               [&](const FileType& type) { return type.name == name; });
  return it == kTypes.end() ? nullptr : &*it;
}

float from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

// Reads `count` values of type From and stores f(value), through a small buffer: the file's form of
// a tensor of gigabytes is never whole in memory.
template <class From, class To, class F>
void read_converted(const InputFile& file, std::uint64_t offset, std::span<To> to, F f) {
  std::vector<From> buffer(std::min<std::size_t>(to.size(), 1 << 18));
  while (!to.empty()) {
    const std::size_t n = std::min(buffer.size(), to.size());
    file.read_at(offset, buffer.data(), n * sizeof(From));
    std::transform(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(n), to.begin(), f);
    offset += n * sizeof(From);
    to = to.subspan(n);
  }
}

// An array of whole numbers >= 0; `what` is named in the error.
std::vector<std::int64_t> extents(const JsonObject& object, const char* what) {
  std::vector<std::int64_t> values = object.get_ints(what);
  for (std::int64_t v : values)
    if (v < 0)
      throw Error(object.source(), fmt::format("\"{}\" holds {}, expected numbers >= 0", what, v));
  return values;
}

TensorEntry read_entry(const std::string& name, const JsonObject& object) {
  TensorEntry entry{name, object.get_string("dtype"), {}, 0, 0};
  const std::vector<std::int64_t> shape = extents(object, "shape");
  const std::vector<std::int64_t> offsets = extents(object, "data_offsets");
  const FileType* type = find_type(entry.dtype);
  if (!type)
    throw Error(object.source(), fmt::format("unsupported dtype {}, expected one of F64 F32 F16 "
                                             "BF16 I64 I32 I16 I8 U8 BOOL",
                                             in_quotes(entry.dtype)));
  if (offsets.size() != 2 || offsets[0] > offsets[1])
    throw Error(object.source(), fmt::format("data_offsets is [{}], expected [begin, end]",
                                             fmt::join(offsets, ", ")));
  entry.begin = static_cast<std::uint64_t>(offsets[0]);
  entry.end = static_cast<std::uint64_t>(offsets[1]);
  try {
    entry.shape = Shape(shape.data(), shape.data() + shape.size());
  } catch (const Error& e) {
    throw Error(object.source(), e.what());
  }
  // Divided, not multiplied: a shape of 2^62 elements would overflow.
  const auto elements = static_cast<std::uint64_t>(entry.shape.size());
  const std::uint64_t bytes = entry.end - entry.begin;
  if (bytes % type->bytes != 0 || bytes / type->bytes != elements)
    throw Error(object.source(),
                fmt::format("data_offsets span {} bytes, but {} of shape {} needs {} x {}", bytes,
                            entry.dtype, entry.shape.str(), elements, type->bytes));
  return entry;
}

// The format's rule: in the order of their offsets, the entries cover [0, size) without a hole.
void check_cover(const std::string& path, const std::vector<TensorEntry>& entries,
                 std::uint64_t size) {
  std::vector<const TensorEntry*> order;
  order.reserve(entries.size());
  for (const TensorEntry& entry : entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const TensorEntry* a, const TensorEntry* b) {
    return std::tie(a->begin, a->end) < std::tie(b->begin, b->end);
  });
  std::uint64_t end = 0;
  for (const TensorEntry* entry : order) {
    if (entry->begin != end)
      throw Error(path, fmt::format("tensor {} begins at offset {}, expected {}: it {}",
                                    in_quotes(entry->name), entry->begin, end,
                                    entry->begin < end ? "overlaps another" : "leaves a gap"));
    end = entry->end;
    if (end > size)
      throw Error(path,
                  fmt::format("tensor {} ends at offset {}, but the file holds {} bytes of data",
                              in_quotes(entry->name), end, size));
  }
  if (end != size)
    throw Error(path, fmt::format("expected {} bytes of data, the file holds {}", end, size));
}

const FileType& type_of(DType dtype) {
  if (dtype == DType::bf16) throw Error("safetensors", "bf16 is not written: .to(DType::f32)");
  // The first of each: the file's type that is stored as it is.
  return *std::find_if(kTypes.begin(), kTypes.end(),
                       [&](const FileType& type) { return type.dtype == dtype; });
}

// The reference implementation's order of types (by alignment): U8 < F32 < F64 < I64.
int alignment_rank(DType dtype) {
  switch (dtype) {
    case DType::u8:
      return 0;
    case DType::bf16:
      return -1;  // not written
    case DType::f32:
      return 1;
    case DType::f64:
      return 2;
    case DType::i64:
      return 3;
  }
  return 0;
}

std::string header_text(const std::vector<const std::pair<std::string, Tensor>*>& order,
                        const std::map<std::string, std::string>& metadata) {
  std::string text = "{";
  if (!metadata.empty()) text += fmt::format("\"{}\":{},", kMetadata, Json(metadata).dump());
  std::uint64_t offset = 0;
  for (const auto* item : order) {
    const auto& [name, tensor] = *item;
    text += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}},)",
                        Json(name).dump(), type_of(tensor.dtype()).name,
                        fmt::join(tensor.shape(), ","), offset, offset + tensor.bytes());
    offset += tensor.bytes();
  }
  if (text.back() == ',') text.pop_back();
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

SafeTensors::SafeTensors(const std::filesystem::path& path) : file_(path) {
  const std::string where = path.string();
  if (file_.size() < 8)
    throw Error(where, fmt::format("expected a safetensors file, got only {} bytes", file_.size()));
  std::uint64_t length = 0;
  file_.read_at(0, &length, 8);
  const std::uint64_t limit = std::min(kMaxHeader, file_.size() - 8);
  if (length > limit)
    throw Error(where, fmt::format("expected a safetensors header of at most {} bytes, its length "
                                   "says {}",
                                   limit, length));
  data_begin_ = 8 + length;
  std::string text(static_cast<std::size_t>(length), '\0');
  file_.read_at(8, text.data(), text.size());
  if (!text.starts_with('{'))
    throw Error(where, "expected a safetensors header, which begins with {");
  Json header = parse_json(text, where);
  for (auto& [name, value] : header.get_ref<Json::object_t&>()) {
    const JsonObject object(std::move(value), fmt::format("{}: {}", where, in_quotes(name)));
    if (name == kMetadata) {
      if (object.json().size() > kMaxMetadata)
        throw Error(object.source(), fmt::format("expected at most {} entries, got {}",
                                                 kMaxMetadata, object.json().size()));
      for (const auto& item : object.json().items())
        metadata_[item.key()] = object.get_string(item.key());
    } else {
      entries_.push_back(read_entry(name, object));
    }
  }
  check_cover(where, entries_, file_.size() - data_begin_);
}

std::vector<std::string> SafeTensors::names() const {
  std::vector<std::string> names;
  for (const TensorEntry& entry : entries_) names.push_back(entry.name);
  return names;
}

const TensorEntry* SafeTensors::find(std::string_view name) const {
  const auto it =
      std::lower_bound(entries_.begin(), entries_.end(), name,
                       [](const TensorEntry& e, std::string_view n) { return e.name < n; });
  return it != entries_.end() && it->name == name ? &*it : nullptr;
}

const TensorEntry& SafeTensors::entry(std::string_view name) const {
  const TensorEntry* found = find(name);
  if (!found) throw Error(path().string(), fmt::format("holds no tensor {}", in_quotes(name)));
  return *found;
}

Tensor SafeTensors::tensor(std::string_view name) const {
  const TensorEntry& e = entry(name);
  const FileType& type = *find_type(e.dtype);
  Tensor t(e.shape, type.dtype);
  const std::uint64_t at = data_begin_ + e.begin;
  const auto widen = [](auto v) { return static_cast<std::int64_t>(v); };
  if (e.dtype == "F16") {
    read_converted<std::uint16_t>(file_, at, t.values<float>(), from_f16);
  } else if (e.dtype == "BF16") {
    read_converted<std::uint16_t>(file_, at, t.values<float>(), from_bf16);
  } else if (e.dtype == "I32") {
    read_converted<std::int32_t>(file_, at, t.values<std::int64_t>(), widen);
  } else if (e.dtype == "I16") {
    read_converted<std::int16_t>(file_, at, t.values<std::int64_t>(), widen);
  } else if (e.dtype == "I8") {
    read_converted<std::int8_t>(file_, at, t.values<std::int64_t>(), widen);
  } else if (e.dtype == "BOOL") {
    read_converted<std::uint8_t>(file_, at, t.values<std::uint8_t>(),
                                 [](std::uint8_t v) { return std::uint8_t{v != 0}; });
  } else {
    file_.read_at(at, t.raw(), t.bytes());
  }
  return t;
}

void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::set<std::string_view> seen;
  std::vector<const std::pair<std::string, Tensor>*> order;
  for (const auto& item : tensors) {
    if (!item.second.defined())
      throw Error(path.string(), fmt::format("tensor {} is undefined", in_quotes(item.first)));
    if (item.first == kMetadata || !seen.insert(item.first).second)
      throw Error(path.string(), fmt::format("the tensor name {} is {}", in_quotes(item.first),
                                             item.first == kMetadata ? "reserved" : "given twice"));
    order.push_back(&item);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    const int ra = alignment_rank(a->second.dtype()), rb = alignment_rank(b->second.dtype());
    return ra != rb ? ra > rb : a->first < b->first;
  });
  std::string header;
  try {
    header = header_text(order, metadata);
  } catch (const Json::exception&) {
    throw Error(path.string(), "cannot write: a name or metadata text is not valid UTF-8");
  }
  if (header.size() > kMaxHeader)
    throw Error(path.string(), fmt::format("the header would take {} bytes, expected at most {}",
                                           header.size(), kMaxHeader));
  AtomicFile file(path);
  const std::uint64_t length = header.size();
  file.write(&length, sizeof length);
  file.write(header);
  for (const auto* item : order) file.write(item->second.raw(), item->second.bytes());
  file.commit();
}

}  // namespace sfumato::io

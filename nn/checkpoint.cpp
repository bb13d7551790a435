#include "nn/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "tensor/io/checksum.h"
#include "tensor/io/json.h"

namespace sfumato::nn {
namespace {

// "mid_block.attentions.0.query.weight" -> "mid_block.attentions.0.to_q.weight"
std::string with_current_attention(const std::string& name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kRenamed = {
      {{".query.", ".to_q."},
       {".key.", ".to_k."},
       {".value.", ".to_v."},
       {".proj_attn.", ".to_out.0."}}};
  if (name.find("attentions.") == std::string::npos) return name;
  for (const auto& [before, now] : kRenamed)
    if (const auto at = name.find(before); at != std::string::npos)
      return std::string(name).replace(at, before.size(), now);
  return name;
}

// "downsample_blocks.0.resnets.0.conv1.weight" -> "down_blocks.0.resnets.0.conv1.weight"
std::string with_current_block(const std::string& name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kRenamed = {
      {{"mid.", "mid_block."},
       {"downsample_blocks.", "down_blocks."},
       {"upsample_blocks.", "up_blocks."}}};
  for (const auto& [before, now] : kRenamed)
    if (name.starts_with(before)) return std::string(name).replace(0, before.size(), now);
  return name;
}

// Files of before diffusers 0.1 have a downsampling convolution twice, as conv and as op.
bool is_copy(const std::string& name) {
  return name.ends_with(".op.weight") || name.ends_with(".op.bias");
}

// Where a parameter is stored.
struct Place {
  const io::SafeTensors* file;
  std::string name;  // there
};

const Params::BufferEntry* find_buffer(const Params& params, const std::string& name) {
  for (const Params::BufferEntry& b : params.buffers())
    if (b.name == name) return &b;
  return nullptr;
}

// By the parameters' current names. In the files these stand after `prefix`.
std::map<std::string, Place> find_places(const Params& params,
                                         std::span<const io::SafeTensors> files,
                                         const std::string& prefix) {
  std::map<std::string, Place> places;
  for (const io::SafeTensors& file : files) {
    io::verify_checksum(file);
    for (const io::TensorEntry& entry : file.entries()) {
      if (!entry.name.starts_with(prefix)) continue;
      const std::string stored = entry.name.substr(prefix.size()), source = file.path().string();
      const bool known = params.find(stored) || find_buffer(params, stored);
      if (!known && is_copy(stored)) continue;
      const std::string name = known ? stored : with_current_attention(with_current_block(stored));
      const auto [at, is_new] = places.emplace(name, Place{&file, entry.name});
      if (!is_new)
        throw Error(source, at->second.file == &file
                                ? fmt::format("tensor {} is there under its old and its new name",
                                              io::in_quotes(name))
                                : fmt::format("tensor {} is also in {}", io::in_quotes(name),
                                              at->second.file->path().string()));
      if (!params.find(name) && !find_buffer(params, name))
        throw Error(source, fmt::format("tensor {} is not a parameter of this network",
                                        io::in_quotes(entry.name)));
    }
  }
  return places;
}

// The tensor of that name, which must have this shape, and be of floating point or integer as `dtype` is.
Tensor read_tensor(const std::string& name, const Shape& shape, const Place& place, DType dtype) {
  const std::string source = place.file->path().string();
  const io::TensorEntry& entry = place.file->entry(place.name);
  if (!(entry.shape == shape))
    throw Error(source, fmt::format("parameter {} has shape {}, expected {}", io::in_quotes(name),
                                    entry.shape.str(), shape.str()));
  const bool integer = dtype == DType::i64,
             fits = integer ? entry.dtype == "I64" : entry.dtype[0] == 'F' || entry.dtype == "BF16";
  if (!fits)
    throw Error(source, fmt::format("parameter {} has dtype {}, expected {}", io::in_quotes(name),
                                    entry.dtype, integer ? "I64" : "floating point"));
  return place.file->tensor(place.name).to(dtype);
}

// Where the tensor is stored. Throws Error when no file has it.
const Place& expect_place(const std::map<std::string, Place>& places, const std::string& name,
                          std::span<const io::SafeTensors> files) {
  if (const auto it = places.find(name); it != places.end()) return it->second;
  throw Error(files.size() == 1 ? files[0].path().string() : files[0].path().parent_path().string(),
              fmt::format("parameter {} is missing", io::in_quotes(name)));
}

// "2 of 64 numbers are not finite, the first, nan, at [0, 3]"; empty when all are.
template <class T>
std::string describe_not_finite(const Tensor& x) {
  const std::span<const T> values = x.values<T>();
  const auto is_bad = [](T v) { return !std::isfinite(v); };
  const auto count = std::count_if(values.begin(), values.end(), is_bad);
  if (count == 0) return {};
  const auto first = std::find_if(values.begin(), values.end(), is_bad) - values.begin();
  std::vector<std::int64_t> index;
  std::int64_t rest = first;
  for (int axis = x.shape().rank() - 1; axis >= 0; rest /= x.dim(axis--))
    index.insert(index.begin(), rest % x.dim(axis));
  return fmt::format("{} of {} numbers {} not finite, the first, {}, at [{}]", count, x.size(),
                     count == 1 ? "is" : "are", values[static_cast<std::size_t>(first)],
                     fmt::join(index, ", "));
}

void load_places(Params& params, std::span<const io::SafeTensors> files,
                 const std::map<std::string, Place>& places, std::vector<std::string>* not_finite) {
  std::vector<Tensor> values;
  for (const Params::Entry& p : params.entries()) {
    const Place& place = expect_place(places, p.name, files);
    const Tensor& value =
        values.emplace_back(read_tensor(p.name, p.var.shape(), place, params.kind().dtype));
    const std::string damage = value.dtype() == DType::f32 ? describe_not_finite<float>(value)
                                                           : describe_not_finite<double>(value);
    if (damage.empty()) continue;
    const std::string what = fmt::format("parameter {}: {}", io::in_quotes(p.name), damage);
    if (!not_finite)
      throw Error(place.file->path().string(),
                  what + "; the file is damaged, or the training that wrote it diverged");
    not_finite->push_back(fmt::format("{}: {}", place.file->path().string(), what));
  }
  for (const Params::BufferEntry& b : params.buffers())
    values.push_back(
        read_tensor(b.name, b.value.shape(), expect_place(places, b.name, files), b.value.dtype()));
  std::size_t i = 0;
  for (const Params::Entry& p : params.entries()) {
    Tensor target = p.value;  // a handle to the parameter's own storage
    target.copy_from(values[i++]);
  }
  for (const Params::BufferEntry& b : params.buffers()) {
    Tensor target = b.value;
    target.copy_from(values[i++]);
  }
  params.refresh();
}

}  // namespace

void load_parameters(Params& params, std::span<const io::SafeTensors> files,
                     std::vector<std::string>* not_finite) {
  load_places(params, files, find_places(params, files, ""), not_finite);
}

void load_parameters(Params& params, const io::SafeTensors& file) {
  load_parameters(params, file, "");
}

void load_parameters(Params& params, const io::SafeTensors& file, const std::string& prefix) {
  const std::span<const io::SafeTensors> files(&file, 1);
  load_places(params, files, find_places(params, files, prefix), nullptr);
}

void save_parameters(Params& params, const Tensor& flat, const std::filesystem::path& path,
                     const std::map<std::string, std::string>& metadata) {
  expect_shape("save_parameters", "values", flat, params.flat_values().shape());
  const Tensor here = flat.to(Device::cpu);
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const Params::Entry& p : params.entries())
    tensors.emplace_back(p.name,
                         here.slice(p.begin, p.begin + p.value.size()).reshape(p.var.shape()));
  for (const Params::BufferEntry& b : params.buffers())
    tensors.emplace_back(b.name, b.value.to(Device::cpu));
  std::map<std::string, std::string> with_checksum = metadata;
  with_checksum[io::kChecksumKey] = io::checksum_text(tensors);
  io::write_safetensors(path, tensors, with_checksum);
}

}  // namespace sfumato::nn

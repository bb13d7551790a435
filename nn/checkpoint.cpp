#include "nn/checkpoint.h"

#include <fmt/format.h>

#include <array>
#include <utility>
#include <vector>

#include "tensor/io/checksum.h"
#include "tensor/io/json.h"

namespace sfumato::nn {
namespace {

// "mid_block.attentions.0.query.weight" -> "mid_block.attentions.0.to_q.weight"
std::string current_name(const std::string& name) {
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

}  // namespace

void load_parameters(Params& params, const io::SafeTensors& file) {
  const std::string source = file.path().string();
  io::verify_checksum(file);
  std::map<std::string, std::string> in_file;  // current name -> name in the file
  for (const io::TensorEntry& entry : file.entries()) {
    const std::string name = current_name(entry.name);
    if (!in_file.emplace(name, entry.name).second)
      throw Error(source, fmt::format("tensor {} is there under its old and its new name",
                                      io::in_quotes(name)));
    if (!params.find(name))
      throw Error(source, fmt::format("tensor {} is not a parameter of this network",
                                      io::in_quotes(entry.name)));
  }
  std::vector<Tensor> values;
  for (const Params::Entry& p : params.entries()) {
    const auto it = in_file.find(p.name);
    if (it == in_file.end())
      throw Error(source, fmt::format("parameter {} is missing", io::in_quotes(p.name)));
    const io::TensorEntry& entry = file.entry(it->second);
    if (!(entry.shape == p.var.shape()))
      throw Error(source,
                  fmt::format("parameter {} has shape {}, expected {}", io::in_quotes(p.name),
                              entry.shape.str(), p.var.shape().str()));
    if (entry.dtype[0] != 'F' && entry.dtype != "BF16")
      throw Error(source, fmt::format("parameter {} has dtype {}, expected floating point",
                                      io::in_quotes(p.name), entry.dtype));
    values.push_back(file.tensor(it->second).to(params.dtype()));
  }
  std::size_t i = 0;
  for (const Params::Entry& p : params.entries()) {
    Tensor target = p.var.value();  // a handle to the parameter's own storage
    target.copy_from(values[i++]);
  }
}

void save_parameters(Params& params, const Tensor& flat, const std::filesystem::path& path,
                     const std::map<std::string, std::string>& metadata) {
  expect_shape("save_parameters", "values", flat, params.flat_values().shape());
  std::vector<std::pair<std::string, Tensor>> tensors;
  std::int64_t at = 0;
  for (const Params::Entry& p : params.entries()) {
    const std::int64_t n = p.var.value().size();
    tensors.emplace_back(p.name, flat.slice(at, at + n).reshape(p.var.shape()));
    at += n;
  }
  std::map<std::string, std::string> with_checksum = metadata;
  with_checksum[io::kChecksumKey] = io::checksum_text(tensors);
  io::write_safetensors(path, tensors, with_checksum);
}

}  // namespace sfumato::nn

// safetensors files: what was read can be written, and is then the same.
#include "tensor/io/safetensors.h"

#include "tests/fuzz/common.h"

using namespace sfumato;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string path = fuzz::put("in.safetensors", fuzz::as_text(data, size));
  fuzz::accepted([&] {
    const io::SafeTensors file(path);
    std::vector<std::pair<std::string, Tensor>> all;
    for (const io::TensorEntry& entry : file.entries()) {
      const Tensor tensor = file.tensor(entry.name);
      fuzz::require(tensor.shape() == entry.shape);
      fuzz::read_all(tensor);
      all.emplace_back(entry.name, tensor);
    }
    const std::string copy = fuzz::scratch() / "out.safetensors";
    io::write_safetensors(copy, all, file.metadata());
    const io::SafeTensors again(copy);
    fuzz::require(again.entries().size() == all.size() && again.metadata() == file.metadata());
    for (const auto& [name, tensor] : all) fuzz::require_same(again.tensor(name), tensor);
  });
  return 0;
}

// Seven times of eight the header is mutated, and the length in front of it put right.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  if (size < 8 || seed % 8 == 0) return LLVMFuzzerMutate(data, size, max_size);
  std::uint64_t length = 0;
  std::memcpy(&length, data, 8);
  length = std::min<std::uint64_t>(length, size - 8);
  const std::string numbers(fuzz::as_text(data + 8 + length, size - 8 - length));
  if (max_size < 8 + numbers.size() + length) return LLVMFuzzerMutate(data, size, max_size);
  const std::size_t room = max_size - 8 - numbers.size();
  length = LLVMFuzzerMutate(data + 8, length, room);
  std::memcpy(data, &length, 8);
  std::copy(numbers.begin(), numbers.end(), data + 8 + length);
  return 8 + length + numbers.size();
}

// .npy files: what was read can be written, and is then the same.
#include "tensor/io/npy.h"

#include "tests/fuzz/common.h"

using namespace sfumato;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string path = fuzz::put("in.npy", fuzz::as_text(data, size));
  fuzz::accepted([&] {
    const Tensor tensor = io::read_npy(path);
    fuzz::read_all(tensor);
    const std::string copy = fuzz::scratch() / "out.npy";
    io::write_npy(copy, tensor);
    fuzz::require_same(io::read_npy(copy), tensor);
  });
  return 0;
}

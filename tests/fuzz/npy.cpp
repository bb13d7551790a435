// .npy files: what was read can be written, and is then the same; any dtype as pictures, as labels.
#include "tensor/io/npy.h"

#include "diffusion/data/array_values.h"
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
    fuzz::require_same(io::read_any_npy(path).values, tensor);
  });
  fuzz::accepted([&] {
    const io::NpyArray array = io::read_any_npy(path);
    fuzz::read_all(array.values);
    std::vector<std::string> notes;
    fuzz::accepted([&] {
      const Tensor images = data::images_from_array(path, array, notes);
      fuzz::require(images.shape().rank() == 4 && images.dtype() == DType::u8);
      fuzz::require(images.dim(3) == 1 || images.dim(3) == 3);
      fuzz::read_all(images);
    });
    const Shape& shape = array.values.shape();
    if (shape.rank() == 0) return;
    fuzz::accepted([&] {
      const std::int64_t n = shape[0];
      const Tensor labels = data::labels_from_array(path, array, n, notes);
      fuzz::require(labels.shape() == Shape{n} && labels.dtype() == DType::i64);
      fuzz::read_all(labels);
    });
  });
  return 0;
}

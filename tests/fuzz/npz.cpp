// .npz archives as data sets.
#include <zlib.h>

#include "diffusion/data/dataset.h"
#include "tensor/io/zip.h"
#include "tests/fuzz/common.h"

using namespace sfumato;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string path = fuzz::put("data.npz", fuzz::as_text(data, size));
  fuzz::accepted([&] {
    const data::ImageDataset set = data::load_dataset(path);
    const Shape& shape = set.images.shape();
    fuzz::require(shape.rank() == 4 && shape[0] >= 1 && (shape[3] == 1 || shape[3] == 3));
    fuzz::read_all(set.images);
    for (const std::string& note : set.notes) fuzz::require_printable(note);
    if (!set.labels.defined()) return;
    fuzz::require(set.labels.shape() == Shape{shape[0]});
    for (const std::int64_t label : set.labels.values<std::int64_t>())
      fuzz::require(label >= 0 && label < set.classes);
  });
  return 0;
}

namespace {

std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> 8 * i);
  return text;
}

std::string deflate_raw(const std::string& text) {
  z_stream z{};
  fuzz::require(deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string packed(deflateBound(&z, text.size()), '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(packed.data());
  z.avail_out = static_cast<uInt>(packed.size());
  fuzz::require(deflate(&z, Z_FINISH) == Z_STREAM_END);
  packed.resize(z.total_out);
  deflateEnd(&z);
  return packed;
}

}  // namespace

// Half of the time: mutates one array inside the archive, and packs all of them again.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  std::string archive, directory;
  std::size_t count = 0;
  const bool packed =
      seed % 2 == 1 && fuzz::accepted([&] {
        const io::ZipFile zip(fuzz::put("mutated.npz", fuzz::as_text(data, size)));
        for (const io::ZipFile::Entry& entry : zip.entries()) {
          std::string text = zip.read(entry);
          if (seed / 2 % zip.entries().size() == count++) fuzz::mutate(text, 128);
          const auto* bytes = reinterpret_cast<const Bytef*>(text.data());
          const std::string body = entry.method == 8 ? deflate_raw(text) : text;
          const std::string common =
              little_endian(0, 2) + little_endian(static_cast<std::uint64_t>(entry.method), 2) +
              little_endian(0, 4) + little_endian(crc32_z(0, bytes, text.size()), 4) +
              little_endian(body.size(), 4) + little_endian(text.size(), 4) +
              little_endian(entry.name.size(), 2) + little_endian(0, 2);
          directory += "PK\1\2" + little_endian(20, 2) + little_endian(20, 2) + common +
                       std::string(10, '\0') + little_endian(archive.size(), 4) + entry.name;
          archive += "PK\3\4" + little_endian(20, 2) + common + entry.name + body;
        }
      });
  archive += directory + "PK\5\6" + little_endian(0, 4) + little_endian(count, 2) +
             little_endian(count, 2) + little_endian(directory.size(), 4) +
             little_endian(archive.size(), 4) + little_endian(0, 2);
  if (!packed || count == 0 || archive.size() > max_size)
    return LLVMFuzzerMutate(data, size, max_size);
  std::copy(archive.begin(), archive.end(), data);
  return archive.size();
}

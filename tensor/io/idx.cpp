#include "tensor/io/idx.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tensor/error.h"
#include "tensor/io/budget.h"
#include "tensor/io/file.h"

namespace sfumato::io {
namespace {

constexpr int kBytes = 8, kIntegers = 12;  // types of numbers

// Bytes from first to last, decompressed where needed.
class Stream {
 public:
  explicit Stream(const InputFile& file) : file_(file) {}
  virtual ~Stream() = default;
  // Fills `to`, less at the end of the stream; returns the bytes delivered.
  virtual std::size_t read(void* to, std::size_t count) = 0;
  // More than this cannot come: an extent beyond it is a lie, whatever memory there is.
  virtual std::uint64_t most() const = 0;

 protected:
  const InputFile& file_;
  std::uint64_t offset_ = 0;  // in the file
};

class RawStream : public Stream {
 public:
  using Stream::Stream;
  std::size_t read(void* to, std::size_t count) override {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(count, most() - offset_));
    file_.read_at(offset_, to, n);
    offset_ += n;
    return n;
  }
  std::uint64_t most() const override { return file_.size(); }
};

class GzipStream : public Stream {
 public:
  explicit GzipStream(const InputFile& file) : Stream(file), input_(1 << 16) {
    if (inflateInit2(&z_, 15 + 16) != Z_OK)  // the largest window; gzip's header and checksum
      throw Error(file.path().string(), "cannot start decompression");
  }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;
  ~GzipStream() override { inflateEnd(&z_); }

  std::size_t read(void* to, std::size_t count) override {
    std::size_t done = 0;
    while (done < count && !ended_) {
      refill();
      const auto room = static_cast<uInt>(std::min<std::size_t>(count - done, 1u << 30));
      z_.next_out = static_cast<Bytef*>(to) + done;
      z_.avail_out = room;
      const int status = inflate(&z_, Z_NO_FLUSH);
      done += room - z_.avail_out;
      if (status == Z_STREAM_END) {
        next_member();
      } else if (status == Z_BUF_ERROR || (status == Z_OK && z_.avail_out && exhausted())) {
        fail("cut short inside the gzip data");
      } else if (status != Z_OK) {
        fail(fmt::format("damaged gzip data: {}", z_.msg ? z_.msg : zError(status)));
      }
    }
    return done;
  }
  // A deflate stream cannot shrink data by more than a factor of 1032.
  std::uint64_t most() const override { return file_.size() * 1032; }

 private:
  bool exhausted() const { return z_.avail_in == 0 && offset_ == file_.size(); }

  void refill() {
    if (z_.avail_in != 0) return;
    const auto n =
        static_cast<std::size_t>(std::min<std::uint64_t>(input_.size(), file_.size() - offset_));
    file_.read_at(offset_, input_.data(), n);
    offset_ += n;
    z_.next_in = input_.data();
    z_.avail_in = static_cast<uInt>(n);
  }

  // gzip files may be concatenated (RFC 1952, 2.2); what follows must then be another one.
  void next_member() {
    refill();
    ended_ = exhausted();
    if (!ended_ && *z_.next_in != 0x1f) fail("trailing bytes after the gzip data");
    if (!ended_) inflateReset(&z_);
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(file_.path().string(), what);
  }

  std::vector<Bytef> input_;
  z_stream z_{};
  bool ended_ = false;
};

std::unique_ptr<Stream> open_stream(const InputFile& file) {
  std::array<std::uint8_t, 2> magic{};
  if (file.size() >= magic.size()) file.read_at(0, magic.data(), magic.size());
  if (magic[0] == 0x1f && magic[1] == 0x8b) return std::make_unique<GzipStream>(file);
  return std::make_unique<RawStream>(file);
}

// Big-endian numbers of 32 bits; returns the bytes delivered.
std::size_t read_integers(Stream& stream, Tensor& t) {
  std::size_t total = 0;
  for (std::int64_t i = 0; i < t.size(); ++i) {
    std::array<std::uint8_t, 4> b{};
    const std::size_t got = stream.read(b.data(), b.size());
    total += got;
    if (got != b.size()) break;
    const std::uint32_t bits = std::uint32_t{b[0]} << 24 | b[1] << 16 | b[2] << 8 | b[3];
    t.data<std::int64_t>()[i] = static_cast<std::int32_t>(bits);
  }
  return total;
}

}  // namespace

Tensor read_idx(const std::filesystem::path& path) {
  const std::string where = path.string();
  const InputFile file(path);
  const std::unique_ptr<Stream> stream = open_stream(file);

  std::array<std::uint8_t, 4> magic{};
  if (stream->read(magic.data(), 4) != 4) throw Error(where, "cut short inside the IDX header");
  const int rank = magic[3];
  if (magic[0] != 0 || magic[1] != 0)
    throw Error(where, fmt::format("expected an IDX file (magic 0 0 8 rank), got {} {} {} {}",
                                   magic[0], magic[1], magic[2], magic[3]));
  const bool bytes_fit = magic[2] == kBytes && (rank == 1 || rank == 3 || rank == 4);
  const bool integers_fit = magic[2] == kIntegers && (rank == 1 || rank == 2);
  if (!bytes_fit && !integers_fit)
    throw Error(where, fmt::format("expected IDX type 8 (u8) of rank 1, 3 or 4, or 12 (i32) of "
                                   "rank 1 or 2, got type {} of rank {}",
                                   magic[2], rank));

  std::array<std::int64_t, 4> extents{};
  const std::uint64_t item = bytes_fit ? 1 : 4;
  std::uint64_t bytes = item;
  for (int i = 0; i < rank; ++i) {
    std::array<std::uint8_t, 4> e{};
    if (stream->read(e.data(), 4) != 4) throw Error(where, "cut short inside the IDX header");
    const std::uint32_t extent = std::uint32_t{e[0]} << 24 | e[1] << 16 | e[2] << 8 | e[3];
    if (extent == 0) throw Error(where, fmt::format("extent {} of the IDX header is 0", i));
    if (bytes > stream->most() / extent)
      throw Error(where, fmt::format("the IDX header promises more data than a file of {} bytes "
                                     "can hold",
                                     file.size()));
    bytes *= extent;
    extents[static_cast<std::size_t>(i)] = extent;
  }

  expect_within_budget(where, bytes / item, bytes_fit ? 1 : sizeof(std::int64_t));
  Tensor t(Shape(extents.data(), extents.data() + rank), bytes_fit ? DType::u8 : DType::i64);
  const std::uint64_t got =
      bytes_fit ? stream->read(t.raw(), t.bytes()) : read_integers(*stream, t);
  if (got != bytes)
    throw Error(where, fmt::format("cut short: the IDX header promises {} of data, got {} bytes",
                                   t.shape().str(), got));
  std::uint8_t extra = 0;
  if (stream->read(&extra, 1) != 0)
    throw Error(where, fmt::format("trailing data: the IDX header promises {}, the file holds more",
                                   t.shape().str()));
  return t;
}

}  // namespace sfumato::io

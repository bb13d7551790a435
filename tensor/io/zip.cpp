#include "tensor/io/zip.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <string_view>

#include "tensor/error.h"
#include "tensor/io/budget.h"
#include "tensor/io/json.h"

namespace sfumato::io {
namespace {

// Sizes and signatures of the format's records (APPNOTE.TXT 4.3).
constexpr std::uint64_t kEndSize = 22, kEnd64Size = 56, kLocatorSize = 20, kCentralSize = 46,
                        kLocalSize = 30, kMostDirectory = std::uint64_t{1} << 26;
constexpr std::string_view kEnd = "PK\5\6", kEnd64 = "PK\6\6", kLocator = "PK\6\7",
                           kCentral = "PK\1\2", kLocal = "PK\3\4";

std::uint64_t number(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = size; i-- > 0;)
    value = value << 8 | static_cast<std::uint8_t>(bytes[at + i]);
  return value;
}

// ZIP64: where a field of 32 bits is full, the extra field 1 holds it in 64 bits, in this order.
void widen(ZipFile::Entry& entry, std::string_view extra) {
  while (extra.size() >= 4) {
    const std::uint64_t id = number(extra, 0, 2), length = number(extra, 2, 2);
    if (extra.size() < 4 + length) return;
    std::string_view data = extra.substr(4, static_cast<std::size_t>(length));
    for (std::uint64_t* field : {&entry.size, &entry.compressed, &entry.offset}) {
      if (id != 1 || *field != 0xffffffff || data.size() < 8) continue;
      *field = number(data, 0, 8);
      data.remove_prefix(8);
    }
    extra.remove_prefix(static_cast<std::size_t>(4 + length));
  }
}

}  // namespace

void ZipFile::fail(const std::string& what) const { throw Error(file_.path().string(), what); }

std::string ZipFile::bytes(std::uint64_t offset, std::uint64_t count) const {
  if (offset > file_.size() || count > file_.size() - offset)
    fail("damaged ZIP archive: cut short");
  std::string to(static_cast<std::size_t>(count), '\0');
  file_.read_at(offset, to.data(), to.size());
  return to;
}

ZipFile::ZipFile(const std::filesystem::path& path) : file_(path) {
  // The end record comes last, before a comment of at most 65535 bytes.
  const std::uint64_t tail_size = std::min<std::uint64_t>(file_.size(), kEndSize + 65535);
  const std::uint64_t tail_begin = file_.size() - tail_size;
  const std::string tail = bytes(tail_begin, tail_size);
  const std::size_t end = tail.rfind(kEnd);
  if (end == std::string::npos || tail.size() - end < kEndSize)
    fail("damaged ZIP archive: cut short, it has no directory");
  std::uint64_t size = number(tail, end + 12, 4), offset = number(tail, end + 16, 4);
  if (end >= kLocatorSize && std::string_view(tail).substr(end - kLocatorSize, 4) == kLocator) {
    const std::string end64 = bytes(number(tail, end - kLocatorSize + 8, 8), kEnd64Size);
    if (!end64.starts_with(kEnd64)) fail("damaged ZIP archive: broken directory");
    size = number(end64, 40, 8);
    offset = number(end64, 48, 8);
  }
  if (size > kMostDirectory) fail("damaged ZIP archive: its directory is too large");
  const std::string directory = bytes(offset, size);
  std::string_view rest = directory;
  while (rest.size() >= kCentralSize) {
    if (!rest.starts_with(kCentral)) fail("damaged ZIP archive: broken directory");
    const std::uint64_t name = number(rest, 28, 2), extra = number(rest, 30, 2);
    const std::uint64_t whole = kCentralSize + name + extra + number(rest, 32, 2);
    if (rest.size() < whole) fail("damaged ZIP archive: broken directory");
    Entry entry;
    entry.encrypted = (number(rest, 8, 2) & 1) != 0;
    entry.method = static_cast<int>(number(rest, 10, 2));
    entry.crc = static_cast<std::uint32_t>(number(rest, 16, 4));
    entry.compressed = number(rest, 20, 4);
    entry.size = number(rest, 24, 4);
    entry.offset = number(rest, 42, 4);
    entry.name = rest.substr(kCentralSize, static_cast<std::size_t>(name));
    widen(entry, rest.substr(static_cast<std::size_t>(kCentralSize + name),
                             static_cast<std::size_t>(extra)));
    entries_.push_back(std::move(entry));
    rest.remove_prefix(static_cast<std::size_t>(whole));
  }
}

std::string ZipFile::read(const Entry& entry) const {
  const std::string what = in_quotes(entry.name);
  if (entry.encrypted) fail(fmt::format("{} is encrypted", what));
  if (entry.method != 0 && entry.method != 8)
    fail(
        fmt::format("{} is compressed by method {}, expected 0 (stored) or 8 (deflated): "
                    "numpy.savez and savez_compressed write those",
                    what, entry.method));
  // A deflate stream cannot shrink data by more than a factor of 1032.
  if (entry.compressed > file_.size() || entry.size / 1032 > entry.compressed)
    fail(fmt::format("damaged ZIP archive: {} promises more data than it holds", what));
  expect_within_budget(file_.path().string(), 1, entry.size);
  const std::string local = bytes(entry.offset, kLocalSize);
  if (!local.starts_with(kLocal)) fail(fmt::format("damaged ZIP archive: {} is not there", what));
  std::string data = bytes(entry.offset + kLocalSize + number(local, 26, 2) + number(local, 28, 2),
                           entry.compressed);
  std::string out;
  if (entry.method == 0) {
    out = std::move(data);
  } else {
    out.resize(static_cast<std::size_t>(entry.size));
    z_stream z{};
    if (inflateInit2(&z, -15) != Z_OK) fail("cannot start decompression");
    // uInt is 32 bits: larger data go in and out in pieces.
    constexpr std::size_t kPiece = std::size_t{1} << 30;
    std::size_t in = 0, done = 0;
    int status = Z_OK;
    while (status == Z_OK) {
      const std::size_t give = std::min(kPiece, data.size() - in);
      const std::size_t room = std::min(kPiece, out.size() - done);
      z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data() + in));
      z.avail_in = static_cast<uInt>(give);
      z.next_out = reinterpret_cast<Bytef*>(out.data() + done);
      z.avail_out = static_cast<uInt>(room);
      status = inflate(&z, Z_NO_FLUSH);
      in += give - z.avail_in;
      done += room - z.avail_out;
    }
    inflateEnd(&z);
    if (status != Z_STREAM_END || done != out.size())
      fail(fmt::format("damaged ZIP archive: {} cannot be unpacked", what));
  }
  uLong crc = crc32_z(0, reinterpret_cast<const Bytef*>(out.data()), out.size());
  if (out.size() != entry.size || crc != entry.crc)
    fail(fmt::format("damaged ZIP archive: the checksum of {} is wrong", what));
  return out;
}

}  // namespace sfumato::io

// stb's PNG writer does not look whether its allocations succeed, and writes through what they
// give. Here they throw instead; what it had allocated by then is freed with the pool.
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

#include "tensor/io/encode_png.h"

namespace sfumato::io {
namespace {

// The blocks of one call of the encoder: a ring of headers, each before its block.
class Pool {
 public:
  Pool() : outer_(current) { current = this; }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() {
    while (ring_.next != &ring_) release(ring_.next + 1);
    current = outer_;
  }

  static void* resize(void* block, std::size_t bytes) {
    Header* old = block ? static_cast<Header*>(block) - 1 : nullptr;
    if (bytes > SIZE_MAX - sizeof(Header)) throw std::bad_alloc();
    auto* header = static_cast<Header*>(std::realloc(old, sizeof(Header) + bytes));
    if (!header) throw std::bad_alloc();
    if (!old) {
      header->next = current->ring_.next;
      header->previous = &current->ring_;
    }
    header->next->previous = header->previous->next = header;  // it may have moved
    return header + 1;
  }
  static void release(void* block) {
    if (!block) return;
    Header* header = static_cast<Header*>(block) - 1;
    header->previous->next = header->next;
    header->next->previous = header->previous;
    std::free(header);
  }

 private:
  struct alignas(std::max_align_t) Header {
    Header *next, *previous;
  };
  Header ring_{&ring_, &ring_};
  Pool* outer_;
  static thread_local Pool* current;
};

thread_local Pool* Pool::current = nullptr;

}  // namespace
}  // namespace sfumato::io

#define STBIW_MALLOC(bytes) sfumato::io::Pool::resize(nullptr, bytes)
#define STBIW_REALLOC(block, bytes) sfumato::io::Pool::resize(block, bytes)
#define STBIW_FREE(block) sfumato::io::Pool::release(block)
#define STBIW_ASSERT(condition) ((condition) ? void() : throw std::bad_alloc())
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb_image_write.h>

namespace sfumato::io {

std::string encode_png(std::int64_t height, std::int64_t width, std::int64_t channels,
                       const std::uint8_t* pixels) {
  const Pool pool;
  std::string bytes;
  const auto append = [](void* to, void* data, int count) {
    static_cast<std::string*>(to)->append(static_cast<const char*>(data),
                                          static_cast<std::size_t>(count));
  };
  const int row = static_cast<int>(width * channels);
  if (!stbi_write_png_to_func(append, &bytes, static_cast<int>(width), static_cast<int>(height),
                              static_cast<int>(channels), pixels, row))
    throw std::bad_alloc();
  return bytes;
}

}  // namespace sfumato::io

// Arrays too large for the caches take other paths through the kernels (stream in simd.h). What
// comes out must be what each image gives alone.
#include "tensor/memory.h"
#include "tests/kernels/kernel_test.h"

namespace sfumato::kernels::testing {
namespace {

template <class T>
using Aligned = std::vector<T, memory::Allocator<T>>;

constexpr index kImages = 10, kSide = 48, kChannels = 32;
constexpr index kPixels = kSide * kSide, kImage = kPixels * kChannels;  // 288 KiB of f32

template <class T>
Aligned<T> large(std::uint64_t seed) {
  const auto v = numbers<T>(kImages * kImage, seed);
  return Aligned<T>(v.begin(), v.end());
}

// run(images, first image, y) for all images at once and for each alone; y [images, size].
template <class T, class Run>
void expect_images_alone_equal(const char* what, index size, Run run) {
  const auto nothing = static_cast<T>(NAN);
  Aligned<T> together(kImages * size, nothing), alone(kImages * size, nothing);
  run(kImages, 0, together.data());
  for (index i = 0; i < kImages; ++i) run(1, i, alone.data() + i * size);
  for (index i = 0; i < kImages * size; ++i) {
    ASSERT_EQ(together[i], alone[i]) << what << ", image " << i / size << ", number " << i % size;
  }
}

TEST(LargeArrays, GiveWhatTheirImagesGiveAlone) {
  for_every_isa([]<class T>() {
    const Aligned<T> x = large<T>(1), dy = large<T>(2);
    const auto w = numbers<T>(kChannels * kChannels * 9, 3);
    const auto bias = numbers<T>(kChannels, 4), gamma = numbers<T>(kChannels, 5);
    const auto conv = [](index n, index kernel) {
      return Conv{n,         kSide,  kSide,  kChannels, kSide,      kSide,
                  kChannels, kernel, kernel, 1,         kernel / 2, kernel / 2};
    };
    for (const index kernel : {index{3}, index{1}}) {
      expect_images_alone_equal<T>("conv_forward", kImage, [&](index n, index i, T* y) {
        conv_forward<T>(conv(n, kernel), {x.data() + i * kImage}, w.data(),
                        {y, bias.data(), nullptr, dy.data() + i * kImage});
      });
      expect_images_alone_equal<T>("conv_backward", kImage, [&](index n, index i, T* dx) {
        conv_backward<T>(conv(n, kernel), {x.data() + i * kImage}, dy.data() + i * kImage, w.data(),
                         {.dx = dx});
      });
    }
    const auto norm = [](index n) { return GroupNorm{n, kPixels, kChannels, 8, 1e-5, true}; };
    Aligned<T> mean(kImages * 8), rstd(kImages * 8), dgamma(kChannels), dbeta(kChannels);
    Aligned<T> normed(x.size());
    group_norm_forward<T>(norm(kImages), x.data(), gamma.data(), bias.data(), normed.data(),
                          mean.data(), rstd.data());
    for (const bool add : {false, true}) {
      expect_images_alone_equal<T>("group_norm_backward", kImage, [&](index n, index i, T* dx) {
        group_norm_backward<T>(norm(n), x.data() + i * kImage, gamma.data(), bias.data(),
                               mean.data() + i * 8, rstd.data() + i * 8, dy.data() + i * kImage,
                               add ? x.data() + i * kImage : nullptr, dx, dgamma.data(),
                               dbeta.data());
      });
    }
    // The middle half of the channels.
    expect_images_alone_equal<T>("copy_rows", kImage / 2, [&](index n, index i, T* to) {
      copy_rows<T>(n * kPixels, kChannels / 2, x.data() + i * kImage + kChannels / 4, kChannels, to,
                   kChannels / 2);
      for (index p = 0; p < n * kPixels; p += 97) {
        ASSERT_EQ(to[p * kChannels / 2 + 3], x[i * kImage + p * kChannels + kChannels / 4 + 3]);
      }
    });
  });
}

}  // namespace
}  // namespace sfumato::kernels::testing

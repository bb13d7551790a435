// Arrays too large for the caches take other paths through the kernels (stream in simd.h). What
// comes out must be what each image gives alone.
#include "tensor/memory.h"
#include "tests/kernels/kernel_test.h"

namespace sfumato::kernels::testing {
namespace {

template <class T>
using Aligned = std::vector<T, memory::Allocator<T>>;

// Winograd's last tiles reach over the edge: 45 = 11 * 4 + 1.
constexpr index kImages = 10, kSide = 45, kChannels = 32;
constexpr index kPixels = kSide * kSide, kImage = kPixels * kChannels;  // 253 KiB of f32

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
    if (isa() == Isa::reference) return;  // one path for every size, and slow
    const Aligned<T> x = large<T>(1), dy = large<T>(2);
    const auto w = numbers<T>(kChannels * kChannels * 9, 3);
    const auto bias = numbers<T>(kChannels, 4), gamma = numbers<T>(kChannels, 5);
    const auto conv = [](index n, index kernel, index side = kSide) {
      return Conv{.n = n,
                  .h = side,
                  .w = side,
                  .c = kChannels,
                  .oh = side,
                  .ow = side,
                  .k = kChannels,
                  .kh = kernel,
                  .kw = kernel,
                  .stride = 1,
                  .pad_top = kernel / 2,
                  .pad_left = kernel / 2};
    };
    for (const index kernel : {index{3}, index{1}}) {
      expect_images_alone_equal<T>("conv_forward", kImage, [&](index n, index i, T* y) {
        table<T>().conv_forward(conv(n, kernel), {.x = x.data() + i * kImage}, w.data(),
                                {.y = y, .bias = bias.data(), .residual = dy.data() + i * kImage},
                                nullptr);
      });
      expect_images_alone_equal<T>("conv_backward", kImage, [&](index n, index i, T* dx) {
        table<T>().conv_backward(conv(n, kernel), {.x = x.data() + i * kImage},
                                 dy.data() + i * kImage, w.data(), {.dx = dx});
      });
    }
    constexpr index kDoubled = kSide + 1, kSmall = kDoubled * kDoubled / 4 * kChannels;
    expect_images_alone_equal<T>("conv_forward, doubled", 4 * kSmall, [&](index n, index i, T* y) {
      table<T>().conv_forward(conv(n, 3, kDoubled), {.x = x.data() + i * kSmall, .upsample = true},
                              w.data(), {.y = y, .bias = bias.data()}, nullptr);
    });
    const auto norm = [](index n) {
      return GroupNorm{
          .n = n, .hw = kPixels, .c = kChannels, .groups = 8, .eps = 1e-5, .silu = true};
    };
    Aligned<T> mean(kImages * 8), rstd(kImages * 8), dgamma(kChannels), dbeta(kChannels);
    Aligned<T> normed(x.size());
    table<T>().group_norm_forward({.norm = norm(kImages),
                                   .x = x.data(),
                                   .gamma = gamma.data(),
                                   .beta = bias.data(),
                                   .y = normed.data(),
                                   .mean = mean.data(),
                                   .rstd = rstd.data()});
    for (const bool add : {false, true}) {
      expect_images_alone_equal<T>("group_norm_backward", kImage, [&](index n, index i, T* dx) {
        table<T>().group_norm_backward({.norm = norm(n),
                                        .x = x.data() + i * kImage,
                                        .gamma = gamma.data(),
                                        .beta = bias.data(),
                                        .mean = mean.data() + i * 8,
                                        .rstd = rstd.data() + i * 8,
                                        .dy = dy.data() + i * kImage,
                                        .dx = dx,
                                        .dgamma = dgamma.data(),
                                        .dbeta = dbeta.data(),
                                        .add = add ? x.data() + i * kImage : nullptr});
      });
    }
    // The middle half of the channels.
    expect_images_alone_equal<T>("copy_columns", kImage / 2, [&](index n, index i, T* to) {
      const Columns<T> half{.cols = kChannels / 2,
                            .from = x.data() + i * kImage + kChannels / 4,
                            .from_step = kChannels,
                            .to = to,
                            .to_step = kChannels / 2};
      table<T>().copy_columns(n * kPixels, {&half, 1});
      for (index p = 0; p < n * kPixels; p += 97) {
        ASSERT_EQ(to[p * kChannels / 2 + 3], x[i * kImage + p * kChannels + kChannels / 4 + 3]);
      }
    });
  });
}

}  // namespace
}  // namespace sfumato::kernels::testing

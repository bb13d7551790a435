// What a training step asks of memory.
#include "tensor/memory.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "autograd/ops.h"
#include "nn/optim.h"
#include "nn/unet.h"
#include "tensor/sanitizers.h"

namespace {
std::atomic<std::int64_t> new_calls{0};
}

// Every `new` of this program is counted. (Not inlined: where one of a pair is, GCC takes malloc
// and free for a mismatch.)
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  ++new_calls;
  if (void* p = std::malloc(bytes ? bytes : 1)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace sfumato::nn {
namespace {

UNetConfig small_network() {
  UNetConfig c;
  c.in_channels = c.out_channels = 1;
  c.block_out_channels = {8, 16};
  c.down_attention = {false, true};
  c.up_attention = {true, false};
  c.norm_num_groups = 4;
  c.layers_per_block = 1;
  return c;
}

struct Trained {
  Tensor gradients;
  float loss;
};

Trained one_step(const UNet& unet, Params& params, std::int64_t images, bool recompute,
                 std::uint64_t k) {
  const Tensor x = Rng(1, Purpose::test, k).normal({images, 8, 8, 1});
  const Tensor t = Rng(2, Purpose::test, k).randint({images}, 1000);
  params.zero_grad();
  const Mode mode{.training = true,
                  .seed = 3,
                  .step = Tensor::from<std::int64_t>({}, {static_cast<std::int64_t>(k)}),
                  .recompute = recompute};
  const Var loss = mse(unet(x, t, {}, mode), Tensor::zeros(x.shape()));
  loss.backward();
  return {params.flat_grads(), loss.value().data<float>()[0]};
}

TEST(Memory, NoAllocationAfterTheFirstStep) {
  if (!memory::kKeepsBlocks)
    GTEST_SKIP() << "under the address sanitizer memory is not kept for reuse";
  Params params(1);
  const UNet unet(params, small_network());
  AdamW adam(params, {});
  Ema ema(params, 0.999);
  std::uint64_t fetched = 0;
  std::int64_t calls = 0;
  for (std::uint64_t k = 0; k < 6; ++k) {
    if (k == 1) fetched = memory::stats().system_allocations, calls = new_calls;
    one_step(unet, params, 4, false, k);
    adam.step(1e-3, {gradient_norm(params), 1}, &ema);
  }
  EXPECT_EQ(memory::stats().system_allocations, fetched) << "blocks from the system";
  EXPECT_EQ(new_calls, calls) << "calls of new";
}

TEST(Recompute, SameBitsInLessMemory) {
  UNetConfig config = small_network();
  config.dropout = 0.2;  // the masks must come out the same when drawn again
  Params params(1);
  const UNet unet(params, config);
  // So many that what is kept outweighs the kernels' working memory.
  const std::int64_t images = 64;
  const auto peak = [&](bool recompute, Trained& result) {
    one_step(unet, params, images, recompute, 0);
    memory::reset_peak();
    const std::size_t before = memory::stats().bytes_in_use;
    result = one_step(unet, params, images, recompute, 0);
    result.gradients = result.gradients.clone();
    return memory::stats().bytes_peak - before;
  };
  Trained kept, again;
  const std::size_t bytes_kept = peak(false, kept), bytes_again = peak(true, again);
  EXPECT_EQ(kept.loss, again.loss);
  for (std::int64_t i = 0; i < kept.gradients.size(); ++i)
    ASSERT_EQ(kept.gradients.data<float>()[i], again.gradients.data<float>()[i]) << i;
  EXPECT_LT(bytes_again, bytes_kept * 3 / 4);
}

}  // namespace
}  // namespace sfumato::nn

// No cliff: networks of odd widths on small and large pictures, one at a time or on more threads
// than cores, by both methods of convolution.
#include <gtest/gtest.h>

#include "autograd/ops.h"
#include "nn/unet.h"
#include "tensor/kernels/kernels.h"
#include "tensor/parallel.h"
#include "tests/norms.h"

namespace sfumato::nn {
namespace {

struct Size {
  std::int64_t batch, height, width;
  std::vector<std::int64_t> channels;
};

// The network's gradients and output, as one list of numbers.
std::vector<float> step(const Size& size) {
  UNetConfig c;
  c.in_channels = c.out_channels = 1;
  c.block_out_channels = size.channels;
  c.down_attention.assign(size.channels.size(), false);
  c.up_attention = c.down_attention;
  c.norm_num_groups = 3;
  c.attention_head_dim = 4;
  c.layers_per_block = 1;
  Params params(1);
  const UNet unet(params, c);
  const Tensor x = Rng(1, Purpose::test).normal({size.batch, size.height, size.width, 1});
  const Tensor t = Tensor::full({size.batch}, 300, DType::i64);
  params.zero_grad();
  const Var y = unet(x, t);
  mean(square(y)).backward();
  std::vector<float> all(y.value().values<float>().begin(), y.value().values<float>().end());
  const auto gradients = params.flat_grads().values<float>();
  all.insert(all.end(), gradients.begin(), gradients.end());
  return all;
}

class Sizes : public ::testing::TestWithParam<Size> {};

TEST_P(Sizes, BothMethodsAgreeOnAnyThreads) {
  using kernels::ConvMethod;
  kernels::set_conv_method(ConvMethod::direct);
  const std::vector<float> direct = step(GetParam());
  kernels::set_conv_method(ConvMethod::winograd);
  const std::vector<float> winograd = step(GetParam());
  kernels::set_conv_method(ConvMethod::automatic);
  const int threads = thread_count();
  const std::vector<float> some = step(GetParam());
  set_thread_count(16);
  const std::vector<float> many = step(GetParam());
  set_thread_count(threads);
  EXPECT_LT(distance(std::span(winograd), direct), 1e-5 * norm(direct));
  EXPECT_LT(distance(std::span(some), direct), 1e-5 * norm(direct));
  EXPECT_EQ(some, many);
}

INSTANTIATE_TEST_SUITE_P(UNet, Sizes,
                         ::testing::Values(Size{1, 7, 7, {33}}, Size{3, 9, 11, {12}},
                                           Size{1, 10, 14, {6, 15}}, Size{2, 12, 12, {9, 21, 33}},
                                           Size{1, 28, 28, {15, 27}}, Size{5, 32, 20, {18, 6}},
                                           Size{1, 64, 64, {9, 12}}, Size{1, 96, 96, {6, 9, 12}}));

}  // namespace
}  // namespace sfumato::nn

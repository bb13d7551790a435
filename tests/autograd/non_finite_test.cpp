#include "autograd/non_finite.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/ops.h"

namespace sfumato {
namespace {

TEST(FirstNonFinite, NamesTheOperationThatMadeIt) {
  const Var x = Tensor::from<float>({2}, {100, -1}), w = Tensor::from<float>({2}, {1, 2});
  FirstNonFinite watch;
  const Var y = x * w;
  EXPECT_FALSE(watch.found());
  log(exp(y));  // e¹⁰⁰ is beyond f32
  EXPECT_EQ(watch.op(), "exp");
  EXPECT_EQ(watch.before(), 1);
  EXPECT_TRUE(std::isinf(watch.value()));
  EXPECT_EQ(watch.shape(), (Shape{2}));
  EXPECT_TRUE(watch.inputs_finite());
}

TEST(FirstNonFinite, SaysWhenAnInputHasItAlready) {
  const Var x = Tensor::from<float>({2}, {1, 2}), w = Tensor::from<float>({2}, {NAN, 2});
  FirstNonFinite watch;
  x* w;
  EXPECT_TRUE(watch.found());
  EXPECT_FALSE(watch.inputs_finite());
  EXPECT_EQ(watch.second_input(), w.value().address());
}

}  // namespace
}  // namespace sfumato

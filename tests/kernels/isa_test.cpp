#include "tensor/error.h"
#include "tests/kernels/kernel_test.h"

namespace sfumato {
namespace {

TEST(Isa, ReferenceAndGenericAreAlwaysThereAndFirst) {
  const auto all = available_isas();
  ASSERT_GE(all.size(), 2u);
  EXPECT_EQ(all[0], Isa::reference);
  EXPECT_EQ(all[1], Isa::generic);
}

TEST(Isa, SetAndGet) {
  const Isa before = isa();
  for (const Isa each : available_isas()) {
    set_isa(each);
    EXPECT_EQ(isa(), each);
  }
  set_isa(before);
}

TEST(Isa, UnavailableThrows) {
  const auto all = available_isas();
  for (const Isa each : {Isa::avx2, Isa::avx512}) {
    if (std::find(all.begin(), all.end(), each) == all.end()) {
      EXPECT_THROW(set_isa(each), Error);
    }
  }
}

}  // namespace
}  // namespace sfumato

#include "tests/kernels/linear_cases.h"

namespace sfumato::kernels::testing {
namespace {

TEST(LinearKernel, MatchesTheDefinition) {
  for (const LinearCase& c : linear_cases()) {
    SCOPED_TRACE(describe(c));
    const auto exact = exact_linear(c);
    for_every_isa([&]<class T>() {
      LinearArrays<T, std::vector, Guarded> got(c);
      got.run(table<T>(), c);
      expect_close(got.y, exact.y, "y");
      expect_close(got.dx, exact.dx, "dx");
      expect_close(got.dx_alone, exact.dx_alone, "dx without summand");
      expect_close(got.dw, exact.dw, "dw");
      expect_close(got.db, exact.db, "db");
    });
  }
}

}  // namespace
}  // namespace sfumato::kernels::testing

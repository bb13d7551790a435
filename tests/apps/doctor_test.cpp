// `train --doctor` and `--find-lr`.
#include <fmt/format.h>

#include <regex>

#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

class DoctorTest : public AppTest {
 protected:
  DoctorTest() { put_digits("data", {.count = 64}); }
};

std::string training(const std::string& rest) {
  return fmt::format("train --data data --model tiny --batch 8 --sample-every 0 --steps {}", rest);
}

// It changes nothing: the same weights, bit for bit. And no channel is dead.
TEST_F(DoctorTest, ChangesNothing) {
  done(training("20 --out plain"));
  const Outcome outcome = done(training("20 --out watched --doctor --find-lr --lr 4e-3"));
  EXPECT_TRUE(learned(at("plain")) == learned(at("watched")));
  EXPECT_TRUE(std::regex_search(
      outcome.out, std::regex("find-lr: the loss grows at a rate of 0\\.[0-9]+; try a tenth")))
      << outcome.out;
  EXPECT_EQ(outcome.out.find("dead"), std::string::npos) << outcome.out;
}

TEST_F(DoctorTest, NamesALearningRateThatIsTooLow) {
  const Outcome outcome = done(training("20 --out run --doctor --lr 1e-9"));
  EXPECT_NE(outcome.out.find("doctor, step 20: the learning rate is too low: in 20 steps"),
            std::string::npos)
      << outcome.out;
  EXPECT_NE(outcome.out.find("and a constant answer would reach"), std::string::npos)
      << outcome.out;
}

// The weights explode: the operation that makes the first number which is not finite is named.
TEST_F(DoctorTest, NamesTheFirstOperationThatOverflows) {
  const Outcome outcome = run(training("200 --warmup 0 --out run --doctor --lr 1e6 --clip 1e9"));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(std::regex_search(
      outcome.out,
      std::regex("doctor, step [0-9]+: the first number that is not finite is "
                 "-?(inf|nan) in the .* output of conv2d of .*weight, operation [0-9]+; "
                 "its inputs are finite")))
      << outcome.out << outcome.err;
}

}  // namespace
}  // namespace sfumato::apps

// Where the first number that is none came from.
#pragma once
#include <cstdint>
#include <string>

#include "autograd/var.h"

namespace sfumato {

// While alive, looks at the output of every operation of this thread, which costs a pass over it (and on a GPU a copy).
class FirstNonFinite : public Observer {
 public:
  void see(const char* op, std::initializer_list<Var> inputs, const Tensor& y,
           double flop) override;

  bool found() const { return !op_.empty(); }
  // Of the first operation whose output holds a number that is not finite: its name ("conv2d"), how many operations came
  // before it, the number and the output's shape. Empty, 0, ... where there is none.
  const std::string& op() const { return op_; }
  std::int64_t before() const { return before_; }
  double value() const { return value_; }
  const Shape& shape() const { return shape_; }
  // Whether each of its inputs is finite: then the operation made the number, else it was in a parameter or the data.
  bool inputs_finite() const { return inputs_finite_; }
  // Where the elements of its second input begin: the weight of a layer, by which it can be recognised. Null: none.
  const void* second_input() const { return second_input_; }

 private:
  std::string op_;
  std::int64_t before_ = 0;
  double value_ = 0;
  Shape shape_;
  bool inputs_finite_ = true;
  const void* second_input_ = nullptr;
};

}  // namespace sfumato

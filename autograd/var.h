// Var: a Tensor and how it was made. Reverse-mode differentiation as PyTorch users know it:
//
//   Var w(Tensor::full({3}, 2.0), /*requires_grad=*/true);
//   Var loss = sum(square(w));
//   loss.backward();
//   w.grad();                                  // [4, 4, 4]
//
// To add an operation, compute its value and `record` a pullback beside it (see activation.cpp for
// the shortest, conv.cpp for a full one). A pullback captures the tensors it needs, and nothing
// else is kept: the graph itself holds no activations.
#pragma once
#include <atomic>
#include <initializer_list>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "tensor/memory.h"
#include "tensor/tensor.h"

namespace sfumato {

// What a pullback returns: one gradient for each input, in their order, of its shape and dtype; one of a bf16 input may
// be f32. An undefined Tensor stands for "no gradient" (an integer input, or one that needs none). A value, for one
// thread at a time.
class Gradients {
 public:
  Gradients(std::initializer_list<Tensor> gradients) : gradients_(gradients) {}
  explicit Gradients(int count) : gradients_(static_cast<std::size_t>(count)) {}
  int size() const { return static_cast<int>(gradients_.size()); }
  Tensor& operator[](int i) { return gradients_[static_cast<std::size_t>(i)]; }

 private:
  std::vector<Tensor, memory::Allocator<Tensor>> gradients_;
};

namespace detail {
struct Node;
}

// Which inputs need a gradient; a pullback may skip the others. Lives as long as the pullback's
// call, on its thread.
class Needs {
 public:
  explicit Needs(const detail::Node& node) : node_(node) {}
  bool operator[](int i) const;
  // The sum of the gradients that other operations have already delivered to input i, for a pullback
  // that can add its own as it writes: the pullback then owns the tensor, and must return the sum.
  // Undefined when nothing was delivered yet, or the tensor is shared or not of that dtype.
  Tensor take(int i, DType dtype) const;
  // A tensor of input i's shape and of that dtype, its elements unknown, for a pullback to write the gradient into and
  // return: the place of a parameter's gradient (Var::parameter) when that has the dtype and nothing has arrived there
  // since it was zeroed, else a new tensor. Undefined when input i needs no gradient.
  Tensor room(int i, DType dtype) const;

 private:
  const detail::Node& node_;
};

namespace detail {

void retain(Node* node) noexcept;
void release(Node* node) noexcept;

// An intrusive pointer: one pooled allocation a node, so recording costs no malloc.
class NodePtr {
 public:
  NodePtr() = default;
  explicit NodePtr(Node* adopt) : node_(adopt) {}
  NodePtr(const NodePtr& other) : node_(other.node_) {
    if (node_) retain(node_);
  }
  NodePtr(NodePtr&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  NodePtr& operator=(NodePtr other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~NodePtr() {
    if (node_) release(node_);
  }
  Node* get() const { return node_; }
  Node* operator->() const { return node_; }
  explicit operator bool() const { return node_ != nullptr; }

 private:
  Node* node_ = nullptr;
};

struct Node {
  virtual ~Node() = default;
  virtual Gradients pullback(const Tensor& dy, const Needs& needs);
  virtual void forget() {}  // drops what the pullback captured

  const char* op = "leaf";
  Shape shape;
  Kind kind;  // of the gradient: that of the value, but f32 of a parameter used in bf16
  Tensor grad;
  bool is_leaf = true, accumulate = false, done = false;
  bool zeroed = false;  // of a parameter: `grad` is zero, as nothing has arrived since zero_grad()
  std::vector<NodePtr, memory::Allocator<NodePtr>> inputs;
  // Bookkeeping of one backward pass: consumers that have not delivered their gradient yet.
  std::uint64_t pass = 0;
  int pending = 0;

  std::atomic<int> references{1};
  std::size_t bytes = 0;
  Node* next_garbage = nullptr;
};

template <class N, class... Args>
NodePtr make_node(Args&&... args) {
  Node* node = new (memory::allocate(sizeof(N))) N(std::forward<Args>(args)...);
  node->bytes = sizeof(N);
  return NodePtr(node);
}

}  // namespace detail

// A handle: copies share the value and the node. const is shallow, as for Tensor. Several threads
// may record operations on the same Var; backward() is for one thread at a time.
class Var {
 public:
  Var() = default;
  Var(Tensor value);  // a constant; implicit, so that tensors can be passed to operations
  Var(Tensor value, bool requires_grad);
  // A leaf whose gradient is accumulated into `grad` (same shape; the caller zeroes it). Of a bf16 value it may be f32.
  static Var parameter(Tensor value, Tensor grad);

  const Tensor& value() const { return value_; }
  Tensor& value() { return value_; }
  const Shape& shape() const { return value_.shape(); }
  std::int64_t dim(int i) const { return value_.dim(i); }
  DType dtype() const { return value_.dtype(); }
  Kind kind() const { return value_.kind(); }
  bool defined() const { return value_.defined(); }
  bool requires_grad() const { return static_cast<bool>(node_); }
  // The gradient of a leaf after backward(); undefined before.
  const Tensor& grad() const;
  void zero_grad();
  // Says that the caller has zeroed the gradient of a parameter (nn::Params zeroes all of them at once).
  void mark_zeroed();
  // Whether nothing has arrived since.
  bool is_zeroed() const { return node_ && node_->zeroed; }

  // Fills grad() of every leaf that this value was made from, adding to what is there. Frees the
  // graph as it goes: a second call throws. The first form expects a single element.
  void backward() const;
  void backward(const Tensor& dy) const;

  const detail::NodePtr& node() const { return node_; }

 private:
  template <class Pullback>
  friend Var record(const char*, Tensor, std::initializer_list<Var>, double, Pullback);

  Tensor value_;
  detail::NodePtr node_;
};

// While one is alive, operations of this thread record nothing: for sampling and evaluation.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;
  static bool active();

 private:
  bool before_;
};

// While one is alive, operations of this thread are recorded, whatever NoGrad is around it: for a gradient that a sampler
// needs.
class WithGrad {
 public:
  WithGrad();
  ~WithGrad();
  WithGrad(const WithGrad&) = delete;
  WithGrad& operator=(const WithGrad&) = delete;

 private:
  bool before_;
};

// While one is alive, it sees every operation of this thread as it is recorded: its name, its
// inputs, its output and its count of floating-point operations. `info` draws its table of layers so.
class Observer {
 public:
  Observer();
  virtual ~Observer();
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;
  virtual void see(const char* op, std::initializer_list<Var> inputs, const Tensor& y,
                   double flop) = 0;
  static Observer* current();

 private:
  Observer* before_;
};

namespace detail {

bool any_needs_grad(std::initializer_list<Var> inputs);
void connect(Node& node, const char* op, const Tensor& y, std::initializer_list<Var> inputs);

template <class Pullback>
struct OpNode final : Node {
  explicit OpNode(Pullback p) { new (&storage) Pullback(std::move(p)); }
  ~OpNode() override { forget(); }
  Gradients pullback(const Tensor& dy, const Needs& needs) override {
    auto& f = *std::launder(reinterpret_cast<Pullback*>(&storage));
    if constexpr (std::is_invocable_v<Pullback&, const Tensor&, const Needs&>) {
      return f(dy, needs);
    } else {
      return f(dy);
    }
  }
  void forget() override {
    if (std::exchange(alive, false))
      std::launder(reinterpret_cast<Pullback*>(&storage))->~Pullback();
  }

  alignas(Pullback) std::byte storage[sizeof(Pullback)];
  bool alive = true;
};

}  // namespace detail

// The count of an operation that sums no products: element-wise work and copies.
inline constexpr double kNoProducts = 0;

// The Var of `y`, computed by `op` from `inputs`. `flop`: the floating-point operations of the sums
// of products in y, two for each product, or kNoProducts. pullback(dy) or pullback(dy, needs)
// returns the Gradients of the inputs.
template <class Pullback>
Var record(const char* op, Tensor y, std::initializer_list<Var> inputs, double flop,
           Pullback pullback) {
  Var v(std::move(y));
  if (Observer* observer = Observer::current()) observer->see(op, inputs, v.value_, flop);
  if (!NoGrad::active() && detail::any_needs_grad(inputs)) {
    v.node_ = detail::make_node<detail::OpNode<Pullback>>(std::move(pullback));
    detail::connect(*v.node_.get(), op, v.value_, inputs);
  }
  return v;
}

}  // namespace sfumato

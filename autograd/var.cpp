#include "autograd/var.h"

#include <fmt/format.h>

#include <vector>

#include "autograd/fixed_weights.h"
#include "tensor/arithmetic.h"

namespace sfumato {
namespace {
thread_local bool no_grad_active = false;
thread_local Observer* current_observer = nullptr;
}  // namespace

NoGrad::NoGrad() : before_(std::exchange(no_grad_active, true)) {}
NoGrad::~NoGrad() { no_grad_active = before_; }
bool NoGrad::active() { return no_grad_active; }

thread_local FixedWeights* FixedWeights::active_ = nullptr;
FixedWeights::FixedWeights() : before_(std::exchange(active_, this)) {}
FixedWeights::~FixedWeights() { active_ = before_; }

Observer::Observer() : before_(std::exchange(current_observer, this)) {}
Observer::~Observer() { current_observer = before_; }
Observer* Observer::current() { return current_observer; }

bool Needs::operator[](int i) const { return static_cast<bool>(node_.inputs[i]); }

Tensor Needs::take(int i) const {
  detail::Node* in = node_.inputs[i].get();
  if (!in || in->accumulate || !in->grad.defined() || !in->grad.unique()) return {};
  return std::exchange(in->grad, Tensor());
}

Gradients::Gradients(std::initializer_list<Tensor> gradients) {
  for (const Tensor& g : gradients) gradients_[count_++] = g;
}

namespace detail {

Gradients Node::pullback(const Tensor&, const Needs&) { return Gradients(0); }

void retain(Node* node) noexcept { node->references.fetch_add(1, std::memory_order_relaxed); }

// A chain of a million operations must not need a million stack frames: nodes that die while
// another one is being destroyed wait in a list.
void release(Node* node) noexcept {
  if (node->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  thread_local Node* garbage = nullptr;
  thread_local bool sweeping = false;
  node->next_garbage = garbage;
  garbage = node;
  if (sweeping) return;
  sweeping = true;
  while (garbage) {
    Node* dead = std::exchange(garbage, garbage->next_garbage);
    const std::size_t bytes = dead->bytes;
    dead->~Node();
    memory::release(dead, bytes);
  }
  sweeping = false;
}

bool any_needs_grad(std::initializer_list<Var> inputs) {
  for (const Var& v : inputs)
    if (v.requires_grad()) return true;
  return false;
}

void connect(Node& node, const char* op, const Tensor& y, std::initializer_list<Var> inputs) {
  if (inputs.size() > kMaxInputs)
    throw Error(op, fmt::format("at most {} inputs, got {}", kMaxInputs, inputs.size()));
  node.op = op;
  node.shape = y.shape();
  node.dtype = y.dtype();
  node.is_leaf = false;
  for (const Var& v : inputs) node.inputs[node.input_count++] = v.node();
}

}  // namespace detail

using detail::Node;

Var::Var(Tensor value) : value_(std::move(value)) {}

Var::Var(Tensor value, bool requires_grad) : value_(std::move(value)) {
  if (!requires_grad) return;
  node_ = detail::make_node<Node>();
  node_->shape = value_.shape();
  node_->dtype = value_.dtype();
}

Var Var::parameter(Tensor value, Tensor grad) {
  expect_shape("parameter", "gradient", grad, value.shape());
  Var v(std::move(value), true);
  v.node_->grad = std::move(grad);
  v.node_->accumulate = true;
  return v;
}

const Tensor& Var::grad() const {
  static const Tensor none;
  return node_ ? node_->grad : none;
}

void Var::zero_grad() {
  if (!node_) return;
  if (node_->accumulate) {
    node_->grad.copy_from(Tensor::zeros(node_->shape, node_->dtype));
  } else {
    node_->grad = Tensor();
  }
}

void Var::backward() const {
  if (!defined() || value_.size() != 1)
    throw Error("backward", fmt::format("expected a single element, got shape {}", shape().str()));
  backward(Tensor::full(shape(), 1.0, dtype()));
}

namespace {

// Adds g to the gradient of `node`. A tensor that others may hold is never changed in place.
void deliver(Node& node, const Tensor& g) {
  if (!node.grad.defined()) {
    node.grad = g;
  } else if (node.accumulate || node.grad.unique()) {
    add_scaled(node.grad, g, 1.0);
  } else {
    node.grad = add(node.grad, g);
  }
}

void check_gradient(const Node& node, int i, const Tensor& g) {
  const Node& in = *node.inputs[i].get();
  if (!(g.shape() == in.shape) || g.dtype() != in.dtype)
    throw Error(node.op,
                fmt::format("gradient of input {} is {} {}, the input is {} {}", i, name(g.dtype()),
                            g.shape().str(), name(in.dtype), in.shape.str()));
}

}  // namespace

void Var::backward(const Tensor& dy) const {
  if (!node_) throw Error("backward", "nothing here requires a gradient");
  expect_shape("backward", "gradient", dy, shape());
  expect_dtype("backward", "gradient", dy, dtype());
  static std::atomic<std::uint64_t> passes{0};
  const std::uint64_t pass = ++passes;
  // Keeps its capacity from step to step. A pullback may call backward() itself (checkpoint.h).
  thread_local std::vector<Node*> spare;
  std::vector<Node*> stack;
  stack.swap(spare);

  // First walk: how many gradients will arrive at each node?
  stack.assign(1, node_.get());
  node_->pass = pass;
  node_->pending = 0;
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    if (node->done)
      throw Error("backward",
                  fmt::format("the graph was freed by an earlier backward() at '{}'", node->op));
    for (int i = 0; i < node->input_count; ++i) {
      Node* in = node->inputs[i].get();
      if (!in) continue;
      if (in->pass != pass) {
        in->pass = pass;
        in->pending = 0;
        stack.push_back(in);
      }
      ++in->pending;
    }
  }

  // Second walk: a node is due when all of its consumers have delivered.
  deliver(*node_.get(), dy);
  stack.assign(1, node_.get());
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    if (node->is_leaf) continue;
    if (node->grad.defined()) {
      const Needs needs(*node);
      Gradients g = node->pullback(node->grad, needs);
      node->grad = Tensor();
      if (g.size() != node->input_count)
        throw Error(node->op,
                    fmt::format("{} gradients for {} inputs", g.size(), node->input_count));
      for (int i = 0; i < node->input_count; ++i) {
        if (!needs[i] || !g[i].defined()) continue;
        check_gradient(*node, i, g[i]);
        deliver(*node->inputs[i].get(), g[i]);
        g[i] = Tensor();
      }
    }
    node->forget();
    node->done = true;
    for (int i = 0; i < node->input_count; ++i) {
      Node* in = node->inputs[i].get();
      if (in && --in->pending == 0) stack.push_back(in);
    }
  }
  if (stack.capacity() > spare.capacity()) stack.swap(spare);
}

}  // namespace sfumato

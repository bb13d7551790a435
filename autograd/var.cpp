#include "autograd/var.h"

#include <fmt/format.h>

#include <vector>

#include "tensor/arithmetic.h"
#include "tensor/constant.h"

namespace sfumato {
namespace {
thread_local bool no_grad_active = false;
thread_local Observer* current_observer = nullptr;
}  // namespace

NoGrad::NoGrad() : before_(std::exchange(no_grad_active, true)) {}
NoGrad::~NoGrad() { no_grad_active = before_; }
bool NoGrad::active() { return no_grad_active; }

WithGrad::WithGrad() : before_(std::exchange(no_grad_active, false)) {}
WithGrad::~WithGrad() { no_grad_active = before_; }

Observer::Observer() : before_(std::exchange(current_observer, this)) {}
Observer::~Observer() { current_observer = before_; }
Observer* Observer::current() { return current_observer; }

bool Needs::operator[](int i) const { return static_cast<bool>(node_.inputs[i]); }

Tensor Needs::take(int i, DType dtype) const {
  detail::Node* in = node_.inputs[i].get();
  if (!in || in->accumulate || in->kind.dtype != dtype) return {};
  if (!in->grad.defined() || !in->grad.unique()) return {};
  return std::exchange(in->grad, Tensor());
}

Tensor Needs::room(int i, DType dtype) const {
  detail::Node* in = node_.inputs[i].get();
  if (!in) return {};
  if (in->kind.dtype == dtype && std::exchange(in->zeroed, false)) return in->grad;
  return Tensor(in->shape, {dtype, in->kind.device});
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
  node.op = op;
  node.shape = y.shape();
  node.kind = y.kind();
  node.is_leaf = false;
  node.inputs.reserve(inputs.size());
  for (const Var& v : inputs) node.inputs.push_back(v.node());
}

}  // namespace detail

using detail::Node;

Var::Var(Tensor value) : value_(std::move(value)) {}

Var::Var(Tensor value, bool requires_grad) : value_(std::move(value)) {
  if (!requires_grad) return;
  node_ = detail::make_node<Node>();
  node_->shape = value_.shape();
  node_->kind = value_.kind();
}

Var Var::parameter(Tensor value, Tensor grad) {
  expect_shape("parameter", "gradient", grad, value.shape());
  Var v(std::move(value), true);
  v.node_->kind = grad.kind();
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
    node_->grad.fill(0);
    mark_zeroed();
  } else {
    node_->grad = Tensor();
  }
}

void Var::mark_zeroed() {
  if (node_) node_->zeroed = node_->accumulate;
}

void Var::backward() const {
  if (!defined() || value_.size() != 1)
    throw Error("backward", fmt::format("expected a single element, got shape {}", shape().str()));
  backward(constant(Tensor::full(shape(), 1.0, {dtype(), Device::cpu}), kind().device));
}

namespace {

// Adds g to the gradient of `node`. A tensor that others may hold is never changed in place.
void deliver(Node& node, const Tensor& g) {
  if (!node.grad.defined()) {
    node.grad = g;
  } else if (node.grad.address() == g.address() && node.accumulate) {
    // It was written in its place (Needs::room).
  } else if (std::exchange(node.zeroed, false)) {
    node.grad.copy_from(g);
  } else if (node.accumulate || node.grad.unique()) {
    add_scaled(node.grad, g, 1.0);
  } else {
    node.grad = add(node.grad, g);
  }
}

void check_gradient(const Node& node, int i, const Tensor& g) {
  const Node& in = *node.inputs[i].get();
  if (!(g.shape() == in.shape) || !(g.kind() == in.kind))
    throw Error(node.op,
                fmt::format("gradient of input {} is {} {}, the input is {} {}", i, name(g.kind()),
                            g.shape().str(), name(in.kind), in.shape.str()));
}

// A gradient of f32 or bf16 as `node` keeps it: where a value is used in bf16, its gradient may be computed in either.
Tensor as_kept(const Node& node, const Tensor& g) {
  const bool narrow = node.kind.dtype == DType::bf16 || g.dtype() == DType::bf16;
  const bool wide = node.kind.dtype == DType::f32 || g.dtype() == DType::f32;
  return narrow && wide ? g.to(node.kind.dtype) : g;
}

using Stack = std::vector<Node*, memory::Allocator<Node*>>;

// First walk: how many gradients will arrive at each node?
void count_gradients(Node* root, Stack& stack) {
  static std::atomic<std::uint64_t> passes{0};
  const std::uint64_t pass = ++passes;
  root->pass = pass;
  root->pending = 0;
  stack.assign(1, root);
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    if (node->done)
      throw Error("backward",
                  fmt::format("the graph was freed by an earlier backward() at '{}'", node->op));
    for (const detail::NodePtr& input : node->inputs) {
      Node* in = input.get();
      if (!in) continue;
      if (in->pass != pass) {
        in->pass = pass;
        in->pending = 0;
        stack.push_back(in);
      }
      ++in->pending;
    }
  }
}

// Turns the gradient of `node` into those of its inputs, and delivers them.
void pull_back(Node& node) {
  if (!node.grad.defined()) return;
  const Needs needs(node);
  Gradients g = node.pullback(node.grad, needs);
  node.grad = Tensor();
  const int count = static_cast<int>(node.inputs.size());
  if (g.size() != count)
    throw Error(node.op, fmt::format("{} gradients for {} inputs", g.size(), count));
  for (int i = 0; i < count; ++i) {
    if (!needs[i] || !g[i].defined()) continue;
    Node& in = *node.inputs[i].get();
    g[i] = as_kept(in, g[i]);
    check_gradient(node, i, g[i]);
    deliver(in, g[i]);
    g[i] = Tensor();
  }
}

// Second walk: a node is due when all of its consumers have delivered.
void deliver_gradients(Node* root, Stack& stack) {
  stack.assign(1, root);
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    if (node->is_leaf) continue;
    pull_back(*node);
    node->forget();
    node->done = true;
    for (const detail::NodePtr& input : node->inputs) {
      Node* in = input.get();
      if (in && --in->pending == 0) stack.push_back(in);
    }
  }
}

}  // namespace

void Var::backward(const Tensor& dy) const {
  if (!node_) throw Error("backward", "nothing here requires a gradient");
  expect_shape("backward", "gradient", dy, shape());
  expect_kind("backward", "gradient", dy, kind());
  Stack stack;
  count_gradients(node_.get(), stack);
  deliver(*node_.get(), dy);
  deliver_gradients(node_.get(), stack);
}

}  // namespace sfumato

#include "nn/params.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

namespace sfumato::nn {

Init zeros() {
  return [](Tensor& value, const Rng&) { value.fill(0); };
}

Init ones() {
  return [](Tensor& value, const Rng&) { value.fill(1); };
}

namespace {

// value = map(number drawn)
template <class F>
void transform(Tensor& value, const Tensor& drawn, F f) {
  dispatch_float("init", value.dtype(), [&]<class T>() {
    for (std::int64_t i = 0; i < value.size(); ++i)
      value.data<T>()[i] = static_cast<T>(f(static_cast<double>(drawn.data<float>()[i])));
  });
}

}  // namespace

Init normal(double sigma) {
  return [sigma](Tensor& value, Rng rng) {
    transform(value, rng.normal(value.shape()), [=](double z) { return sigma * z; });
  };
}

namespace {

Init uniform(double bound) {
  return [bound](Tensor& value, Rng rng) {
    transform(value, rng.uniform(value.shape()), [=](double u) { return bound * (2 * u - 1); });
  };
}

}  // namespace

Init uniform_fan_in(std::int64_t fan_in) {
  return uniform(fan_in > 0 ? 1 / std::sqrt(static_cast<double>(fan_in)) : 0);
}

Init xavier_uniform(std::int64_t fan_in, std::int64_t fan_out) {
  const auto fans = static_cast<double>(fan_in + fan_out);
  return uniform(fans > 0 ? std::sqrt(6 / fans) : 0);
}

void Params::expect_room(const std::string& name, const Shape& shape) const {
  if (values_.defined())
    throw Error("params",
                fmt::format("'{}' comes too late: the parameters are laid out already", name));
  if (shape.size() > limit_ - count_)
    throw Error("params", fmt::format("'{}' {} is too much: there is room for {} parameters", name,
                                      shape.str(), limit_));
  if (index_.contains(name)) throw Error("params", fmt::format("duplicate name '{}'", name));
}

Buffer Params::add_buffer(const std::string& name, const Shape& shape, DType dtype, double value) {
  expect_room(name, shape);
  index_.emplace(name, kIsBuffer);
  buffers_.push_back({name, Tensor::full(shape, value, {dtype, kind_.device})});
  return Buffer(&buffers_.back().value);
}

Param Params::add(const std::string& name, const Shape& shape, const Init& init, Use use) {
  expect_room(name, shape);
  index_.emplace(name, entries_.size());
  count_ += shape.size();
  Tensor value(shape, kind_);
  init(value, Rng(seed_, Purpose::init, entries_.size()));
  entries_.push_back({name, value, Var(value, true), use});
  return Param(&entries_.back().var);
}

const Params::Entry* Params::find(const std::string& name) const {
  const auto it = index_.find(name);
  return it == index_.end() || it->second == kIsBuffer ? nullptr : &entries_[it->second];
}

void Params::bind(std::size_t i, const Var& var) {
  Entry& e = entries_.at(i);
  expect_shape("params", e.name.c_str(), var.value(), e.var.shape());
  e.var = var;
}

void Params::flatten() {
  if (values_.defined()) return;
  to(kind_.device);
}

void Params::to(Device device, DType used) {
  if (used != kind_.dtype && (used != DType::bf16 || !computes_in({used, device})))
    throw Error("params", fmt::format("kept in {}, they cannot be used in {} on {}",
                                      sfumato::name(kind_.dtype), sfumato::name(used),
                                      sfumato::name(device)));
  const bool stays = values_.defined() && device == kind_.device;
  if (stays && copy_.defined() == (used != kind_.dtype)) return;
  kind_.device = device;
  lay_out(used);
}

void Params::lay_out(DType used) {
  values_ = Tensor({count()}, kind_);
  grads_ = Tensor::zeros({count()}, kind_);
  copy_ = used == kind_.dtype ? Tensor() : Tensor({count()}, {used, kind_.device});
  std::int64_t at = 0;
  for (Entry& e : entries_) {
    const Shape shape = e.value.shape();
    const auto place = [&](const Tensor& flat) {
      return flat.slice(at, at + shape.size()).reshape(shape);
    };
    const Tensor old = std::exchange(e.value, place(values_));
    e.value.copy_from(old);
    const bool copied = copy_.defined() && e.use == Use::by_rank && shape.rank() >= 2;
    e.var = Var::parameter(copied ? place(copy_) : e.value, place(grads_));
    at += shape.size();
  }
  for (BufferEntry& b : buffers_) b.value = b.value.to(kind_.device);
  refresh();
}

void Params::refresh() {
  if (copy_.defined()) copy_.copy_from(values_.to(copy_.dtype()));
}

const Tensor& Params::flat_values() {
  flatten();
  return values_;
}

const Tensor& Params::flat_grads() {
  flatten();
  return grads_;
}

void Params::zero_grad() {
  flatten();
  grads_.fill(0);
  for (Entry& e : entries_) e.var.mark_zeroed();
}

Scope Scope::operator/(const std::string& child) const {
  Scope s = *this;
  s.prefix_ += child + ".";
  return s;
}

Scope Scope::exact() const {
  Scope s = *this;
  s.use_ = Params::Use::exact;
  return s;
}

Buffer Scope::buffer(const std::string& name, const Shape& shape, DType dtype, double value) const {
  return params_->add_buffer(prefix_ + name, shape, dtype, value);
}

Param Scope::param(const std::string& name, const Shape& shape, const Init& init) const {
  return params_->add(prefix_ + name, shape, init, use_);
}

}  // namespace sfumato::nn

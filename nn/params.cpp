#include "nn/params.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "autograd/ops.h"

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

void Params::expect_open(const std::string& name) const {
  if (values_.defined())
    throw Error("params",
                fmt::format("'{}' comes too late: the parameters are laid out already", name));
}

void Params::expect_room(const std::string& name, const Shape& shape) const {
  expect_open(name);
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
  entries_.push_back({.name = name, .value = value, .var = Var(value, true), .use = use});
  return Param(&entries_.back().var);
}

JoinedParam Params::join(std::span<const Param> parts) {
  Join join;
  for (const Param& part : parts) {
    const auto entry = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const Entry& e) { return &e.var == &part.var(); });
    if (entry == entries_.end()) throw Error("params", "a parameter of others cannot be joined");
    expect_open(entry->name);
    const Entry& first = join.parts.empty() ? *entry : *join.parts[0];
    expect_shape("params", entry->name.c_str(), entry->value,
                 first.value.shape().with(0, entry->value.dim(0)));
    if (entry->join || entry->use != first.use)
      throw Error("params",
                  fmt::format("'{}' cannot be joined with '{}': {}", entry->name, first.name,
                              entry->join ? "it is joined already" : "it is used otherwise"));
    join.parts.push_back(&*entry);
  }
  if (join.parts.empty()) throw Error("params", "nothing to join");
  for (Entry* part : join.parts) part->join = joins_.size();
  joins_.push_back(std::move(join));
  return {*this, joins_.size() - 1};
}

JoinedParam::operator Var() const {
  const Params::Join& join = params_->joins_[join_];
  if (join.var.defined()) return join.var;
  Var all;
  for (const Params::Entry* part : join.parts)
    all = all.defined() ? concat_rows({all, part->var}) : part->var;
  return all;
}

const Params::Entry* Params::find(const std::string& name) const {
  const auto it = index_.find(name);
  return it == index_.end() || it->second == kIsBuffer ? nullptr : &entries_[it->second];
}

void Params::bind(std::size_t i, const Var& var) {
  Entry& e = entries_.at(i);
  expect_shape("params", e.name.c_str(), var.value(), e.var.shape());
  e.var = var;
  if (e.join) joins_[*e.join].var = Var();
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

// In the order of creation, but parts of a join where the first of them is, and what is no multiple of 8 elements last: so
// everything else begins at a multiple of 16 bytes, whatever its type, and a GPU reads it in whole words of as many.
void Params::choose_order() {
  order_.clear();
  for (const bool odd : {false, true})
    for (Entry& e : entries_) {
      const std::vector<Entry*> parts = e.join ? joins_[*e.join].parts : std::vector<Entry*>{&e};
      const bool is_odd = std::any_of(parts.begin(), parts.end(), [](const Entry* part) {
        return part->value.size() % 8 != 0;
      });
      if (is_odd == odd && &e == parts[0]) order_.insert(order_.end(), parts.begin(), parts.end());
    }
  std::int64_t at = 0;
  for (Entry* e : order_) e->begin = std::exchange(at, at + e->value.size());
}

void Params::lay_out(DType used) {
  choose_order();
  values_ = Tensor({count()}, kind_);
  grads_ = Tensor::zeros({count()}, kind_);
  copy_ = used == kind_.dtype ? Tensor() : Tensor({count()}, {used, kind_.device});
  const auto place = [](const Tensor& flat, const Entry& e, const Shape& shape) {
    return flat.slice(e.begin, e.begin + shape.size()).reshape(shape);
  };
  const auto used_as = [&](const Entry& e, const Shape& shape) {
    const bool copied = copy_.defined() && e.use == Use::by_rank && shape.rank() >= 2;
    return Var::parameter(place(copied ? copy_ : values_, e, shape), place(grads_, e, shape));
  };
  for (Entry& e : entries_) {
    const Shape shape = e.value.shape();
    const Tensor old = std::exchange(e.value, place(values_, e, shape));
    e.value.copy_from(old);
    e.var = used_as(e, shape);
  }
  for (Join& join : joins_) {
    std::int64_t rows = 0;
    for (const Entry* part : join.parts) rows += part->value.dim(0);
    join.var = used_as(*join.parts[0], join.parts[0]->value.shape().with(0, rows));
  }
  for (BufferEntry& b : buffers_) b.value = b.value.to(kind_.device);
  mark_zeroed();
  refresh();
}

Tensor Params::in_order(const Tensor& flat) const {
  const Tensor here = flat.to(Device::cpu);
  Tensor ordered(here.shape(), here.dtype());
  std::int64_t at = 0;
  for (const Entry& e : entries_) {
    const std::int64_t end = at + e.value.size();
    ordered.slice(at, end).copy_from(here.slice(e.begin, e.begin + e.value.size()));
    at = end;
  }
  return ordered;
}

void Params::from_order(const Tensor& ordered, Tensor flat) const {
  Tensor here(ordered.shape(), ordered.dtype());
  std::int64_t at = 0;
  for (const Entry& e : entries_) {
    const std::int64_t end = at + e.value.size();
    here.slice(e.begin, e.begin + e.value.size()).copy_from(ordered.slice(at, end));
    at = end;
  }
  flat.copy_from(here);
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
  expect_read_once();
  return grads_;
}

// What arrives first overwrites zeros, so of two that share a place one is lost.
void Params::expect_read_once() const {
  for (const Join& join : joins_) {
    if (!join.var.defined() || join.var.is_zeroed()) continue;
    for (const Entry* part : join.parts)
      if (!part->var.is_zeroed())
        throw Error("params", fmt::format("'{}' was used alone and joined with others in one step: "
                                          "expected either",
                                          part->name));
  }
}

void Params::mark_zeroed() {
  for (Entry& e : entries_) e.var.mark_zeroed();
  for (Join& join : joins_) join.var.mark_zeroed();
}

void Params::zero_grad() {
  flatten();
  grads_.fill(0);
  mark_zeroed();
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

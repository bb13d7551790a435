#include "tensor/arrivals.h"

#include <utility>

#include "tensor/for_each.h"

namespace sfumato {
namespace {

template <class T>
struct Store {
  const T* from;
  double* to;
  constexpr void operator()(std::int64_t) const { *to = static_cast<double>(*from); }
};

}  // namespace

Arrivals::Arrivals(Device device, std::int64_t columns, Receive receive)
    : slots_({device == Device::cpu ? 1 : kSlots, columns}, {DType::f64, device}),
      receive_(std::move(receive)) {}

void Arrivals::send(std::initializer_list<Tensor> row) {
  expect_shape("arrivals", "row", slots_, {slots_.dim(0), static_cast<std::int64_t>(row.size())});
  if (sent_ == slots_.dim(0)) drain();
  double* to = slots_.data<double>() + sent_ * slots_.dim(1);
  for (const Tensor& number : row) {
    expect_kind("arrivals", "number", number, {number.dtype(), slots_.device()});
    dispatch_float("arrivals", number.dtype(), [&]<class T>() {
      for_each(number.device(), number.size(), Store<T>{number.data<T>(), to});
    });
    ++to;
  }
  ++sent_;
  if (slots_.device() == Device::cpu) drain();
}

void Arrivals::drain() {
  const Tensor here = slots_.to(Device::cpu);
  const auto columns = static_cast<std::size_t>(here.dim(1));
  for (std::int64_t row = 0, rows = std::exchange(sent_, 0); row < rows; ++row)
    receive_(here.values<double>().subspan(static_cast<std::size_t>(row) * columns, columns));
}

}  // namespace sfumato

// Params owns every learned tensor by name; a Scope is a name prefix into it. A layer asks its scope for a tensor;
// that creates, initialises and registers it:
//
//   struct LayerScale {                                  // y = γ x      [Touvron 2021, eq. 2]
//     Param gamma;
//     LayerScale(const Scope& s, int64_t channels) : gamma(s.param("gamma", {channels}, ones())) {}
//     Var operator()(const Var& x) const { return x * cast(gamma, x.dtype()); }    // [..., C] -> [..., C]
//   };
//   Params params(seed);
//   LayerScale scale(Scope(params) / "scale", 64);       // "scale.gamma"
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "autograd/var.h"
#include "tensor/rng.h"

namespace sfumato::nn {

// Fills a new parameter. Each parameter draws from a stream of its own.
using Init = std::function<void(Tensor& value, Rng rng)>;
Init zeros();
Init ones();
Init normal(double sigma);
// U(-b, b) with b = 1/√fan_in: what PyTorch's Linear and Conv2d start from, weight and bias alike.
Init uniform_fan_in(std::int64_t fan_in);
// U(-b, b) with b = √(6 / (fan_in + fan_out))                           [Glorot and Bengio 2010, eq. 16]
Init xavier_uniform(std::int64_t fan_in, std::int64_t fan_out);

// A handle to a learned tensor, used like the Var it stands for. Valid while its Params lives. const is shallow.
class Param {
 public:
  Param() = default;
  explicit Param(Var* slot) : slot_(slot) {}
  operator const Var&() const { return *slot_; }
  const Var& var() const { return *slot_; }
  const Shape& shape() const { return slot_->shape(); }

 private:
  Var* slot_ = nullptr;
};

// A handle to numbers that a layer keeps and no optimiser changes, such as running statistics. Valid while its Params lives.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(Tensor* slot) : slot_(slot) {}
  const Tensor& value() const { return *slot_; }

 private:
  Tensor* slot_ = nullptr;
};

class Params;

// A handle to parameters that a layer uses as one, row under row: [a, ...], [b, ...] -> [a + b, ...]. Valid while their
// Params lives.
class JoinedParam {
 public:
  JoinedParam(const Params& params, std::size_t join) : params_(&params), join_(join) {}
  operator Var() const;

 private:
  const Params* params_;
  std::size_t join_;
};

class Params {  // const is shallow; adding and laying out: one thread alone
 public:
  // `limit`: how many parameters (single numbers) there may be; more is an Error, thrown before they are allocated,
  // since a configuration from a file may ask for any size.
  explicit Params(std::uint64_t seed, DType dtype = DType::f32, std::int64_t limit = kMaxCount)
      : seed_(seed), kind_(dtype), limit_(limit) {}
  static constexpr std::int64_t kMaxCount = std::int64_t{1} << 31;
  Params(const Params&) = delete;
  Params& operator=(const Params&) = delete;

  // How a network that computes in bf16 uses a parameter: matrices and filters (two axes and more) in bf16, vectors as
  // they are kept; or `exact`, all as they are kept.
  enum class Use { by_rank, exact };
  // Throws Error when the name is taken, or after the first use of flat_values() or flat_grads().
  Param add(const std::string& name, const Shape& shape, const Init& init, Use use = Use::by_rank);

  // `parts`, of one Use, as one. Laid out they lie one after the other, so that joining them copies nothing. Each is of this
  // join alone, and in a step no operation reads it otherwise: the gradients of both would share a place, and flat_grads()
  // throws Error. Throws as add().
  JoinedParam join(std::span<const Param> parts);

  // A tensor filled with `value`, of kind()'s dtype or i64: saved and loaded (nn/checkpoint.h) and moved with the
  // parameters, but none of them: not in flat_values(), not averaged. Throws as add().
  Buffer add_buffer(const std::string& name, const Shape& shape, DType dtype, double value);

  struct BufferEntry {
    std::string name;
    Tensor value;
  };
  const std::deque<BufferEntry>& buffers() const { return buffers_; }

  struct Entry {
    std::string name;
    Tensor value;  // as it is kept, in `kind()`
    Var var;       // as it is used
    Use use;
    std::int64_t begin = 0;                // its first element in flat_values(), once laid out
    std::optional<std::size_t> join = {};  // that it is part of
  };
  const std::deque<Entry>& entries() const { return entries_; }  // in order of creation
  // In the order of flat_values().
  std::vector<const Entry*> laid_out() const { return {order_.begin(), order_.end()}; }
  // Null when there is none of that name.
  const Entry* find(const std::string& name) const;
  // Puts another Var in the place of parameter i, for checks that differentiate by it.
  void bind(std::size_t i, const Var& var);
  std::int64_t count() const { return count_; }  // elements of all parameters
  Kind kind() const { return kind_; }            // of values, gradients and what an optimiser keeps
  // Moves the values to the device, and zeroes the gradients there. New parameters are made on the CPU, so that they
  // are the same bits on every device; handles and layers stay valid. Nothing can be added afterwards. bf16 as `used`:
  // matrices and filters are used as a copy in bf16; otherwise `used` is kind()'s dtype.
  void to(Device device, DType used);
  void to(Device device) { to(device, kind_.dtype); }

  // All values, and all gradients, end to end in one tensor each: the optimiser, clipping and EMA
  // are single passes. The order is that of creation, but parts of a join follow the first of them, and what is no multiple of
  // 8 elements comes last. The first call lays them out; after it nothing can be added.
  const Tensor& flat_values();
  const Tensor& flat_grads();
  // The values in bf16, if they are used so, else undefined. Who writes flat_values() writes this too, or calls
  // refresh().
  const Tensor& flat_copy() const { return copy_; }
  void refresh();
  void zero_grad();
  // `flat`, laid out as flat_values(), in the order of entries() and on the CPU, as files keep it; and the reverse, into
  // `flat` on its device.
  Tensor in_order(const Tensor& flat) const;
  void from_order(const Tensor& ordered, Tensor flat) const;

  int next_dropout_id() { return dropout_ids_++; }

 private:
  friend class JoinedParam;
  static constexpr std::size_t kIsBuffer = SIZE_MAX;
  struct Join {
    std::vector<Entry*> parts;
    Var var;  // undefined where the parts are not side by side: before they are laid out, or when another Var is bound
  };
  void expect_open(const std::string& name) const;
  void expect_room(const std::string& name, const Shape& shape) const;
  void flatten();
  void choose_order();
  void lay_out(DType used);
  void mark_zeroed();
  void expect_read_once() const;

  std::uint64_t seed_;
  Kind kind_;
  std::int64_t limit_, count_ = 0;
  std::deque<Entry> entries_;  // a deque: Param points into it
  std::deque<BufferEntry> buffers_;
  std::deque<Join> joins_;
  std::vector<Entry*> order_;
  std::map<std::string, std::size_t> index_;  // of entries_; of a buffer: kIsBuffer
  Tensor values_, grads_, copy_;
  int dropout_ids_ = 0;
};

class Scope {  // a value; const, as it only points to its Params
 public:
  Scope(Params& params) : params_(&params) {}
  Scope operator/(const std::string& child) const;
  Scope operator/(std::int64_t child) const { return *this / std::to_string(child); }
  // The same, but its parameters are used as they are kept (Params::Use::exact): for what is small and must be exact.
  Scope exact() const;
  Param param(const std::string& name, const Shape& shape, const Init& init) const;
  Buffer buffer(const std::string& name, const Shape& shape, DType dtype, double value) const;
  Params& params() const { return *params_; }

 private:
  Params* params_;
  std::string prefix_;
  Params::Use use_ = Params::Use::by_rank;
};

}  // namespace sfumato::nn

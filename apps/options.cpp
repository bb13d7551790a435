#include "apps/options.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace sfumato::apps {
namespace {

template <class T>
io::Json or_null(const std::optional<T>& value) {
  return value ? io::Json(*value) : io::Json(nullptr);
}

std::int64_t get_int(const io::JsonObject& j, const char* key, std::int64_t low,
                     std::int64_t high) {
  const std::int64_t value = j.get_int(key);
  if (value < low || value > high)
    throw Error(j.source(), fmt::format("{}: expected {}..{}, got {}", key, low, high, value));
  return value;
}

}  // namespace

io::Json to_json(const TrainOptions& o) {
  io::Json j;
  j["init"] = o.init;
  j["data"] = o.data;
  j["model"] = o.model;
  j["minutes"] = or_null(o.minutes);
  j["steps"] = or_null(o.steps);
  j["epochs"] = or_null(o.epochs);
  j["batch"] = o.batch;
  j["lr"] = o.lr;
  j["lr_floor"] = o.lr_floor;
  j["warmup"] = o.warmup;
  j["beta1"] = o.beta1;
  j["beta2"] = o.beta2;
  j["weight_decay"] = o.weight_decay;
  j["clip"] = o.clip;
  j["ema"] = o.ema;
  j["label_dropout"] = o.label_dropout;
  j["dropout"] = or_null(o.dropout);
  j["prediction"] = o.prediction ? io::Json(diffusion::name(*o.prediction)) : io::Json(nullptr);
  j["schedule"] = o.schedule ? io::Json(diffusion::diffusers_name(*o.schedule)) : io::Json(nullptr);
  j["timesteps"] = or_null(o.timesteps);
  j["seed"] = static_cast<std::int64_t>(o.seed);
  j["pad"] = o.pad;
  j["recompute"] = o.recompute;
  j["sample_every"] = o.sample_every;
  j["checkpoint_every"] = o.checkpoint_every;
  return j;
}

TrainOptions parse_train_options(const io::JsonObject& j) {
  TrainOptions o;
  o.init = j.get_string("init");
  o.data = j.get_string("data");
  o.model = j.get_string("model");
  if (j.contains("minutes")) o.minutes = j.get_number("minutes");
  if (j.contains("steps")) o.steps = j.get_int("steps");
  if (j.contains("epochs")) o.epochs = j.get_int("epochs");
  o.batch = get_int(j, "batch", 1, kMaxBatch);
  o.lr = j.get_number("lr");
  o.lr_floor = j.get_number("lr_floor");
  o.warmup = j.get_int("warmup");
  o.beta1 = j.get_number("beta1");
  o.beta2 = j.get_number("beta2");
  o.weight_decay = j.get_number("weight_decay");
  o.clip = j.get_number("clip");
  o.ema = j.get_number("ema");
  o.label_dropout = j.get_number("label_dropout");
  if (j.contains("dropout")) o.dropout = j.get_number("dropout");
  if (j.contains("prediction"))
    o.prediction = diffusion::parse_prediction(j.get_string("prediction"));
  if (j.contains("schedule")) o.schedule = diffusion::parse_beta_schedule(j.get_string("schedule"));
  if (j.contains("timesteps")) o.timesteps = get_int(j, "timesteps", 2, kMaxTimesteps);
  o.seed = static_cast<std::uint64_t>(j.get_int("seed"));
  o.pad = j.get_bool("pad");
  o.recompute = j.get_bool("recompute", false);
  o.sample_every = j.get_number("sample_every");
  o.checkpoint_every = j.get_number("checkpoint_every");
  return o;
}

}  // namespace sfumato::apps

// `sfumato train --resume`: with more steps, other options, data that moved or changed, checkpoints
// that are damaged or of weights that explode.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "diffusion/pipeline.h"
#include "tensor/io/image.h"
#include "tensor/io/npy.h"
#include "tensor/io/safetensors.h"
#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

using io::Json;
const std::string kState = "run/sfumato/state.safetensors";

class Resume : public AppTest {
 protected:
  // Expects exit code 0 and that the standard error holds notes only, with all fragments.
  Outcome noted(const std::string& line, std::initializer_list<std::string_view> fragments,
                const Setting& setting = {}) const {
    Outcome o = run(line, setting);
    EXPECT_EQ(o.code, 0) << line << "\nsignal " << o.signal << '\n' << o.err;
    EXPECT_TRUE(o.err.starts_with("note: ")) << o.err;
    for (std::string_view fragment : fragments)
      EXPECT_NE(o.err.find(fragment), std::string::npos)
          << line << "\nexpected: " << fragment << "\nsaid: " << o.err;
    return o;
  }
  Json options() const { return io::read_json(at("run/sfumato/run.json"))["options"]; }
  void put_record(const Json& record) const { put("run/sfumato/run.json", record.dump()); }
  std::int64_t step(const std::string& file = kState) const {
    return static_cast<std::int64_t>(io::SafeTensors(at(file)).tensor("step").item());
  }
  // Twelve pictures in two classes as NAME.npy.
  void put_array(const std::string& name, int seed = 0, bool turned = false) const {
    Tensor images({12, 12, 12}, DType::u8), labels({12}, DType::i64);
    for (std::int64_t i = 0; i < images.size(); ++i)
      images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 37 + i / 144 * seed);
    for (std::int64_t i = 0; i < 12; ++i) labels.data<std::int64_t>()[i] = (i + turned) % 2;
    fs::create_directories(at(name).parent_path());
    io::write_npy(at(name + ".npy"), images);
    io::write_npy(at(name + "_labels.npy"), labels);
  }
};

// ---- more of it, and other options

TEST_F(Resume, MoreStepsEqualTheLongerRun) {
  put_digits("data");
  // At a constant learning rate, nothing but the end depends on the budget.
  const std::string constant = kTiny + " --lr-floor 1";
  done("train --out whole --steps 14" + constant);
  done("train --out run --steps 6" + constant);
  const Outcome again = done("train --resume run");
  EXPECT_NE(again.out.find("the run is finished; to train on: sfumato train --resume run --steps "
                           "12"),
            std::string::npos)
      << again.out;
  const Outcome o = noted("train --resume run --steps 14", {"note: steps: 6 -> 14\n"});
  EXPECT_NE(o.out.find("resuming at step 6"), std::string::npos) << o.out;
  EXPECT_EQ(learned(at("run")), learned(at("whole")));
  EXPECT_EQ(options()["steps"], 14);
  EXPECT_EQ(metrics("run").back().get_int("step"), 14);
  done("train --resume run");  // the record says 14 now
  const Outcome less = noted("train --resume run --steps 9", {"steps: 14 -> 9"});
  EXPECT_NE(less.out.find("train --resume run --steps 28"), std::string::npos) << less.out;
  EXPECT_EQ(learned(at("run")), learned(at("whole")));
}

// Times drawn by loss go by the losses of earlier steps, which are in the state.
TEST_F(Resume, TimesDrawnByLossGoOnFromTheLossesThatWere) {
  put_digits("data");
  const std::string by_loss = kTiny + " --times loss --timesteps 4 --sample-every 0";
  done("train --out whole --steps 24" + by_loss);
  // Checkpoints at each step, in the uniform phase and after it.
  done("train --out run --steps 24 --stop-after 3 --checkpoint-every 0" + by_loss);
  done("train --resume run --stop-after 13");
  done("train --resume run");
  EXPECT_EQ(learned(at("run")), learned(at("whole")));
  const Tensor seen = io::SafeTensors(at(kState)).tensor("times_seen");
  std::int64_t sum = 0;
  for (const std::int64_t n : seen.values<std::int64_t>()) {
    EXPECT_GE(n, 10);  // so that the second phase was there
    sum += n;
  }
  EXPECT_EQ(sum, 24 * 8);
  done("train --out even --steps 24 --times uniform --timesteps 4 --sample-every 0" + kTiny);
  EXPECT_NE(learned(at("run")).weights, learned(at("even")).weights);
  // A run that drew others has no losses yet; one that draws others from now on needs none.
  noted("train --resume even --times loss --steps 25", {"times: \"uniform\" -> \"loss\""});
  EXPECT_EQ(io::SafeTensors(at("even/sfumato/state.safetensors")).shape("time_losses"),
            (Shape{4, 10}));
  noted("train --resume run --times uniform --steps 25", {"times: \"loss\" -> \"uniform\""});
  EXPECT_FALSE(io::SafeTensors(at(kState)).contains("times_seen"));
}

TEST_F(Resume, ADamagedHistoryOfLossesIsRefused) {
  put_digits("data");
  done("train --out run --steps 24 --stop-after 1 --times loss --timesteps 4 --sample-every 0" +
       kTiny);
  const io::SafeTensors file(at(kState));
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const std::string& name : file.names()) tensors.emplace_back(name, file.tensor(name));
  for (auto& [name, tensor] : tensors)
    if (name == "times_seen") tensor.data<std::int64_t>()[2] = -1;
  io::write_safetensors(at(kState), tensors);
  refused("train --resume run", {"tensor 'times_seen'", "got -1"});
}

TEST_F(Resume, TooFewStepsForTimesByLossAreNoted) {
  put_digits("data");
  noted("train --out run --steps 2 --times loss --sample-every 0" + kTiny,
        {"2 steps of 8 pictures are too few for 10 losses of each of 1000 timesteps"});
}

TEST_F(Resume, PicturesAsLargeAsTheirNoiseAreNoted) {
  put_digits("data");
  noted("train --out run --steps 2 --schedule karras --sample-every 0" + kTiny,
        {"schedule karras: x_t, which grows as large as the noise", "edm is the same process"});
}

TEST_F(Resume, AnotherBudgetTakesThePlaceOfTheOld) {
  put_digits("data", {.count = 20});
  done("train --out run --steps 6 --stop-after 2" + kTiny);
  // 20 pictures in batches of 8: three epochs are 7.5 steps.
  noted("train --resume run --epochs 3", {"epochs: none -> 3", "the learning rate at step 2 is"});
  EXPECT_EQ(step(), 8);
  EXPECT_TRUE(options()["steps"].is_null());
  noted("train --resume run --minutes 0.001", {"minutes: none -> 0.001"});
  EXPECT_TRUE(options()["epochs"].is_null());
  EXPECT_GE(step(), 8);
}

TEST_F(Resume, RestatedOptionsAreNamedAndRecorded) {
  put_digits("data");
  done("train --out run --steps 1000 --stop-after 2" + kTiny);
  const struct {
    const char *key, *value;
  } rows[] = {{"lr", "0.0005"},         {"lr_floor", "0.5"},     {"warmup", "7"},
              {"weight_decay", "0.1"},  {"clip", "0.5"},         {"ema", "0.9"},
              {"label_dropout", "0.3"}, {"sample_every", "5.0"}, {"checkpoint_every", "1.0"},
              {"recompute", "true"},    {"steps", "2000"}};
  for (const auto& row : rows) {
    std::string flag = std::string(" --") + row.key;
    std::replace(flag.begin(), flag.end(), '_', '-');
    const std::string now = row.value, value = now == "true" ? "" : " " + now;
    const Json recorded = options()[row.key];
    const std::string before = recorded.is_null() ? "none" : recorded.dump();
    noted("train --resume run --stop-after 1" + flag + value,
          {fmt::format("note: {}: {} -> {}\n", row.key, before, now)});
    EXPECT_EQ(options()[row.key].dump(), now) << row.key;
    // Said again, it is nothing new.
    done("train --resume run --stop-after 1" + flag + value);
  }
  EXPECT_EQ(step(), 2 + 2 * std::ssize(rows));
  noted("train --resume run --stop-after 1 --loss-weight min_snr --loss huber",
        {R"(loss: "mse" -> "huber")", R"(loss_weight: "constant" -> "min_snr")"});
}

TEST_F(Resume, ARestatedLearningRateActs) {
  put_digits("data");
  done("train --out run --steps 8 --stop-after 4" + kTiny);
  noted("train --resume run --lr 0", {"lr: 0.004 -> 0.0", "learning rate at step 4 is 0 instead"});
  EXPECT_EQ(metrics("run").back().get_number("lr"), 0);
}

TEST_F(Resume, WhatWouldBreakTheRunIsRefusedByName) {
  put_run();
  copy("run", "other");
  const Json before = options();
  for (const char* option :
       {"--model small", "--init other", "--batch 9", "--beta1 0.5", "--beta2 0.5", "--dropout 0.1",
        "--prediction eps", "--schedule linear", "--timesteps 50", "--seed 4", "--pad", "--size 16",
        "--background white", "--null-label 1"}) {
    const std::string flag = std::string(option).substr(0, std::string(option).find(' '));
    refused(fmt::format("train --resume run {}", option),
            {flag, "the run in run has", "--resume cannot change it", "--out"});
  }
  EXPECT_EQ(options(), before);
  EXPECT_EQ(step(), 2);
  // What the run has anyway may be said, also by another name.
  done("train --resume run --stop-after 1 --data ./data/");
  done(
      "train --resume run --stop-after 1 --model tiny --batch 8 --seed 0 --data data --steps 1000");
}

// ---- the data

TEST_F(Resume, OtherDataAreRefused) {
  put_array("data");
  done("train --out run --data data.npy --model tiny --batch 4 --steps 90 --stop-after 2");
  copy("run", "start");
  const std::string resume = "train --resume run --stop-after 1";
  const struct {
    std::function<void()> change;
    const char* what;
  } rows[] = {{[&] { put_array("data", 1); }, "the pixels are others"},
              {[&] { put_array("data", 0, true); }, "the labels are others"},
              {[&] { put_array("data", 1, true); }, "pixels and labels are others"},
              {[&] { fs::remove(at("data_labels.npy")); }, "2 classes then, 0 now"},
              {[&] {
                 io::write_npy(at("data.npy"), Tensor::zeros({11, 12, 12}, DType::u8));
                 io::write_npy(at("data_labels.npy"), Tensor::zeros({11}, DType::i64));
               },
               "12 pictures then, 11 now"},
              {[&] {
                 io::write_npy(at("data.npy"), Tensor::zeros({12, 16, 12}, DType::u8));
               },
               "12x12x1 then, of 16x12x1 now"}};
  for (const auto& row : rows) {
    put_array("data");
    row.change();
    refused(resume, {"the data are not those", row.what, "--accept-data"});
    EXPECT_EQ(learned(at("run")), learned(at("start"))) << row.what;
    EXPECT_EQ(get("run/sfumato/run.json"), get("start/sfumato/run.json")) << row.what;
  }
  put_array("data", 1, true);
  noted(resume + " --accept-data", {"the data have changed (pixels and labels are others)"});
  done(resume);  // they are recorded
  put_array("data");
  refused(resume, {"the data are not those"});
}

TEST_F(Resume, ARecordWithoutDataIsTaken) {
  put_run();
  Json record = io::read_json(at("run/sfumato/run.json"));
  record.erase("data");
  put_record(record);
  noted("train --resume run --stop-after 1", {"does not say which data"});
  done("train --resume run --stop-after 1");
  record = io::read_json(at("run/sfumato/run.json"));
  for (const auto& [key, value] : {std::pair<const char*, Json>{"shape", {1, 2, 3}},
                                   {"shape", {-1, 2, 3, 4}},
                                   {"shape", {1L << 40, 1L << 40, 1, 1}},
                                   {"classes", "two"},
                                   {"pixels", "12"},
                                   {"labels", "0123456789abcdeg"}}) {
    Json changed = record;
    changed["data"][key] = value;
    put_record(changed);
    refused("train --resume run", {"run/sfumato/run.json", key});
  }
}

TEST_F(Resume, DataThatMoved) {
  put_array("data");
  done("train --out run --data data.npy --model tiny --batch 4 --steps 20");
  done("train --out stopped --data data.npy --model tiny --batch 4 --steps 20 --stop-after 5");
  put_array("new/place");
  fs::remove(at("data.npy"));
  refused("train --resume stopped", {"data.npy", "if they have moved", "--resume stopped --data"});
  fs::create_directories(at("elsewhere"));
  const Outcome o =
      Process("train --resume ../stopped --data ../new/place.npy", at("elsewhere")).wait();
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.err.find("note: data: "), std::string::npos) << o.err;
  EXPECT_EQ(learned(at("stopped")), learned(at("run")));
  const auto record = io::JsonObject::read(at("stopped/sfumato/run.json")).get_object("options");
  EXPECT_EQ(record.get_string("data"), at("elsewhere/../new/place.npy").string());
  done("train --resume stopped");  // from here as well
}

TEST_F(Resume, AnotherInstructionSetIsNamed) {
  put_digits("data");
  const Setting generic{{{"SFUMATO_ISA", "generic"}}}, direct{{{"SFUMATO_CONV", "direct"}}};
  done("train --out run --steps 90 --stop-after 1" + kTiny, generic);
  const std::string best =
      io::JsonObject(io::parse_json(done("info --json").out, "info"), "info").get_string("isa");
  const std::string resume = "train --resume run --stop-after 1";
  if (best != "generic")
    noted(resume, {"instruction set generic, here it is " + best, "last bits differ"});
  done(resume);
  noted(resume, {"convolution method auto, here it is direct"}, direct);
}

// ---- a record from somebody else

TEST_F(Resume, ARecordHasTheRangesOfTheCommandLine) {
  put_run();
  const Json record = io::read_json(at("run/sfumato/run.json"));
  const struct {
    const char *key, *value, *range;
  } rows[] = {{"lr", "-1", "0..1000000"},
              {"lr", "1e300", "0..1000000"},
              {"lr_floor", "50", "0..1"},
              {"warmup", "-5", "0..1099511627776"},
              {"minutes", "-1", "0.001..1"},
              {"steps", "-5", "1..1099511627776"},
              {"steps", "0", "1..1099511627776"},
              {"epochs", "9223372036854775807", "1..1048576"},
              {"batch", "0", "1..65536"},
              {"beta1", "1", "0..0.999999"},
              {"beta2", "-0.1", "0..0.999999"},
              {"weight_decay", "1e9", "0..1000"},
              {"clip", "0", "1e-09..1"},
              {"ema", "5", "0..0.9999999"},
              {"label_dropout", "2", "0..1"},
              {"dropout", "2", "0..0.999"},
              {"timesteps", "1", "2..100000"},
              {"null_label", "-1", "0..16777216"},
              {"seed", "-1", "0..9223372036854775807"},
              {"sample_every", "-1", "0..1"},
              {"checkpoint_every", "-2", "0..1"},
              {"prediction", "\"noise\"", "eps, x0, v"},
              {"schedule", "\"square\"", "linear, scaled_linear, cosine"},
              {"size", "\"0\"", "1..65536"},
              {"background", "\"blue\"", "#RRGGBB"}};
  for (const auto& row : rows) {
    Json changed = record;
    for (const char* budget : {"minutes", "steps", "epochs"}) changed["options"][budget] = nullptr;
    changed["options"][row.key] = io::parse_json(row.value, "row");
    put_record(changed);
    SCOPED_TRACE(fmt::format("{} = {}", row.key, row.value));
    refused("train --resume run",
            {"run/sfumato/run.json", fmt::format("\"{}\"", row.key), "expected", row.range, "got"});
  }
  Json changed = record;
  changed["options"]["minutes"] = 5;
  put_record(changed);
  refused("train --resume run", {"at most one of", "minutes"});
  changed = record;
  changed["options"]["nesterov"] = true;
  put_record(changed);
  refused("train --resume run", {"\"nesterov\" is no option of this version"});
  // What an older version did not know has its default.
  changed = record;
  for (const auto& option : record["options"].items())
    if (const std::string& key = option.key();
        key != "data" && key != "model" && key != "batch" && key != "steps")
      changed["options"].erase(key);
  put_record(changed);
  done("train --resume run --stop-after 1");
  Json resumed = record;
  resumed["options"]["optimizer"] = "adamw";  // which was the only one
  EXPECT_EQ(io::read_json(at("run/sfumato/run.json")), resumed);
}

// ---- checkpoints

TEST_F(Resume, AFlippedBitIsSeen) {
  put_digits("data");
  done("train --out whole --steps 6" + kTiny);
  done("train --out run --steps 6 --stop-after 4 --checkpoint-every 0" + kTiny);
  copy("run", "good");
  const std::string good = get(kState);
  EXPECT_EQ(step(), 4);
  EXPECT_EQ(step("run/sfumato/state.previous.safetensors"), 3);
  std::size_t position = good.find('{');
  for (int i = 0; i < 24; ++i) {
    position = (position * 1103515245 + 12345) % (8 * good.size());
    std::string damaged = good;
    damaged[position / 8] = static_cast<char>(damaged[position / 8] ^ (1 << position % 8));
    put(kState, damaged);
    refused("train --resume run",
            {kState, "the checkpoint before it, of step 3", "train --resume run --previous"});
    EXPECT_EQ(get(kState), damaged) << "nothing is changed";
  }
  const Outcome o = done("train --resume run --previous");
  EXPECT_NE(o.out.find("resuming at step 3"), std::string::npos) << o.out;
  EXPECT_EQ(learned(at("run")), learned(at("whole")));
  // Without the newest, and with both damaged.
  copy("good", "run");
  fs::remove(at(kState));
  refused("train --resume run", {kState, "no such file", "--resume run --previous"});
  put("run/sfumato/state.previous.safetensors", good.substr(0, 1000));
  refused("train --resume run", {kState, "train --init run --out"});
  refused("train --resume run --previous", {"state.previous.safetensors", "train --init run"});
}

TEST_F(Resume, AFlippedBitInTheModelIsSeen) {
  put_run();
  const std::string path = "run/unet/diffusion_pytorch_model.safetensors";
  std::string damaged = get(path);
  damaged[damaged.size() - 99] = static_cast<char>(damaged[damaged.size() - 99] ^ 4);
  put(path, damaged);
  for (const char* line : {"sample --model run --out x.png", "info --model run"})
    refused(line, {path, "the file is damaged"});
}

TEST_F(Resume, AStateWithoutAChecksumIsTaken) {
  put_digits("data");
  done("train --out whole --steps 6" + kTiny);
  done("train --out run --steps 6 --stop-after 4" + kTiny);
  std::vector<std::pair<std::string, Tensor>> tensors;
  {
    const io::SafeTensors file(at(kState));
    for (const std::string& name : file.names()) tensors.emplace_back(name, file.tensor(name));
  }
  io::write_safetensors(at(kState), tensors);
  done("train --resume run");
  EXPECT_EQ(learned(at("run")), learned(at("whole")));
}

// Checkpoints while a run explodes: the last good one stays, and a smaller rate goes on from it.
TEST_F(Resume, ExplodingWeightsReplaceNoGoodCheckpoint) {
  put_digits("data");
  done("train --out run --steps 400 --stop-after 5 --checkpoint-every 0" + kTiny);
  const Outcome o = run("train --resume run --lr 1e6 --warmup 0 --clip 1e9");
  EXPECT_EQ(o.code, 1);
  for (const char* fragment :
       {"the loss is", "diverged", "the checkpoint of step 5 in run is intact",
        "train --resume run --lr 1e+05`\n"})
    EXPECT_NE(o.err.find(fragment), std::string::npos) << o.err;
  EXPECT_EQ(step(), 5);
  EXPECT_EQ(options()["lr"], 1e6);
  noted("train --resume run --lr 1e-3 --stop-after 3", {"lr: 1000000.0 -> 0.001"});
  EXPECT_EQ(step(), 8);
}

TEST_F(Resume, AStoppedExplosionKeepsTheCheckpointBefore) {
  put_digits("data");
  done("train --out run --steps 400 --stop-after 5 --checkpoint-every 0" + kTiny);
  const Outcome o =
      run("train --resume run --lr 30 --warmup 0 --clip 1e9 --stop-after 4 --checkpoint-every 0");
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.out.find("until it falls again, the checkpoint of step 5 stays"), std::string::npos)
      << o.out;
  EXPECT_NE(o.out.find("train --resume run --previous --lr 3\n"), std::string::npos) << o.out;
  EXPECT_EQ(step(), 9);
  EXPECT_EQ(step("run/sfumato/state.previous.safetensors"), 5);
  noted("train --resume run --previous --lr 1e-3 --stop-after 2", {"lr: 30.0 -> 0.001"});
  EXPECT_EQ(step(), 7);
  EXPECT_LT(metrics("run").back().get_number("loss"), 3);
}

TEST_F(Resume, WeightsThatWereTooLargeAreNotTheLearningRatesFault) {
  put_run();
  const std::string path = "run/unet/diffusion_pytorch_model.safetensors";
  std::vector<std::pair<std::string, Tensor>> tensors;
  {
    const io::SafeTensors file(at(path));
    for (const std::string& name : file.names()) {
      Tensor t = file.tensor(name);
      if (name == "conv_out.weight") t = Tensor::full(t.shape(), 1e38);
      tensors.emplace_back(name, t);
    }
    io::write_safetensors(at("changed"), tensors, {{"sfumato.null_label", "2"}});
  }
  put(path, get("changed"));
  const Outcome o = refused("train --out x --init run --data data --steps 3",
                            {"step 1: the loss is", "before any update", "--init", "too large"});
  EXPECT_EQ(o.err.find("learning rate"), std::string::npos) << o.err;
}

// ---- the rest

TEST_F(Resume, ANameThatTheRecordCannotHold) {
  put_array("data");
  fs::rename(at("data.npy"), at("caf\xe9.npy"));
  refused("train --out run --data caf\xe9.npy --model tiny --steps 2", {"--data", "UTF-8"});
  EXPECT_FALSE(fs::exists(at("run")));
}

TEST_F(Resume, ClassesAreNamed) {
  for (int i = 0; i < 4; ++i)
    for (const char* name : {"cat", "dog"}) {
      fs::create_directories(at(std::string("pets/") + name));
      Tensor picture = Tensor::full({12, 12, 1}, (60 * i + *name) % 256, DType::u8);
      picture.data<std::uint8_t>()[0] = 7;
      io::write_png(at(fmt::format("pets/{}/{}.png", name, i)), picture);
    }
  const Outcome o = done("train --out run --data pets --model tiny --batch 4 --steps 2");
  EXPECT_NE(o.out.find("classes: 0 \"cat\", 1 \"dog\"\n"), std::string::npos) << o.out;
}

}  // namespace
}  // namespace sfumato::apps

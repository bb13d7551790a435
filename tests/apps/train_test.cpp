// `sfumato train`: the folder that it leaves, that it learns, and that the same seed gives the same
// bits.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "diffusion/pipeline.h"
#include "tensor/io/image.h"
#include "tensor/io/json.h"
#include "tensor/io/safetensors.h"
#include "tests/apps/support.h"
#include "tests/norms.h"

namespace sfumato::apps {
namespace {

using Train = AppTest;

TEST_F(Train, LeavesACompleteFolder) {
  put_digits("data");
  const Outcome o = done(
      "train --out run --data data --steps 30 --model tiny --batch 8 --lr 5e-3 --warmup 5 --seed "
      "3");
  EXPECT_NE(o.out.find("64 pictures 12x12x1 in 2 classes"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("predicting v"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("step 30/30"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("done: 30 steps"), std::string::npos) << o.out;

  const auto index = io::JsonObject::read(at("run/model_index.json"));
  EXPECT_EQ(index.get_string("_class_name"), "DDPMPipeline");
  EXPECT_EQ(index.get_strings("unet"), (std::vector<std::string>{"diffusers", "UNet2DModel"}));
  const auto scheduler = io::JsonObject::read(at("run/scheduler/scheduler_config.json"));
  EXPECT_EQ(scheduler.get_string("prediction_type"), "v_prediction");
  EXPECT_EQ(scheduler.get_string("beta_schedule"), "squaredcos_cap_v2");
  const auto unet = io::JsonObject::read(at("run/unet/config.json"));
  EXPECT_EQ(unet.get_int("sample_size"), 12);
  EXPECT_EQ(unet.get_int("num_class_embeds"), 3);  // two classes, and none
  const diffusion::Pipeline model = diffusion::load_pipeline(at("run"));
  EXPECT_EQ(model.conditioning().classes(), 2);
  EXPECT_EQ(model.conditioning().null_label, 2);

  const auto record = io::JsonObject::read(at("run/sfumato/run.json"));
  EXPECT_EQ(record.get_object("options").get_int("seed"), 3);
  EXPECT_EQ(record.get_object("options").get_string("data"), at("data").string());
  for (const char* key : {"version", "compiler", "isa", "cpu", "os"})
    EXPECT_NE(record.get_object("machine").get_string(key), "") << key;
  EXPECT_TRUE(fs::exists(at("run/sfumato/state.safetensors")));

  const auto entries = metrics("run");
  ASSERT_EQ(entries.size(), 3u);  // one for ten steps
  EXPECT_EQ(entries.back().get_int("step"), 30);
  EXPECT_LT(entries.back().get_number("loss"), 0.8 * entries.front().get_number("loss"));
  for (const char* key : {"smoothed", "lr", "grad_norm", "images_per_second", "seconds"})
    EXPECT_GT(entries.back().get_number(key), 0) << key;

  const Tensor grid = io::read_image(at("run/samples/final.png"));
  // 8 rows of 2 pictures, enlarged by 5, with gaps of 2 and a header of 7 x 6.
  EXPECT_EQ(grid.shape(), (Shape{8 * 62 + 2 + 42, 2 * 62 + 2, 1}));
  EXPECT_TRUE(get("run/loss.svg").starts_with("<svg"));
  EXPECT_TRUE(get("run/loss.svg").ends_with("</svg>\n"));
  EXPECT_EQ(temporaries(), std::vector<std::string>());
  EXPECT_FALSE(fs::exists(at("run/.lock")));
}

TEST_F(Train, WorksOnTheBundledMnist) {
  const Setting there{{{"SFUMATO_MNIST", SFUMATO_SOURCE_DIR "/data/mnist"}}};
  const Outcome o = done("train --out run --steps 4 --model tiny --batch 8", there);
  EXPECT_NE(o.out.find("60000 pictures 28x28x1 in 10 classes"), std::string::npos) << o.out;
  const Tensor grid = io::read_image(at("run/samples/final.png"));
  EXPECT_EQ(grid.shape(), (Shape{8 * 58 + 2 + 21, 10 * 58 + 2, 1}));
  EXPECT_EQ(
      io::JsonObject::read(at("run/sfumato/run.json")).get_object("options").get_string("data"),
      "mnist");
}

// Random timesteps and noise in every step, eight digits that the network has to learn by heart. It
// predicts x_0, whose error at this size falls soonest (after 1000 steps 0.006; v 0.03, eps 0.04).
TEST_F(Train, OverfitsOneBatch) {
  if (kSanitized) GTEST_SKIP() << "a thousand steps take long here";
  put_digits("data", {.count = 8, .classes = 10});
  const Outcome o = run(  // some digits have no picture, which a note says
      "train --out run --data data --steps 1000 --model tiny --batch 8 --lr 0.01 --prediction x0 "
      "--label-dropout 0");
  EXPECT_EQ(o.code, 0) << o.err;
  const auto entries = metrics("run");
  EXPECT_GT(entries.front().get_number("loss"), 0.3);
  EXPECT_LT(entries.back().get_number("loss"), 0.01);
  EXPECT_LT(entries.back().get_number("smoothed"), 0.01);
}

TEST_F(Train, EpochsAndMinutesAreBudgetsToo) {
  put_digits("data", {.count = 20});
  const Outcome epochs = done("train --out e --data data --epochs 2 --model tiny --batch 8");
  EXPECT_NE(epochs.out.find("done: 5 steps"), std::string::npos) << epochs.out;  // 40 / 8
  const Outcome minutes = done("train --out m --data data --minutes 0.005 --model tiny --batch 8");
  EXPECT_NE(minutes.out.find("done: "), std::string::npos) << minutes.out;
  EXPECT_GE(metrics("m").back().get_number("seconds"), 0.3);
}

TEST_F(Train, DrawsSamplesAndSavesAtIntervals) {
  put_digits("data");
  done(
      "train --out run --data data --steps 3 --stop-after 2 --model tiny --batch 8 "
      "--sample-every 1e-9 --checkpoint-every 0");
  EXPECT_EQ(io::read_image(at("run/samples/step_000001.png")).shape(),
            (Shape{4 * 62 + 2 + 42, 2 * 62 + 2, 1}));
  EXPECT_FALSE(fs::exists(at("run/samples/final.png")));
}

// ---- the same seed, the same bits

TEST_F(Train, SameBitsOnAnyNumberOfThreads) {
  put_digits("data");
  for (const char* dropout : {"", " --dropout 0.1"}) {
    auto train = [&](const std::string& out, const std::string& more) {
      done(fmt::format(
          "train --out {} --data data --steps 12 --stop-after 8 --model tiny --batch 8{} {}", out,
          dropout, more));
      Learned l = learned(at(out));
      fs::remove_all(at(out));
      return l;
    };
    const Learned one = train("one", "--threads 1");
    EXPECT_EQ(one, train("again", "--threads 1"));
    EXPECT_EQ(one, train("two", "--threads 2"));
    EXPECT_EQ(one, train("three", "--threads 3"));
    const Learned other = train("other", "--threads 1 --seed 1");
    EXPECT_NE(one.weights, other.weights);
    EXPECT_NE(one.state.at("weights"), other.state.at("weights"));
  }
}

TEST_F(Train, StoppedAndResumedEqualsUninterrupted) {
  put_digits("data", {.count = 20});  // three steps an epoch
  for (const char* dropout : {"", " --dropout 0.1"}) {
    const std::string options =
        fmt::format(" --data data --steps 20 --model tiny --batch 8 --warmup 4{}", dropout);
    done("train --out whole --threads 2" + options);
    const Outcome stopped = done("train --out parts --threads 1 --stop-after 7" + options);
    EXPECT_NE(stopped.out.find("stopped at step 7 with a checkpoint; go on with\n"
                               "  sfumato train --resume parts\n"),
              std::string::npos)
        << stopped.out;
    const Outcome resumed = done("train --resume parts --threads 3 --stop-after 6");
    EXPECT_NE(resumed.out.find("resuming at step 7"), std::string::npos) << resumed.out;
    EXPECT_NE(resumed.out.find("stopped at step 13"), std::string::npos) << resumed.out;
    done("train --resume parts --threads 2");
    EXPECT_EQ(learned(at("whole")), learned(at("parts")));
    EXPECT_EQ(get("whole/samples/final.png"), get("parts/samples/final.png"));
    EXPECT_EQ(metrics("parts").back().get_int("step"), 20);
    // A finished run has nothing left to do.
    const Learned before = learned(at("parts"));
    done("train --resume parts");
    EXPECT_EQ(learned(at("parts")), before);
    fs::remove_all(at("whole"));
    fs::remove_all(at("parts"));
  }
}

// Whatever an option says, the record holds it and --resume goes by it.
TEST_F(Train, TheRecordHoldsEveryOption) {
  put_digits("data", {.count = 20});
  put("net.json",
      R"({"block_out_channels": [4, 8], "down_block_types": ["DownBlock2D", "DownBlock2D"],
                      "up_block_types": ["UpBlock2D", "AttnUpBlock2D"], "norm_num_groups": 2,
                      "attention_head_dim": 4, "layers_per_block": 1, "in_channels": 1,
                      "out_channels": 1, "num_class_embeds": 3})");
  const std::string options =
      " --data data --steps 6 --model net.json --batch 3 --lr 1e-3 --lr-floor 0.5 --warmup 2 "
      "--beta1 "
      "0.8 --beta2 0.95 --weight-decay 0.1 --clip 0.5 --ema 0.9 --label-dropout 0.5 --dropout 0.2 "
      "--prediction eps --schedule scaled_linear --timesteps 50 --seed 9 --null-label 2 "
      "--pad";
  done("train --out whole" + options);
  done("train --out parts --stop-after 2" + options);
  done("train --resume parts");
  EXPECT_EQ(learned(at("whole")), learned(at("parts")));
  const auto scheduler = io::JsonObject::read(at("parts/scheduler/scheduler_config.json"));
  EXPECT_EQ(scheduler.get_int("num_train_timesteps"), 50);
  EXPECT_EQ(scheduler.get_string("beta_schedule"), "scaled_linear");
  EXPECT_EQ(scheduler.get_string("prediction_type"), "epsilon");
}

// The network then gives its answer and where between β̃ and β the variance lies.
TEST_F(Train, ALearnedVarianceIsPartOfTheModel) {
  put_digits("data", {.count = 20});
  const std::string options = " --model tiny --batch 4 --data data --steps 4 --seed 3";
  done("train --out whole --variance hybrid" + options);
  done("train --out parts --variance hybrid --stop-after 2" + options);
  done("train --resume parts");
  EXPECT_EQ(learned(at("whole")), learned(at("parts")));
  EXPECT_EQ(io::JsonObject::read(at("whole/unet/config.json")).get_int("out_channels"), 2);
  EXPECT_EQ(
      io::JsonObject::read(at("whole/scheduler/scheduler_config.json")).get_string("variance_type"),
      "learned_range");
  for (const char* sampler : {"ddpm", "ddim", "dpmpp_2m"})
    done(std::string("sample --model whole --steps 3 --count 2 --out x.png --sampler ") + sampler);
  done("train --out on --init whole --variance variational --doctor" +
       std::string(" --data data "
                   "--batch 4 --steps 2"));
  refused("train --out no --init whole --data data --steps 2",
          {"--variance fixed", "/whole says a variance"});
  refused("sample --model whole --sampler ddpm --variance fixed_small --out x.npy",
          {"variance fixed_small: the network says the variance itself"});
  refused("train --out no --variance hybrid --model missing.json --data data --steps 2",
          {"missing.json"});
  done("train --out plain" + options);
  refused("train --out no --init plain --variance hybrid --data data --steps 2",
          {"--variance hybrid", "/plain says none"});
}

TEST_F(Train, SelfConditioningIsPartOfTheModel) {
  put_digits("data", {.count = 24});
  const std::string options = " --batch 4 --data data --steps 4 --seed 3";
  for (const std::string model : {"tiny", "dit-tiny"}) {
    const std::string to = " --self-condition --model " + model + options;
    done("train --out whole" + to);
    done("train --out parts --stop-after 2" + to);
    done("train --resume parts");
    EXPECT_EQ(learned(at("whole")), learned(at("parts")));
    const fs::path part = model == "tiny" ? "unet" : "transformer";
    const auto config = io::JsonObject::read(at("whole") / part / "config.json");
    EXPECT_EQ(config.get_int("in_channels"), 2);
    EXPECT_TRUE(config.get_bool("self_condition"));
    done("sample --model whole --steps 3 --count 2 --out x.png --guidance 2");
    fs::remove_all(at("whole"));
    fs::rename(at("parts"), at(model + "_run"));
  }
  io::write_png(at("in.png"), Tensor::zeros({12, 12, 1}, DType::u8));
  done(
      "edit variations --model tiny_run --in in.png --from-label 0 --steps 3 --count 2 --out "
      "y.png");
  done("info --model tiny_run");
  done("train --out on --init tiny_run --self-condition --doctor --accumulate 2" + options);
  const Outcome wide =
      run("train --out wide --self-condition --model tiny_run/unet/config.json" + options);
  EXPECT_EQ(wide.code, 0) << wide.err;
  EXPECT_EQ(get("wide/unet/config.json"), get("tiny_run/unet/config.json"));
  // What does not fit together.
  refused("train --out no --init tiny_run" + options,
          {"--self-condition is not given", "tiny_run takes an estimate"});
  refused("train --out no --model tiny_run/unet/config.json" + options,
          {"--self-condition is not given", "config.json takes an estimate"});
  done("train --out plain --model tiny" + options);
  refused("train --out no --init plain --self-condition" + options,
          {"--self-condition is given", "plain does not take an estimate"});
  refused("train --out no --model plain/unet/config.json --self-condition" + options,
          {"[self_condition] expected a network of pictures and an estimate", "maps 1 to 1"});
  refused("train --out no --self-condition --data data --steps 2 --batch 1",
          {"--self-condition --batch 1: expected 2 or more"});
  refused("train --resume plain --self-condition", {"--self-condition true", "cannot change it"});
  refused("sample --model tiny_run --guide plain --out z.png",
          {"the guide is of another kind", "self-conditioned false, expected true"});
  put("page.html", "a page");
  refused("lesson --model tiny_run --page page.html --out mine.html", {"self-conditioned"});
  EXPECT_FALSE(fs::exists(at("no")));
}

TEST_F(Train, TheScheduleCanBeShapedAndNothingIsIgnored) {
  put_digits("data", {.count = 20});
  const std::string options = " --model tiny --batch 4 --data data --steps 2";
  const auto scheduler = [&](const char* run) {
    return io::JsonObject::read(at(run) / "scheduler/scheduler_config.json");
  };
  done("train --out zero --zero-snr" + options);
  EXPECT_TRUE(scheduler("zero").get_bool("rescale_betas_zero_snr"));
  done("train --out shifted --schedule flow --prediction flow --shift 3" + options);
  EXPECT_NE(get("shifted/scheduler/scheduler_config.json").find("\"shift\": 3"), std::string::npos);
  done("sample --model shifted --steps 3 --count 2 --out x.png --restart --sampler dpmpp_2m");
  const std::pair<const char*, const char*> rows[] = {
      {"--shift 3", "--shift 3: expected --schedule flow, got cosine"},
      {"--zero-snr --schedule flow --prediction flow",
       "--zero-snr: expected a schedule of DDPM's process, got flow"},
      {"--zero-snr --prediction eps", "zero terminal SNR"},
      {"--variance variational --prediction eps --loss huber", "--loss does nothing"},
      {"--variance variational --prediction eps --loss-weight p2", "--loss-weight does nothing"},
      {"--optimizer adamw --momentum 0.5", "--momentum does nothing"},
  };
  for (const auto& [asked, text] : rows)
    refused("train --out no " + std::string(asked) + options, {text});
  refused("train --out no --shift 2 --init zero --data data --steps 2",
          {"--shift: with --init the schedule is the folder's"});
  refused("train --resume zero --shift 2", {"--shift 2", "cannot change it"});
  EXPECT_FALSE(fs::exists(at("no")));
}

// ---- where a run begins

TEST_F(Train, InitTakesTheWeights) {
  put_run();
  // Learning rate 0: what goes in comes out.
  done("train --out same --init run --data data --steps 2 --batch 8 --lr 0");
  EXPECT_EQ(get("same/unet/config.json"), get("run/unet/config.json"));
  EXPECT_EQ(get("same/unet/diffusion_pytorch_model.safetensors"),
            get("run/unet/diffusion_pytorch_model.safetensors"));
  const Outcome o = done("train --out on --init run --data data --steps 2 --batch 8");
  EXPECT_NE(learned(at("on")).weights, learned(at("run")).weights);
}

TEST_F(Train, InitTakesAFolderFromDiffusers) {
  fs::copy(fs::path(SFUMATO_SOURCE_DIR) / "tests/golden/grey28", at("golden"),
           fs::copy_options::recursive);
  put_digits("data", {.size = 28});
  // It has no scheduler: DDPM's defaults, as `sample` assumes them, unless options say otherwise.
  const Outcome o =
      done("train --out run --init golden --data data --steps 2 --stop-after 1 --batch 4");
  EXPECT_NE(o.out.find("linear schedule, predicting eps"), std::string::npos) << o.out;
  done(
      "train --out v --init golden --data data --steps 2 --stop-after 1 --batch 4 --prediction v "
      "--schedule cosine --timesteps 100");
  const auto scheduler = io::JsonObject::read(at("v/scheduler/scheduler_config.json"));
  EXPECT_EQ(scheduler.get_string("prediction_type"), "v_prediction");
  EXPECT_EQ(scheduler.get_string("beta_schedule"), "squaredcos_cap_v2");
  EXPECT_EQ(scheduler.get_int("num_train_timesteps"), 100);
  // Where the folder says, options may not contradict it.
  const std::string from_v = "train --out x --init v --data data --steps 2 ";
  refused(from_v + "--prediction eps", {"--prediction eps", "/v says v"});
  refused(from_v + "--schedule linear", {"--schedule linear", "/v says squaredcos_cap_v2"});
  refused(from_v + "--timesteps 9", {"--timesteps 9", "/v says 100"});
  done("train --out x --init v --data data --steps 2 --stop-after 1 --batch 4 --prediction v");
}

TEST_F(Train, PadMakesAnySizeFit) {
  put_run();
  put_digits("odd", {.count = 8});
  // 12 x 12 passes as 9 x 16: only the header tells.
  std::string bytes = get("odd/train-images-idx3-ubyte");
  bytes[11] = 9;
  bytes[15] = 16;
  put("odd/train-images-idx3-ubyte", bytes);
  refused("train --out x --data odd --model tiny --steps 2", {"9x16", "multiples of 4", "--pad"});
  EXPECT_FALSE(fs::exists(at("x")));
  const Outcome o =
      done("train --out x --data odd --model tiny --steps 2 --batch 4 --stop-after 1 --pad");
  EXPECT_NE(o.out.find("12x16x1"), std::string::npos) << o.out;
  done("train --resume x");
  EXPECT_EQ(diffusion::load_pipeline(at("x")).network->sample_size, (io::Extent{12, 16}));
}

// --accumulate 3 with batches of 4 is a batch of 12, up to the order of sums.
TEST_F(Train, AccumulatedBatchesAreALargerBatch) {
  put_digits("data");
  const std::string options =
      " --data data --model tiny --optimizer adamw --lr 1e-3 --warmup 0 --seed 5 --steps ";
  const auto state = [&](const std::string& run, const char* name) {
    return io::SafeTensors(at(run + "/sfumato/state.safetensors")).tensor(name);
  };
  // The first moment after a step is a tenth of its gradient.
  done("train --out large1 --batch 12" + options + "1");
  done("train --out parts1 --batch 4 --accumulate 3" + options + "1");
  const Tensor gradient = state("large1", "adam_m");
  EXPECT_LT(distance(state("parts1", "adam_m"), gradient), 1e-5 * norm(gradient));
  // Either optimiser moves a weight whose gradient is nothing but rounding (a bias before a norm) as far as any other.
  done("train --out large --batch 12" + options + "4");
  done("train --out parts --batch 4 --accumulate 3" + options + "4");
  done("train --out small --batch 4" + options + "4");
  const Tensor large = state("large", "weights");
  EXPECT_LT(distance(state("parts", "weights"), large),
            2e-2 * distance(state("small", "weights"), large));
  EXPECT_EQ(io::read_json(at("parts/sfumato/run.json"))["options"]["accumulate"], 3);
  EXPECT_EQ(metrics("parts").back().get_int("step"), 4);
  refused("train --resume parts --steps 6 --accumulate 2", {"accumulate", "order of the pictures"});
}

TEST_F(Train, AccumulatedStepsCountInEpochs) {
  put_digits("data");
  const Outcome o =
      done("train --out run --epochs 1 --batch 8 --accumulate 4 --data data --model tiny");
  EXPECT_NE(o.out.find("done: 2 steps"), std::string::npos) << o.out;
}

TEST_F(Train, FlippedPicturesResumeExactly) {
  put_digits("data");
  const std::string options = kTiny + " --flip --lr-floor 1 --accumulate 2";
  done("train --out whole --steps 9" + options);
  done("train --out run --steps 5" + options);
  EXPECT_EQ(run("train --resume run --steps 9").code, 0);
  EXPECT_EQ(learned(at("run")), learned(at("whole")));
  EXPECT_EQ(io::read_json(at("run/sfumato/run.json"))["options"]["flip"], true);
  done("train --out plain --steps 9 --lr-floor 1 --accumulate 2" + kTiny);
  EXPECT_NE(learned(at("plain")).weights, learned(at("whole")).weights);
}

}  // namespace
}  // namespace sfumato::apps

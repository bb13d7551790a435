// Command lines, data, models and runs that are wrong in every way we could think of: the exit code
// and what the message says.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tensor/io/file.h"
#include "tensor/io/image.h"
#include "tensor/io/json.h"
#include "tensor/io/npy.h"
#include "tensor/io/safetensors.h"
#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

using io::Json;
using Tensors = std::vector<std::pair<std::string, Tensor>>;

class BadInput : public AppTest {
 protected:
  struct Row {
    std::string line;
    std::initializer_list<std::string_view> fragments;
    int code = 1;
  };
  void expect_refused(std::initializer_list<Row> rows) const {
    for (const Row& row : rows) refused(row.line, row.fragments, row.code);
  }
};

TEST_F(BadInput, CommandLine) {
  const std::string train = "train --out x --model tiny ";
  const std::string sample = "sample --model m --out x.png ";
  expect_refused({
      {"", {"train, sample, ", " or lesson is required"}, 2},
      {"trian", {"not expected: trian"}, 2},
      {"--nonsense", {"--nonsense"}, 2},
      {"info --nonsense", {"not expected: --nonsense"}, 2},
      {"info sample", {"not expected: sample"}, 2},
      {"train", {"--out DIR or --resume DIR is required"}, 2},
      {"train --steps 3", {"--out DIR or --resume DIR is required"}, 2},
      {"train --out", {"--out"}, 2},
      {"train --out ''", {"--out: expected a value"}, 2},
      {"train --resume ''", {"--resume: expected a value"}, 2},
      {"train --out x --resume x", {"--out excludes --resume"}, 2},
      {"train --resume x --steps 9 --epochs 2", {"excludes", "--steps"}, 2},
      {train + "--accept-data", {"--accept-data requires --resume"}, 2},
      {train + "--previous", {"--previous requires --resume"}, 2},
      {train + "--size 0", {"--size", "1..65536"}, 2},
      {train + "--background blue", {"--background", "blue"}, 2},
      {train + "--null-label -1", {"--null-label"}, 2},
      {train + "--init y", {"excludes", "--init"}, 2},
      {train + "--steps 3 --minutes 1", {"excludes", "--steps"}, 2},
      {train + "--steps 3 --epochs 1", {"excludes", "--steps"}, 2},
      {train + "--minutes 3 --epochs 1", {"excludes", "--epochs"}, 2},
      {train + "--steps 3 --steps 4", {"--steps"}, 2},
      {train + "--steps many", {"--steps", "many"}, 2},
      {train + "--steps 0", {"--steps", "not in range"}, 2},
      {train + "--steps -3", {"--steps"}, 2},
      {train + "--steps 1.5", {"--steps", "1.5"}, 2},
      {train + "--steps 99999999999999999999", {"--steps"}, 2},
      {train + "--minutes 0", {"--minutes"}, 2},
      {train + "--minutes nan", {"--minutes", "nan"}, 2},
      {train + "--epochs 0", {"--epochs"}, 2},
      {train + "--stop-after 0", {"--stop-after"}, 2},
      {train + "--batch 0", {"--batch"}, 2},
      {train + "--batch 1e3", {"--batch"}, 2},
      {train + "--lr -1", {"--lr"}, 2},
      {train + "--lr nan", {"--lr", "nan"}, 2},
      {train + "--lr inf", {"--lr", "inf"}, 2},
      {train + "--lr 1e-3x", {"--lr", "1e-3x"}, 2},
      {train + "--ema 1", {"--ema"}, 2},
      {train + "--beta1 1", {"--beta1"}, 2},
      {train + "--clip 0", {"--clip"}, 2},
      {train + "--label-dropout 1.1", {"--label-dropout"}, 2},
      {train + "--dropout 1", {"--dropout"}, 2},
      {train + "--timesteps 1", {"--timesteps"}, 2},
      {train + "--prediction noise", {"--prediction", "noise", "eps"}, 2},
      {train + "--schedule square", {"--schedule", "square", "cosine"}, 2},
      {train + "--seed -1", {"--seed"}, 2},
      {train + "--threads 0", {"--threads"}, 2},
      {train + "--threads 9999", {"--threads"}, 2},
      {"sample --out x.png", {"--model is required"}, 2},
      {"sample --model m", {"--out is required"}, 2},
      {"sample --model '' --out x.png", {"--model: expected a value"}, 2},
      {sample + "--count 0", {"--count"}, 2},
      {sample + "--steps 0", {"--steps"}, 2},
      {sample + "--sampler oiler", {"--sampler", "oiler", "ddim"}, 2},
      {sample + "--eta 2", {"--eta"}, 2},
      {sample + "--eta nan", {"--eta", "nan"}, 2},
      {sample + "--guidance nan", {"--guidance", "nan"}, 2},
      {sample + "--guidance strong", {"--guidance", "strong"}, 2},
      {sample + "--null-label -1", {"--null-label"}, 2},
      {sample + "--batch 0", {"--batch"}, 2},
      {"predict --model m --in x", {"--out is required"}, 2},
      {"predict --model m --out x", {"--in is required"}, 2},
      {"predict --in x --out y", {"--model is required"}, 2},
      {"info --model ''", {"--model: expected a value"}, 2},
  });
  EXPECT_TRUE(fs::is_empty(directory_));
}

TEST_F(BadInput, Folders) {
  put_run();
  put("file", "a file");
  put("holder/model_index.json", "{}");
  fs::create_directories(at("unet_holder/unet"));
  const std::string train = " --data data --model tiny --steps 2";
  expect_refused({
      {"train --out file" + train, {"[file]", "cannot create the directory"}},
      {"train --out file/run" + train, {"[file/run]", "cannot create the directory"}},
      {"train --out run" + train, {"[run]", "holds a training run already", "train --resume run"}},
      {"train --out holder" + train, {"[holder]", "holds a model already"}},
      {"train --out unet_holder" + train, {"[unet_holder]", "holds a model already"}},
      {"train --resume nowhere", {"[nowhere]", "holds no training run"}},
      {"train --resume file", {"[file]", "holds no training run"}},
      {"train --resume holder", {"[holder]", "holds no training run"}},
      {"train --out x --init nowhere --data data --steps 2", {"/nowhere]", "no such folder"}},
      {"train --out x --init data --data data --steps 2", {"/data]", "not a diffusers model"}},
      {"train --out x --model nowhere.json --data data --steps 2", {"nowhere.json", "tiny, small"}},
      {"train --out x --model file --data data --steps 2", {"/file]"}},
      {"sample --out x.png --model nowhere", {"[nowhere]", "no such folder"}},
      {"sample --out x.png --model file", {"[file]", "no such folder"}},
      {"sample --out x.png --model data", {"[data]", "unet/config.json"}},
      {"predict --in a --out b --model nowhere", {"[nowhere]", "no such folder"}},
      {"predict --in nowhere --out b --model run", {"[nowhere]", "no such file"}},
      {"predict --in data --out b --model run", {"[data]", "this is a directory"}},
      {"info --model nowhere", {"[nowhere]", "no such folder"}},
  });
  EXPECT_FALSE(fs::exists(at("x")));
  EXPECT_EQ(get("file"), "a file");
  if (fs::exists("/proc/version"))
    refused("train --out /proc/run" + train, {"[/proc/run]", "cannot create the directory"});
}

TEST_F(BadInput, SampleOptions) {
  fs::create_directories(at("dir.png"));
  put_run();
  put("file", "a file");
  fs::create_directories(at("folder.png"));
  const std::string sample = "sample --model run --count 2 --steps 1 ";
  const std::string grey = "sample --model " + kGolden + "/grey28 --count 2 --steps 1 --out x.png ";
  const std::string classes =
      "sample --model " + kGolden + "/class_labels --count 2 --steps 1 --out x.png ";
  expect_refused({
      {sample + "--out x.jpg", {"x.jpg", ".png, .gif or .npy"}},
      {sample + "--out x.PNG", {"x.PNG", ".png, .gif or .npy"}},
      {sample + "--out nowhere/x.png", {"nowhere/x.png", "there is no directory nowhere"}},
      {sample + "--out file/x.png", {"file/x.png", "cannot write"}},
      {sample + "--out file", {"[file]", "cannot create the directory"}},
      {sample + "--out folder.png", {"[folder.png]", "this is a directory"}},
      {sample + "--out %s.png", {"%s.png", "%03d"}},
      {sample + "--out %d_%d.png", {"%d_%d.png", "%03d"}},
      {sample + "--out %99d.png", {"%99d.png", "%03d"}},
      {sample + "--out %-3d.png", {"%-3d.png", "%03d"}},
      {sample + "--out %.png", {"%.png", "%03d"}},
      {sample + "--out x.png --labels abc", {"--labels", "\"abc\""}},
      {sample + "--out x.png --labels 1,,0", {"--labels", "got \"\""}},
      {sample + "--out x.png --labels 1,", {"--labels", "got \"\""}},
      {sample + "--out x.png --labels 0.5", {"--labels", "\"0.5\""}},
      {sample + "--out x.png --labels 7", {"--labels", R"("0", "1")"}},
      {sample + "--out x.png --labels -1", {"--labels", R"("0", "1")"}},
      {sample + "--out x.png --labels 2", {"--labels: 2 stands for 'no class'"}},
      {sample + "--out x.png --labels 99999999999999999999", {"--labels"}},
      {sample + "--out x.png --null-label 3", {"--null-label 3", "3 rows"}},
      {sample + "--out x.png --size 13", {"multiples of 4", "13x13"}},
      {sample + "--out x.png --size 12,14", {"multiples of 4", "12x14"}},
      {sample + "--out x.png --size 12,", {"--size: expected H or H,W", "\"12,\""}},
      {sample + "--out x.png --size 0", {"--size: expected H or H,W", "\"0\""}},
      {sample + "--out x.png --size 4,4,4", {"--size: expected H or H,W"}},
      {sample + "--out x.png --size 4096", {"at most 4194304 pixels", "4096x4096"}},
      // Before the work, not after it.
      {sample + "--out dir.png", {"dir.png", "this is a directory"}},
      {"sample --model run --steps 1 --count 100000 --out x.png", {"x.png", "100000", "67108864"}},
      {"sample --model run --steps 1 --count 4000 --out x.gif", {"x.gif", "65535"}},
      {"sample --model run --out x.png --steps 1001", {"1 to 1000 steps, got 1001"}},
      {grey + "--labels 1", {"--labels", "unconditional"}},
      {grey + "--guidance 2", {"guidance", "class-conditional"}},
      {grey + "--null-label 0", {"--null-label 0", "0 rows"}},
      {classes + "--guidance 2", {"guidance", "--null-label"}},
      {classes + "--null-label 0 --labels 0", {"0 stands for 'no class'"}},
      {"sample --model " + kGolden + "/class_identity --out x.png", {"2 channels to 3"}},
  });
  EXPECT_FALSE(fs::exists(at("x.png")));
}

TEST_F(BadInput, Data) {
  put_digits("good", {.count = 20});
  const std::string images = get("good/train-images-idx3-ubyte");
  const std::string labels = get("good/train-labels-idx1-ubyte");
  auto pair = [&](const std::string& name, const std::string& i, const std::string& l) {
    put(name + "/train-images-idx3-ubyte", i);
    put(name + "/train-labels-idx1-ubyte", l);
  };
  pair("cut", images.substr(0, 1000), labels);
  pair("header", images.substr(0, 9), labels);
  pair("long", images + "x", labels);
  pair("empty", "", labels);
  pair("swapped", labels, images);
  pair("fewer", images, labels.substr(0, 7) + '\x02' + labels.substr(8, 2));
  std::string lying = images;
  lying[4] = 0x7f;  // two thousand million pictures
  pair("lying", lying, labels);
  std::string gz = read_bytes(SFUMATO_SOURCE_DIR "/data/mnist/t10k-labels-idx1-ubyte.gz");
  put("cut_gz/train-images-idx3-ubyte", images);
  put("cut_gz/train-labels-idx1-ubyte.gz", gz.substr(0, 2000));
  gz[2500] ^= 0x55;
  put("corrupt_gz/train-images-idx3-ubyte", images);
  put("corrupt_gz/train-labels-idx1-ubyte.gz", gz);
  put("alone/train-images-idx3-ubyte", images);
  put("text/readme.txt", "no pictures");
  fs::create_directories(at("nothing"));
  const Tensor picture = Tensor::full({12, 12, 1}, 128, DType::u8);
  for (const char* file : {"sizes/a.png", "broken/a.png", "mixed/a.png", "mixed/b/c.png"}) {
    fs::create_directories(at(file).parent_path());
    io::write_png(at(file), picture);
  }
  io::write_png(at("sizes/b.png"), Tensor::full({12, 16, 1}, 128, DType::u8));
  put("broken/b.png", get("broken/a.png").substr(0, 60));
  put("garbage.npy", "not an array");
  io::write_npy(at("float.npy"), Tensor::full({4, 12, 12}, 1.5));
  io::write_npy(at("four.npy"), Tensor::zeros({4, 12, 12, 4}, DType::u8));
  io::write_npy(at("odd.npy"), Tensor::zeros({4, 10, 12}, DType::u8));
  io::write_npy(at("labelled.npy"), Tensor::zeros({4, 12, 12}, DType::u8));
  io::write_npy(at("labelled_labels.npy"), Tensor::full({4}, -1, DType::i64));

  const std::string train = "train --out x --steps 2 --stop-after 1 --batch 4 --model tiny --data ";
  expect_refused({
      {train + "nowhere", {"/nowhere]", "no such file"}},
      {train + "nothing", {"/nothing]", "no PNG or JPEG pictures", "it is empty"}},
      {train + "text", {"/text]", "no PNG or JPEG pictures", "\".txt\" files: 1"}},
      {train + "cut", {"cut/train-images-idx3-ubyte]"}},
      {train + "header", {"header/train-images-idx3-ubyte]"}},
      {train + "long", {"long/train-images-idx3-ubyte]"}},
      {train + "empty", {"empty/train-images-idx3-ubyte]"}},
      {train + "lying", {"lying/train-images-idx3-ubyte]"}},
      {train + "swapped", {"swapped/train-images-idx3-ubyte]"}},
      {train + "fewer", {"fewer/train-labels-idx1-ubyte]", "2 labels for 20 images"}},
      {train + "cut_gz", {"cut_gz/train-labels-idx1-ubyte.gz]"}},
      {train + "corrupt_gz", {"corrupt_gz/train-labels-idx1-ubyte.gz]"}},
      {train + "alone", {"alone/train-images-idx3-ubyte]", "labels file", "missing"}},
      {train + "sizes", {"/sizes]", "12 x 16", "b.png", "--size"}},
      {train + "broken", {"broken/b.png]"}},
      {train + "mixed", {"/mixed]", "both pictures", "and folders"}},
      {train + "garbage.npy", {"/garbage.npy]", "NUMPY"}},
      {train + "float.npy", {"/float.npy]", "float32", "astype(\"uint8\")"}},
      {train + "four.npy", {"/four.npy]", "[4, 12, 12, 4]"}},
      {train + "odd.npy", {"10x12", "multiples of 4", "--pad"}},
      {train + "labelled.npy", {"labelled_labels.npy]", "-1"}},
  });
  EXPECT_FALSE(fs::exists(at("x"))) << "data are read before the folder is made";
}

TEST_F(BadInput, DataThatDoNotFitTheModel) {
  put_run();
  put_digits("more", {.classes = 5});
  io::write_npy(at("unlabelled.npy"), Tensor::zeros({4, 12, 12}, DType::u8));
  io::write_npy(at("colour.npy"), Tensor::zeros({4, 12, 12, 3}, DType::u8));
  const std::string init = "train --out x --init run --steps 2 --data ";
  expect_refused({
      {init + "more", {"5 classes", "room for 2"}},
      {init + "unlabelled.npy", {"no labels", "class-conditional"}},
      {init + "colour.npy", {"3 channel(s)", "expects 1"}},
      {init + "data --dropout 0.5", {"--dropout", "--init"}},
      {"train --out x --steps 2 --data data --init " + kGolden + "/class_identity", {"channel"}},
      {"train --out x --steps 2 --data data --init " + kGolden + "/class_timestep", {"channel"}},
  });
  EXPECT_FALSE(fs::exists(at("x")));
}

// ---- models: a folder of diffusers, damaged

TEST_F(BadInput, ModelConfig) {
  fs::copy(fs::path(kGolden) / "grey28", at("m"), fs::copy_options::recursive);
  const Json good = io::read_json(at("m/unet/config.json"));
  const struct {
    const char *key, *value;
    std::initializer_list<std::string_view> fragments;
  } rows[] = {
      {"time_embedding_type", "\"fourier\"", {"time_embedding_type", "fourier", "positional"}},
      {"act_fn", "\"gelu\"", {"act_fn", "gelu", "silu"}},
      {"downsample_type", "\"resnet\"", {"downsample_type", "resnet", "conv"}},
      {"upsample_type", "\"resnet\"", {"upsample_type", "resnet", "conv"}},
      {"class_embed_type", "\"projection\"", {"class_embed_type", "projection"}},
      {"resnet_time_scale_shift", "\"ada_group\"", {"resnet_time_scale_shift", "ada_group"}},
      {"_class_name", "\"UNet2DConditionModel\"", {"UNet2DConditionModel", "reads UNet2DModel"}},
      {"down_block_types", R"(["DownBlock2D", "CrossAttnDownBlock2D"])", {"CrossAttnDownBlock2D"}},
      {"mid_block_type", "\"UNetMidBlock2DCrossAttn\"", {"UNetMidBlock2DCrossAttn"}},
      {"down_block_types", R"(["DownBlock2D"])", {"block"}},
      {"block_out_channels", "[1000000000, 1000000000]", {"m/unet/"}},
      {"block_out_channels", "[9223372036854775807, 8]", {"block_out_channels"}},
      {"block_out_channels", "[0, 8]", {"block_out_channels"}},
      {"block_out_channels", "[-8, 8]", {"block_out_channels"}},
      {"block_out_channels", "[]", {"block"}},
      {"block_out_channels", "8", {"block_out_channels", "array"}},
      {"block_out_channels", "[8.5, 8]", {"block_out_channels"}},
      {"layers_per_block", "1000000000", {"m/unet/"}},
      {"layers_per_block", "-1", {"layers_per_block"}},
      {"norm_num_groups", "3", {"3"}},
      {"norm_num_groups", "0", {"norm_num_groups"}},
      {"norm_eps", "\"small\"", {"norm_eps"}},
      {"attention_head_dim", "5", {"5"}},
      {"sample_size", "0", {"sample_size"}},
      {"sample_size", "1000000000", {"sample_size"}},
      {"sample_size", "\"big\"", {"sample_size", "big"}},
      {"in_channels", "null", {"m/unet/"}},
      {"in_channels", "1000000000000", {"m/unet/"}},
      {"num_class_embeds", "-5", {"num_class_embeds"}},
      {"dropout", "2", {"dropout"}},
      {"out_channels", "3", {"conv_out", "shape"}},
  };
  for (const auto& row : rows) {
    Json changed = good;
    changed[row.key] = io::parse_json(row.value, "row");
    put("m/unet/config.json", changed.dump());
    SCOPED_TRACE(fmt::format("{} = {}", row.key, row.value));
    refused("info --model m", row.fragments);
    refused("sample --model m --out x.png", {"m/unet/"});
  }
  const std::string text = good.dump(2);
  for (const std::string& damaged :
       {std::string(), std::string("garbage"), std::string("[]"), std::string("null"),
        text.substr(0, text.size() / 2), text + "x", "{\"a\":1,\"a\":2}" + text,
        std::string(100'000, '['), std::string("\x00\xff\xfe", 3)}) {
    put("m/unet/config.json", damaged);
    refused("info --model m", {"m/unet/config.json"});
  }
}

TEST_F(BadInput, ModelScheduler) {
  put_run();
  const Json good = io::read_json(at("run/scheduler/scheduler_config.json"));
  const struct {
    const char *key, *value;
    std::initializer_list<std::string_view> fragments;
  } rows[] = {
      {"beta_schedule", "\"quadratic\"", {"quadratic"}},
      {"prediction_type", "\"noise\"", {"noise"}},
      {"num_train_timesteps", "0", {"0"}},
      {"num_train_timesteps", "-1", {"-1"}},
      {"num_train_timesteps", "1000000000000", {"num_train_timesteps", "1000000000000"}},
      {"steps_offset", "9223372036854775807", {"steps_offset"}},
      {"num_train_timesteps", "\"x\"", {"num_train_timesteps"}},
      {"sample_max_value", "0.5", {"sample_max_value"}},
      {"shift", "0", {"shift"}},
      {"trained_betas", "[0.1, 2]", {"beta"}},
      {"clip_sample_range", "-1", {"clip_sample_range"}},
      {"timestep_spacing", "\"even\"", {"even"}},
      {"variance_type", "\"learned\"", {"learned"}},
  };
  for (const auto& row : rows) {
    Json changed = good;
    changed[row.key] = io::parse_json(row.value, "row");
    put("run/scheduler/scheduler_config.json", changed.dump());
    SCOPED_TRACE(fmt::format("{} = {}", row.key, row.value));
    refused("sample --model run --out x.png", row.fragments);
    refused("sample --model run --out x.png", {"run/scheduler/scheduler_config.json"});
  }
}

TEST_F(BadInput, ModelWeights) {
  fs::copy(fs::path(kGolden) / "grey28", at("m"), fs::copy_options::recursive);
  const std::string path = "m/unet/diffusion_pytorch_model.safetensors", good = get(path);
  Tensors tensors;
  {
    const io::SafeTensors file(at(path));
    for (const std::string& name : file.names()) tensors.emplace_back(name, file.tensor(name));
  }
  auto with = [&](const std::function<void(Tensors&)>& change) {
    Tensors changed = tensors;
    change(changed);
    io::write_safetensors(at("changed"), changed);
    return get("changed");
  };
  auto header = [&](std::uint64_t length, const std::string& json) {
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &length, 8);
    return bytes + json;
  };
  const struct {
    std::string bytes;
    std::initializer_list<std::string_view> fragments;
  } rows[] = {
      {"", {"0 bytes"}},
      {"garbage", {"7 bytes"}},
      {good.substr(0, 100), {}},
      {good.substr(0, good.size() - 1), {"bytes"}},
      {good + "x", {"bytes"}},
      {header(~std::uint64_t{0}, "{}"), {"header"}},
      {header(2, "[]"), {"header"}},
      {header(2, "{}"), {}},
      {header(64, R"({"a":{"dtype":"F32","shape":[9999999999999],"data_offsets":[0,4]}})"), {}},
      {with([](Tensors& t) { t.pop_back(); }), {"is missing", "up_blocks"}},
      {with([](Tensors& t) { t.emplace_back("extra", Tensor::zeros({1})); }),
       {"extra", "not a param"}},
      {with([](Tensors& t) {
         t[0].second = Tensor::zeros({3, 2});
       }),
       {"shape [3, 2], expected"}},
      {with([](Tensors& t) { t[0].second = t[0].second.to(DType::i64); }),
       {"I64", "floating point"}},
      {with([](Tensors& t) {
         for (auto& [name, tensor] : t) name = "unet." + name;
       }),
       {"unet.", "not a param"}},
  };
  for (const auto& row : rows) {
    put(path, row.bytes);
    refused("info --model m", row.fragments);
    refused("info --model m", {path});
  }
  fs::remove(at(path));
  refused("info --model m", {"[m/unet]", "diffusion_pytorch_model.safetensors is missing"});
  put("m/unet/diffusion_pytorch_model.bin", "PK");
  refused("info --model m", {"[m/unet]", "diffusion_pytorch_model.bin", "pickle"});
  fs::remove(at("m/unet/diffusion_pytorch_model.bin"));
  put(path + ".index.json", "{}");
  refused("info --model m", {path + ".index.json]", "weight_map"});
}

TEST_F(BadInput, Predict) {
  const Tensor x = Tensor::zeros({2, 3, 32, 32}), t = Tensor::full({2}, 5, DType::i64),
               labels = Tensor::full({2}, 1, DType::i64);
  const Tensor grey = Tensor::zeros({2, 1, 28, 28});
  const struct {
    Tensors in;
    std::initializer_list<std::string_view> fragments;
    const char* model = "class_labels";
    const char* option = "";
  } rows[] = {
      {{}, {"no tensor", "sample"}},
      {{{"timestep", t}, {"class_labels", labels}}, {"no tensor", "sample"}},
      {{{"sample", x}, {"class_labels", labels}}, {"no tensor", "timestep"}},
      {{{"sample", x}, {"timestep", t}}, {"label"}},
      {{{"sample", x}, {"timestep", t}, {"class_labels", labels}, {"label", labels}},
       {R"("label" is not known)", "class_labels"}},
      {{{"sample", x.to(DType::f64)}, {"timestep", t}, {"class_labels", labels}}, {"f64", "f32"}},
      {{{"sample", x.reshape({2, 3, 1024})}, {"timestep", t}, {"class_labels", labels}}, {"rank"}},
      {{{"sample", grey}, {"timestep", t}, {"class_labels", labels}},
       {"[2, 1, 28, 28]", "[N, 3, H, W]"}},
      {{{"sample", Tensor::zeros({2, 3, 31, 32})}, {"timestep", t}, {"class_labels", labels}},
       {"31"}},
      {{{"sample", Tensor::zeros({0, 3, 32, 32})}, {"timestep", t}, {"class_labels", labels}}, {}},
      {{{"sample", x}, {"timestep", Tensor::zeros({3}, DType::i64)}, {"class_labels", labels}},
       {"timestep", "[3]"}},
      {{{"sample", x}, {"timestep", Tensor::zeros({2, 1})}, {"class_labels", labels}},
       {"timestep", "[2, 1]"}},
      {{{"sample", x}, {"timestep", Tensor::zeros({2}, DType::u8)}, {"class_labels", labels}},
       {"timestep", "u8"}},
      {{{"sample", x}, {"timestep", t}, {"class_labels", Tensor::full({2}, 5, DType::i64)}}, {"5"}},
      {{{"sample", x}, {"timestep", t}, {"class_labels", Tensor::full({2}, -1, DType::i64)}},
       {"-1"}},
      {{{"sample", x}, {"timestep", t}, {"class_labels", Tensor::zeros({2})}}, {"f32"}},
      {{{"sample", x}, {"timestep", t}, {"class_labels", Tensor::zeros({3}, DType::i64)}}, {"[3]"}},
      {{{"sample", grey}, {"timestep", t}, {"class_labels", labels}}, {"label"}, "grey28"},
      {{{"sample", x}, {"timestep", t}, {"class_labels", labels}},
       {"no tensor", "target"},
       "class_labels",
       " --grad"},
      {{{"sample", x}, {"timestep", t}, {"class_labels", labels}, {"target", grey}},
       {"target", "[2, 1, 28, 28]"},
       "class_labels",
       " --grad"},
      {{{"sample", x},
        {"timestep", t},
        {"class_labels", labels},
        {"target", Tensor::zeros({1, 3, 32, 32})}},
       {"target is for 1 pictures of 32x32, sample holds 2 of 32x32"},
       "class_labels",
       " --grad"},
  };
  for (const auto& row : rows) {
    io::write_safetensors(at("in.safetensors"), row.in);
    const std::string line =
        fmt::format("predict --model {}/{} --in in.safetensors --out out.safetensors{}", kGolden,
                    row.model, row.option);
    refused(line, row.fragments);
    refused(line, {"in.safetensors"});
  }
  EXPECT_FALSE(fs::exists(at("out.safetensors")));
  put("in.safetensors", "garbage");
  refused("predict --in in.safetensors --out y --model " + kGolden + "/grey28", {"in.safetensors"});
  const std::string in = " --in " + kGolden + "/grey28/in.safetensors";
  refused("predict --out nowhere/y --model " + kGolden + "/grey28" + in, {"nowhere/y"});
  refused("predict --out . --model " + kGolden + "/grey28" + in, {"this is a directory"});
}

// ---- runs, damaged

TEST_F(BadInput, RunRecord) {
  put_run();
  copy("run", "good");
  const std::string text = get("run/sfumato/run.json");
  for (const std::string& damaged :
       {std::string(), std::string("garbage"), text.substr(0, text.size() / 2), std::string("{}"),
        std::string(R"({"format": 2})"), std::string(R"({"format": 1})"),
        std::string(R"({"format": 1, "options": []})"),
        std::string(R"({"format": 1, "options": {}})")}) {
    put("run/sfumato/run.json", damaged);
    refused("train --resume run", {"run/sfumato/run.json"});
  }
  Json record = io::read_json(at("good/sfumato/run.json"));
  const struct {
    const char *key, *value;
    std::initializer_list<std::string_view> fragments;
  } rows[] = {
      {"batch", "0", {"batch", "0"}},
      {"batch", "\"eight\"", {"batch", "eight"}},
      {"batch", "null", {"batch"}},
      {"data", "\"/nowhere\"", {"/nowhere"}},
      {"data", "7", {"data"}},
      {"prediction", "\"noise\"", {"noise"}},
      {"batch", "1000000000000", {"batch", "65536", "1000000000000"}},
      {"timesteps", "1000000000000", {"timesteps", "100000"}},
      {"steps", "1.5", {"steps"}},
      {"lr", "null", {"lr"}},
  };
  for (const auto& row : rows) {
    Json changed = record;
    changed["options"][row.key] = io::parse_json(row.value, "row");
    put("run/sfumato/run.json", changed.dump());
    SCOPED_TRACE(fmt::format("{} = {}", row.key, row.value));
    refused("train --resume run", row.fragments);
  }
  put("run/sfumato/run.json", text);
  EXPECT_EQ(learned(at("run")), learned(at("good")));
  done("train --resume run --stop-after 1");
}

TEST_F(BadInput, RunState) {
  put_run();
  const std::string path = "run/sfumato/state.safetensors", good = get(path);
  Tensors tensors;
  {
    const io::SafeTensors file(at(path));
    for (const std::string& name : file.names()) tensors.emplace_back(name, file.tensor(name));
  }
  const Shape weights = io::SafeTensors(at(path)).shape("weights");
  auto with = [&](const std::string& name, const Tensor& value) {
    Tensors changed;
    for (const auto& [key, tensor] : tensors)
      if (key != name) changed.emplace_back(key, tensor);
    if (value.defined()) changed.emplace_back(name, value);
    io::write_safetensors(at("changed"), changed);
    return get("changed");
  };
  const struct {
    std::string bytes;
    std::initializer_list<std::string_view> fragments;
  } rows[] = {
      {"", {}},
      {"garbage", {}},
      {good.substr(0, good.size() / 2), {}},
      {with("ema", {}), {"ema"}},
      {with("step", {}), {"step"}},
      {with("step", Tensor::zeros({1})), {"step", "f32"}},
      {with("step", Tensor::full({1}, -1, DType::i64)), {"step", "got -1"}},
      {with("step", Tensor::full({1}, 0x1p52, DType::i64)), {"step", "0..1099511627776"}},
      {with("step", Tensor::full({1}, 5, DType::i64)), {"adam_steps", "expected 5", "got 2"}},
      {with("adam_steps", Tensor::full({1}, 3, DType::i64)), {"adam_steps", "expected 2"}},
      {with("ema_updates", Tensor::full({1}, 0, DType::i64)), {"ema_updates", "expected 2"}},
      {with("seconds", Tensor::full({1}, NAN, DType::f64)), {"seconds", "finite", "nan"}},
      {with("seconds", Tensor::full({1}, -1, DType::f64)), {"seconds", ">= 0", "-1"}},
      {with("smoothed", Tensor::full({1}, INFINITY, DType::f64)), {"smoothed", "finite", "inf"}},
      {with("weights", Tensor::full(weights, NAN)), {"weights", "finite", "nan"}},
      {with("ema", Tensor::full(weights, INFINITY)), {"ema", "finite", "inf"}},
      {with("adam_m", Tensor::full(weights, -INFINITY)), {"adam_m", "finite", "-inf"}},
      {with("adam_v", Tensor::full(weights, -1e-3)), {"adam_v", ">= 0", "-0.001"}},
      {with("adam_m", Tensor::zeros({5})), {"adam_m", "[5]"}},
      {with("weights", Tensor::zeros({5}, DType::f64)), {"weights"}},
  };
  for (const auto& row : rows) {
    put(path, row.bytes);
    refused("train --resume run", row.fragments);
    refused("train --resume run", {path});
  }
  put(path, good);
  done("train --resume run --stop-after 1");
}

TEST_F(BadInput, DamagedMetricsAreCutOff) {
  put_digits("data");
  done("train --out run --data data --model tiny --batch 8 --steps 14 --stop-after 12");
  const std::string text = get("run/metrics.jsonl");
  const std::string first = text.substr(0, text.find('\n') + 1);
  for (const std::string& damaged :
       {std::string(), first + "{\"step\": 11, \"lo", first + "garbage\n" + text,
        std::string("\xff\xff\n"), first + first.substr(0, 40)}) {
    copy("run", "again");
    put("again/metrics.jsonl", damaged);
    done("train --resume again --stop-after 1");
    EXPECT_EQ(metrics("again").back().get_int("step"), 13);
  }
}

// ---- the environment

TEST_F(BadInput, Environment) {
  for (const char* threads : {"0", "many", "", "-2", "99999", "2x"})
    refused("info", {"SFUMATO_THREADS", "1..1024", fmt::format("'{}'", threads)}, 1,
            {{{"SFUMATO_THREADS", threads}}});
  refused("info", {"SFUMATO_ISA", "sse9"}, 1, {{{"SFUMATO_ISA", "sse9"}}});
  put_run();
  refused("train --resume run", {"SFUMATO_ISA", "sse9"}, 1, {{{"SFUMATO_ISA", "sse9"}}});
  refused("sample --model run --out x.png", {"SFUMATO_THREADS"}, 1, {{{"SFUMATO_THREADS", "x"}}});
}

}  // namespace
}  // namespace sfumato::apps

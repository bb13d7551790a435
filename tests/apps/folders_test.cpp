// Folders as diffusers and people leave them: other classes, keys and variants, parts that lie
// elsewhere, damaged weights. Each is read with a line about it, or refused by name.
#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "diffusion/pipeline.h"
#include "tensor/io/json.h"
#include "tensor/io/safetensors.h"
#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

using io::Json;
using Tensors = std::vector<std::pair<std::string, Tensor>>;

const std::string kWeights = "m/unet/diffusion_pytorch_model.safetensors";
const std::string kScheduler = "m/scheduler/scheduler_config.json";

class Folders : public AppTest {
 protected:
  // A run's model in "m", whose scheduler is `scheduler`.
  void put_model(const Json& scheduler = {{"_class_name", "DDPMScheduler"}}) const {
    if (!fs::exists(at("run"))) put_run();
    copy("run", "m");
    fs::remove_all(at("m/sfumato"));
    put(kScheduler, scheduler.dump());
  }

  // Expects exit code 0 and `lines` lines on the standard error, which hold all fragments.
  Outcome noted(const std::string& line, std::initializer_list<std::string_view> fragments,
                int lines = 1) const {
    Outcome o = run(line);
    EXPECT_EQ(o.code, 0) << line << '\n' << o.err;
    EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), lines) << line << '\n' << o.err;
    EXPECT_TRUE(o.err.empty() || o.err.starts_with("note: ")) << o.err;
    for (const std::string_view fragment : fragments)
      EXPECT_NE(o.err.find(fragment), std::string::npos)
          << line << "\nexpected: " << fragment << "\nsaid: " << o.err;
    return o;
  }

  // The pictures that a folder draws.
  std::string drawn(const std::string& model = "m", const std::string& options = "") const {
    const Outcome o = run("sample --count 2 --steps 3 --out drawn.npy --model " + model + options);
    EXPECT_EQ(o.code, 0) << o.err;
    return get("drawn.npy");
  }

  Tensors tensors() const {
    const io::SafeTensors file(at(kWeights));
    Tensors all;
    for (const std::string& name : file.names()) all.emplace_back(name, file.tensor(name));
    return all;
  }

  void change(const std::string& file, const char* key, const Json& value) const {
    Json json = io::read_json(at(file));
    json[key] = value;
    put(file, json.dump());
  }

  // The commands that need no sampler, each with that many notes.
  void expect_usable(std::initializer_list<std::string_view> note, int info_notes,
                     int notes) const {
    io::write_safetensors(at("in.st"), {{"sample", Tensor::zeros({1, 1, 12, 12})},
                                        {"timestep", Tensor::full({1}, 5, DType::i64)},
                                        {"class_labels", Tensor::full({1}, 1, DType::i64)}});
    noted("info --model m", note, info_notes);
    noted("predict --model m --in in.st --out out.st", {}, notes);
    fs::remove_all(at("fresh"));
    const Outcome o = noted("train --out fresh --init m --data data --steps 2 --batch 4", note,
                            std::max(notes, info_notes));
    EXPECT_NE(o.out, "");
    done("sample --model fresh --count 2 --steps 2 --out x.png");
  }
};

TEST_F(Folders, TheSchedulersSamplerOrDdimInItsPlace) {
  const Json ddim = {{"_class_name", "DDIMScheduler"}, {"timestep_spacing", "linspace"}};
  put_model(ddim);
  const std::string expected = drawn();
  for (const auto& [name, sampler] :
       {std::pair("EulerDiscreteScheduler", "euler"), std::pair("UniPCMultistepScheduler", "unipc"),
        std::pair("DDPMScheduler", "ddim")}) {
    put_model({{"_class_name", name}, {"timestep_spacing", "linspace"}});
    EXPECT_EQ(drawn(), drawn("m", std::string(" --sampler ") + sampler)) << name;
    EXPECT_EQ(drawn("m", " --sampler ddim"), expected) << name;
  }
  put_model({{"_class_name", "DPMSolverMultistepInverseScheduler"}});
  EXPECT_EQ(drawn(), expected);
  noted("sample --model m --count 1 --steps 1 --out x.png",
        {"DPMSolverMultistepInverseScheduler", "ddim"});
  put(kScheduler, R"({"_class_name": "PNDMScheduler", "timestep_spacing": "linspace",
                      "set_alpha_to_one": true, "sigma_max": Infinity, "beta_start": 0.0001})");
  EXPECT_EQ(drawn(), expected);
  expect_usable({"PNDMScheduler"}, 1, 1);
  EXPECT_EQ(
      io::JsonObject::read(at("fresh/scheduler/scheduler_config.json")).get_string("_class_name"),
      "DDIMScheduler");
}

TEST_F(Folders, SchedulersWithoutBetasAreForOtherCommands) {
  put_model({{"_class_name", "CosineDPMSolverMultistepScheduler"}, {"sigma_max", 80.0}});
  refused("sample --model m --out x.png", {kScheduler, "CosineDPMSolverMultistepScheduler"});
  refused("evaluate --model m --data data", {kScheduler, "CosineDPMSolverMultistepScheduler"});
  expect_usable({"CosineDPMSolverMultistepScheduler"}, 1, 0);
  EXPECT_NE(run("info --model m").out.find("schedule not supported"), std::string::npos);
  // What a sampler would need and has not; the schedule goes on.
  put_model(
      {{"_class_name", "DDPMScheduler"}, {"variance_type", "learned_range"}, {"beta_end", 0.03}});
  refused("sample --model m --out x.png", {"learned_range"});
  expect_usable({"learned_range"}, 1, 0);
  const auto scheduler = io::JsonObject::read(at("fresh/scheduler/scheduler_config.json"));
  EXPECT_EQ(scheduler.get_number("beta_end"), 0.03);
}

TEST_F(Folders, KeysWithoutEffectAreReadPastInOneLine) {
  put_model();
  const std::string expected = drawn();
  change(kScheduler, "tensor_format", "pt");
  change(kScheduler, "skip_prk_steps", true);
  noted("sample --model m --count 1 --steps 1 --out x.png",
        {kScheduler, "\"skip_prk_steps\", \"tensor_format\"", "DDPMScheduler"});
  EXPECT_EQ(drawn(), expected);
  put_model();
  for (const auto& [key, value] : {std::pair<const char*, Json>{"decay", 0.9999},
                                   {"optimization_step", 1},
                                   {"power", 0.75},
                                   {"cross_attention_dim", nullptr},
                                   {"dual\x1b[2J", Json::array()},
                                   {"_name", "x"}})
    change("m/unet/config.json", key, value);
  const Outcome o = noted("sample --model m --count 1 --steps 1 --out x.png",
                          {"m/unet/config.json", "\"decay\"", "\"cross_attention_dim\"",
                           R"("dual\u001b[2J")", "UNet2DModel"});
  EXPECT_EQ(o.err.find('\x1b'), std::string::npos);
  EXPECT_EQ(o.err.find("_name"), std::string::npos);
  EXPECT_EQ(drawn(), expected);
}

TEST_F(Folders, OtherModelsAreNamedByTheirClass) {
  for (const char* name : {"UNet2DConditionModel", "PixArtTransformer2DModel", "AutoencoderKL",
                           "VQModel", "UNetUnconditionalModel"}) {
    const Json config = {{"_class_name", name}, {"in_channels", 4}, {"num_attention_heads", 16}};
    put("m/unet/config.json", config.dump());
    put("root/config.json", config.dump());
    for (const char* line : {"info", "sample --out x.png", "predict --in a --out b"})
      for (const char* model : {"m", "root"})
        refused(fmt::format("{} --model {}", line, model), {name, "sfumato reads UNet2DModel"});
    put_digits("data");
    refused("train --out x --init m --data data", {name, "sfumato reads UNet2DModel"});
    refused("train --out x --model root/config.json --data data", {name, "reads UNet2DModel"});
  }
  put("root/config.json", R"({"hidden_size": 768})");
  refused("info --model root", {"not the config of a UNet2DModel"});
}

TEST_F(Folders, PipelinesAreNamedByTheirClassAndParts) {
  put("m/model_index.json", R"({"_class_name": "StableDiffusionPipeline"})");
  put("m/unet/config.json", R"({"_class_name": "UNet2DConditionModel"})");
  refused("info --model m", {"UNet2DConditionModel", "StableDiffusionPipeline"});
  put("pixart/model_index.json", R"({"_class_name": "PixArtSigmaPipeline"})");
  put("pixart/transformer/config.json", R"({"_class_name": "PixArtTransformer2DModel"})");
  refused("info --model pixart", {"PixArtTransformer2DModel", "PixArtSigmaPipeline"});
  put("prior/model_index.json", R"({"_class_name": "KandinskyPriorPipeline"})");
  put("prior/prior/config.json", R"({"_class_name": "PriorTransformer"})");
  put("prior/vae/config.json", R"({"_class_name": "AutoencoderKL"})");
  refused("sample --out x.png --model prior",
          {"KandinskyPriorPipeline", "prior (PriorTransformer)", "vae (AutoencoderKL)"});
  fs::remove(at("prior/model_index.json"));
  refused("sample --out x.png --model prior", {"prior (PriorTransformer)"});
}

TEST_F(Folders, LatentsAreNotDrawnAsPictures) {
  put_model();
  put("m/model_index.json", R"({"_class_name": "LDMPipeline", "vqvae": ["diffusers", "VQModel"]})");
  refused("sample --model m --out x.png", {"latents", "vqvae"});
  copy(kGolden + "/dit_classes", "dit");
  put("dit/model_index.json",
      R"({"_class_name": "DiTPipeline", "vae": ["diffusers", "Autoencoder"]})");
  refused("sample --model dit --out x.png", {"latents", "vae"});
  expect_usable({"latents"}, 1, 0);
  put("m/model_index.json", R"({"_class_name": "DDPMPipeline", "vqvae": [null, null]})");
  done("sample --model m --count 1 --steps 1 --out x.png");
  put("m/model_index.json", "{");
  noted("sample --model m --count 1 --steps 1 --out x.png", {"model_index.json"});
}

TEST_F(Folders, WrongFoldersLeadOn) {
  put_model();
  fs::create_directories(at("out"));
  copy("m", "out/checkpoint-500");
  refused("info --model out", {"--model out/checkpoint-500"});
  copy("m/unet", "out/checkpoint-900");
  refused("info --model out", {"out/checkpoint-500", "out/checkpoint-900"});
  refused("info --model m/model_index.json", {"this is a file", "give the folder m"});
  refused("info --model " + kWeights, {"this is a file", "give the folder m/unet"});
  for (const char* ending : {"bin", "ckpt", "pt", "pth"}) {
    put(fmt::format("files/model.{}", ending), "PK");
    refused(fmt::format("info --model files/model.{}", ending),
            {"this is a file", "pickle", "UNet2DModel.from_pretrained"});
    refused("info --model files", {ending, "config.json"});
    fs::remove_all(at("files"));
  }
  for (const char* name : {"diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.bin",
                           "diffusion_flax_model.msgpack"}) {
    put_model();
    fs::remove(at(kWeights));
    put(std::string("m/unet/") + name, "PK");
    refused("info --model m", {name, "save_pretrained"});
  }
}

// As the unconditional training example of diffusers leaves its folder.
TEST_F(Folders, MovingAverageBesideTheNetwork) {
  put_model({{"_class_name", "DDPMScheduler"}, {"prediction_type", "sample"}});
  const std::string expected = drawn();
  copy("m/unet", "m/unet_ema");
  change("m/unet_ema/config.json", "decay", 0.9999);
  change("m/unet_ema/config.json", "optimization_step", 7);
  noted("sample --model m --count 1 --steps 1 --out x.png", {"unet_ema", "--model m/unet_ema"});
  for (const char* model : {"m/unet_ema", "m/unet_ema/", "m/../m/unet_ema", "m/unet"}) {
    EXPECT_EQ(drawn(model), expected) << "the scheduler of the folder around it";
    const bool ema = std::string(model).find("ema") != std::string::npos;
    noted(fmt::format("info --model {}", model), {"m/scheduler/scheduler_config.json"},
          ema ? 2 : 1);
  }
  copy("m/unet_ema", "alone");  // EMAModel.save_pretrained
  noted("info --model alone", {"\"decay\", \"optimization_step\""});
}

TEST_F(Folders, VariantsOfTheWeights) {
  put_model();
  const std::string expected = drawn();
  for (const char* name : {"diffusion_pytorch_model.fp16.safetensors",
                           "diffusion_pytorch_model.non_ema.safetensors", "model.safetensors"}) {
    put_model();
    fs::rename(at(kWeights), at("m/unet") / name);
    EXPECT_EQ(drawn(), expected);
    noted("info --model m", {"m/unet", name, "there is no diffusion_pytorch_model.safetensors"});
  }
  put_model();
  put("m/unet/diffusion_pytorch_model.fp16.safetensors", "not looked at");
  done("info --model m");
  fs::rename(at(kWeights), at("m/unet/diffusion_pytorch_model.ema.safetensors"));
  refused("info --model m", {"several", "model.ema.safetensors", "model.fp16.safetensors"});
}

TEST_F(Folders, WeightsInSeveralFiles) {
  put_model();
  const std::string expected = drawn();
  const Tensors all = tensors();
  const std::map<std::string, std::string> metadata = {{"sfumato.null_label", "2"}};
  Json map = Json::object();
  for (int part = 0; part < 2; ++part) {
    const std::string name =
        fmt::format("diffusion_pytorch_model-0000{}-of-00002.safetensors", part);
    Tensors some;
    for (std::size_t i = 0; i < all.size(); ++i)
      if (i % 2 == static_cast<std::size_t>(part)) {
        some.push_back(all[i]);
        map[all[i].first] = name;
      }
    io::write_safetensors(at("m/unet/" + name), some, metadata);
  }
  fs::remove(at(kWeights));
  const std::string index = kWeights + ".index.json";
  put(index, Json{{"metadata", {{"total_size", 1}}}, {"weight_map", map}}.dump());
  EXPECT_EQ(drawn(), expected);
  done("info --model m");
  fs::rename(at(index), at(kWeights + ".index.fp16.json"));
  EXPECT_EQ(drawn(), expected);
  fs::rename(at(kWeights + ".index.fp16.json"), at(index));

  const std::string last = "m/unet/diffusion_pytorch_model-00001-of-00002.safetensors";
  for (const char* name : {"../x.safetensors", "/etc/passwd", "x.bin", "a/b.safetensors"}) {
    Json changed = map;
    changed["conv_in.bias"] = name;
    put(index, Json{{"weight_map", changed}}.dump());
    refused("info --model m", {"index.json", "conv_in.bias", name});
  }
  put(index, Json{{"weight_map", Json::object()}}.dump());
  refused("info --model m", {"index.json", "names no file"});
  put(index, Json{{"weight_map", map}}.dump());
  const std::string bytes = get(last);
  fs::remove(at(last));
  refused("info --model m", {"00001-of-00002.safetensors", "is missing"});
  put(last, get("m/unet/diffusion_pytorch_model-00000-of-00002.safetensors"));
  refused("info --model m", {"is also in"});
  put(last, bytes.substr(0, bytes.size() - 1));
  refused("info --model m", {last});
}

TEST_F(Folders, NumbersThatAreNotFinite) {
  put_model();
  const Tensors good = tensors();
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(),
                           std::numeric_limits<double>::infinity(), -1e300}) {
    Tensors changed = good;
    for (auto& [name, tensor] : changed)
      if (name == "conv_in.weight") {
        tensor = tensor.to(DType::f64);
        tensor.values<double>()[13] = bad;  // [8, 1, 3, 3]
        tensor.values<double>()[20] = bad;
      }
    io::write_safetensors(at(kWeights), changed);
    for (const char* line :
         {"sample --out x.npy --model m", "predict --in a --out b --model m",
          "evaluate --data data --model m", "train --out x --data data --steps 2 --init m"})
      refused(line, {kWeights, "\"conv_in.weight\"", "2 of 72 numbers", "[1, 0, 1, 1]"});
    noted("info --model m", {kWeights, "\"conv_in.weight\"", "2 of 72 numbers"});
  }
  Tensors all = good;
  for (auto& [name, tensor] : all) tensor = Tensor::full(tensor.shape(), NAN);
  io::write_safetensors(at(kWeights), all);
  noted("info --model m", {"more parameters"}, 6);
  EXPECT_FALSE(fs::exists(at("x")));
}

TEST_F(Folders, SampleSizeUnknownOrLarge) {
  put_model();
  change("m/unet/config.json", "sample_size", nullptr);
  refused("sample --model m --out x.png", {"sample_size"});
  noted("info --model m", {"no sample_size", "32x32"});
  EXPECT_EQ(diffusion::load_pipeline(at("m")).network->sample_size.height, 0);
  done("train --out x --init m --data data --steps 2");
  EXPECT_EQ(diffusion::load_pipeline(at("x")).network->sample_size.height, 12);
  for (const char* file :
       {"images-idx3-ubyte", "labels-idx1-ubyte"})  // evaluate wants a test split
    copy(std::string("data/train-") + file, std::string("data/t10k-") + file);
  // The data's size is taken; the next thing that is looked at fails.
  refused("evaluate --model m --data data --count 100", {"too few pictures of class 0"});
  change("m/unet/config.json", "sample_size", 65536);
  noted("info --model m", {"65536x65536", "gigabytes", "shown for 2048x2048"});
  change("m/unet/config.json", "sample_size", Json::array({12, 65536}));
  done("info --model m");
}

// Whoever wrote the folder must not write to the terminal.
TEST_F(Folders, TextFromFilesIsMadeFitForATerminal) {
  put_model();
  const std::string evil = "\x1b]0;title\a\u009b31m\u202e";
  Tensors extra = tensors();
  extra.emplace_back(evil, Tensor::zeros({1}));
  io::write_safetensors(at(kWeights), extra);
  io::write_safetensors(at("in.st"), {{evil, Tensor::zeros({1})}});
  put_model();
  const auto clean = [](const Outcome& o) {
    for (const char* piece : {"\x1b", "\a", "\u009b", "\u202e"})
      EXPECT_EQ((o.out + o.err).find(piece), std::string::npos) << o.command << o.err;
  };
  clean(refused("predict --model m --in in.st --out out.st", {R"(\u001b]0;title\u0007)"}));
  io::write_safetensors(at(kWeights), extra);
  clean(refused("info --model m", {R"(\u001b)"}));
  put("m/unet/config.json", Json{{"_class_name", evil}}.dump());
  clean(refused("info --model m", {R"(\u001b)"}));
  put("m/unet/config.json", Json{{"_class_name", "UNet2DModel"}, {"act_fn", evil}}.dump());
  clean(refused("info --model m", {R"(\u001b)"}));
  fs::create_directories(at("dir") / (evil + "\nsfumato: done"));
  put("dir/" + evil + "\nsfumato: done/config.json", R"({"_class_name": "UNet2DModel"})");
  clean(refused("info --model dir", {R"(\u001b)"}));
  put("c.conf", "steps = \"\x1b[2J\"\n");
  clean(refused("train --out x --config c.conf", {"--steps", R"(\u001b)"}, 2));
}

TEST_F(Folders, EmptyAndImpossibleTensorsAreRefusedByPredict) {
  put_model();
  io::write_safetensors(
      at("in.st"), {{"sample", Tensor::zeros({0, 1, std::int64_t{1} << 62, std::int64_t{1} << 62})},
                    {"timestep", Tensor::zeros({1}, DType::i64)}});
  refused("predict --model m --in in.st --out out.st", {"sample", "no picture"});
}

TEST_F(Folders, ClassNamesAreShown) {
  put_run();
  diffusion::Pipeline model = diffusion::load_pipeline(at("run"));
  model.class_names = {"cat", "d\u00f6g\x1b\u202e"};
  diffusion::save_pipeline_weights(at("run"), model, model.params->flat_values());
  EXPECT_EQ(diffusion::load_pipeline(at("run")).class_names, model.class_names);
  const Outcome o = done("info --model run");
  EXPECT_NE(o.out.find("classes: 0=\"cat\" 1=\"d\u00f6g\\u001b\\u202e\"\n"), std::string::npos)
      << o.out;
}

}  // namespace
}  // namespace sfumato::apps

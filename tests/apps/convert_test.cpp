// `sfumato convert`: models of lucidrains' package, and of diffusers' first releases.
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tensor/io/image.h"
#include "tensor/io/json.h"
#include "tensor/io/safetensors.h"
#include "tests/apps/support.h"
#include "tests/norms.h"

namespace sfumato::apps {
namespace {

using Convert = AppTest;
const std::string kLucid = "convert --in " + kGolden + "/lucid_checkpoint.safetensors";

// The parity of the network is golden_test.cpp's; here: the folder holds that network, and everything takes the folder.
TEST_F(Convert, ACheckpointIsSampledTrainedOnAndReadAgain) {
  const Outcome o = run(kLucid + " --out model --size 12");
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.out.find("schedule sigmoid_alpha, 50 timesteps, predicts v"), std::string::npos)
      << o.out;
  EXPECT_NE(o.err.find("took the moving average"), std::string::npos) << o.err;
  EXPECT_EQ(io::JsonObject::read(at("model/model_index.json")).get_strings("unet"),
            (std::vector<std::string>{"denoising_diffusion_pytorch", "Unet"}));
  // The tensors have the package's names, so that its load_state_dict takes them.
  const io::SafeTensors written(at("model/unet/diffusion_pytorch_model.safetensors")),
      bare(kGolden + "/lucid_2_0/unet/diffusion_pytorch_model.safetensors");
  EXPECT_EQ(written.names(), bare.names());
  done("predict --model model --in " + kGolden + "/lucid_2_0/in.safetensors --out y.safetensors");
  const Tensor want = io::SafeTensors(kGolden + "/lucid_2_0/out.safetensors").tensor("sample");
  EXPECT_LE(distance(io::SafeTensors(at("y.safetensors")).tensor("sample"), want),
            2e-5 * norm(want));
  done("sample --model model --count 2 --steps 3 --out grid.png");
  EXPECT_EQ(io::read_image(at("grid.png")).dim(2), 1);
  put_digits("data");
  done("train --init model --out run --data data --steps 2 --batch 4");
  EXPECT_EQ(io::SafeTensors(at("run/unet/diffusion_pytorch_model.safetensors")).names(),
            bare.names());
}

TEST_F(Convert, SaysWhatItCannotDo) {
  put("model/notes.txt", "mine");
  refused(kLucid + " --out model", {"model", "is there already: choose another --out"});
  EXPECT_EQ(get("model/notes.txt"), "mine");
  refused(kLucid + " --out new --timesteps 7", {"--timesteps 7: the file says 50"});
  refused("convert --in none.safetensors --out new", {"none.safetensors"});
  refused("convert --in " + kGolden + "/legacy --out new --heads 2",
          {"--heads is for a file of weights"});
  refused("convert --in " + kGolden + "/legacy --out new",
          {"has no scheduler: give --prediction and --schedule"});
  refused(kLucid + " --out new --package-version 3", {"expected 2.0, 1.9, 1.8, 1.7, 1.0, got 3"},
          2);
  EXPECT_FALSE(fs::exists(at("new")));
}

TEST_F(Convert, AnOldFolderGetsTodaysNames) {
  const std::string old = kGolden + "/legacy";
  done("convert --in " + old + " --out new --prediction eps --schedule linear");
  const io::SafeTensors before(old + "/diffusion_pytorch_model.safetensors"),
      after(at("new/unet/diffusion_pytorch_model.safetensors"));
  const std::string attention = "mid_block.attentions.0.";
  EXPECT_TRUE(before.contains(attention + "query.weight"));
  EXPECT_FALSE(after.contains(attention + "query.weight"));
  EXPECT_EQ(
      distance(before.tensor(attention + "query.weight"), after.tensor(attention + "to_q.weight")),
      0);
  const std::string in = " --in " + old + "/in.safetensors";
  done("predict --model " + old + in + " --out a.safetensors");
  done("predict --model new" + in + " --out b.safetensors");
  EXPECT_EQ(get("a.safetensors"), get("b.safetensors"));
  refused("convert --in new --out other --prediction v", {"has a scheduler"});
}

// The names of before diffusers 0.1, as its scripts/change_naming_configs_and_checkpoints.py lists them.
TEST_F(Convert, AFolderOfBeforeTheFirstReleaseGetsTodaysNames) {
  const std::string legacy = kGolden + "/legacy";
  io::Json config = io::read_json(legacy + "/config.json");
  const std::pair<const char*, const char*> keys[] = {{"sample_size", "image_size"},
                                                      {"layers_per_block", "num_res_blocks"},
                                                      {"block_out_channels", "block_channels"},
                                                      {"down_block_types", "down_blocks"},
                                                      {"up_block_types", "up_blocks"},
                                                      {"freq_shift", "downscale_freq_shift"},
                                                      {"norm_num_groups", "resnet_num_groups"},
                                                      {"act_fn", "resnet_act_fn"},
                                                      {"norm_eps", "resnet_eps"},
                                                      {"attention_head_dim", "num_head_channels"}};
  for (const auto& [now, before] : keys) {
    config[before] = config.at(now);
    config.erase(now);
  }
  for (const char* key : {"down_blocks", "up_blocks"})
    for (io::Json& type : config[key]) type = "UNetRes" + type.get<std::string>();
  put("old/config.json", config.dump());
  const io::SafeTensors file(legacy + "/diffusion_pytorch_model.safetensors");
  const std::pair<std::string, std::string> blocks[] = {{"mid_block.", "mid."},
                                                        {"down_blocks.", "downsample_blocks."},
                                                        {"up_blocks.", "upsample_blocks."}};
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const std::string& name : file.names()) {
    std::string before = name;
    for (const auto& [now, old] : blocks)
      if (name.starts_with(now)) before = old + name.substr(now.size());
    tensors.emplace_back(before, file.tensor(name));
    if (const auto at = before.find(".downsamplers.0.conv."); at != std::string::npos)
      tensors.emplace_back(std::string(before).replace(at, 21, ".downsamplers.0.op."),
                           file.tensor(name));
  }
  EXPECT_GT(tensors.size(), file.names().size());
  io::write_safetensors(at("old/diffusion_pytorch_model.safetensors"), tensors);
  done("convert --in old --out new --prediction eps --schedule linear");
  EXPECT_EQ(io::JsonObject::read(at("new/unet/config.json")).get_int("sample_size"), 16);
  const std::string in = " --in " + legacy + "/in.safetensors";
  done("predict --model " + legacy + in + " --out a.safetensors");
  done("predict --model new" + in + " --out b.safetensors");
  EXPECT_EQ(get("a.safetensors"), get("b.safetensors"));
}

}  // namespace
}  // namespace sfumato::apps

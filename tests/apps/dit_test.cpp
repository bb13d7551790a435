// A diffusion transformer through the whole program: the commands are those of the U-Net.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "diffusion/pipeline.h"
#include "tensor/io/image.h"
#include "tensor/io/json.h"
#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

using Transformer = AppTest;
const std::string kDiT = " --data data --model dit-tiny --batch 8 --lr-floor 1";

TEST_F(Transformer, TrainsResumesSamplesAndIsRead) {
  put_digits("data");
  const Outcome o = done("train --out run --steps 6" + kDiT);
  EXPECT_NE(o.out.find("12x12x1 in 2 classes, DiT of "), std::string::npos) << o.out;
  const auto index = io::JsonObject::read(at("run/model_index.json"));
  EXPECT_EQ(index.get_string("_class_name"), "DiTPipeline");
  EXPECT_EQ(index.get_strings("transformer"),
            (std::vector<std::string>{"diffusers", "DiTTransformer2DModel"}));
  EXPECT_FALSE(fs::exists(at("run/unet")));
  const auto config = io::JsonObject::read(at("run/transformer/config.json"));
  EXPECT_EQ(config.get_int("sample_size"), 12);
  EXPECT_EQ(config.get_int("num_embeds_ada_norm"), 2);
  EXPECT_EQ(diffusion::load_pipeline(at("run")).conditioning().null_label, 2);

  done("train --out whole --steps 14" + kDiT);
  EXPECT_EQ(run("train --resume run --steps 14").code, 0);
  EXPECT_EQ(learned(at("run")), learned(at("whole")));
  done("sample --model run --labels 1,0 --steps 3 --guidance 2 --out grid.png");
  EXPECT_EQ(io::read_image(at("grid.png")).dim(2), 1);
  EXPECT_NE(done("info --model run").out.find("transformer_blocks"), std::string::npos);
  done("train --init run --out more --steps 2 --data data --batch 8");
  EXPECT_EQ(io::JsonObject::read(at("more/transformer/config.json")).json(), config.json());
  refused("train --out run --data data --steps 1", {"holds a training run already"});
}

// Positions count in the pictures' size, which the config of another size does not change.
TEST_F(Transformer, AConfigOfAnotherSizeIsFitted) {
  put_digits("data");
  io::Json json = io::read_json(kGolden + "/dit_classes/transformer/config.json");
  put("dit.json", json.dump());
  done("train --out run --steps 2 --data data --batch 8 --model dit.json");
  EXPECT_EQ(io::read_json(at("run/transformer/config.json")).at("sample_size"), 12);
  EXPECT_EQ(diffusion::load_pipeline(at("run")).network->sample_size, (io::Extent{12, 12}));
}

TEST_F(Transformer, WhatItCannotDoIsRefused) {
  put_digits("data");
  refused("train --out a --steps 1 --size 12,8" + kDiT, {"12x8", "squares", "--size"});
  refused("train --out b --steps 1 --size 10" + kDiT, {"10x10", "multiples of 4", "--pad"});
  refused("train --out c --steps 1 --label-dropout 0" + kDiT, {"--label-dropout 0", "row 2"});
  for (const char* out : {"a", "b", "c"}) EXPECT_FALSE(fs::exists(at(out))) << out;
  done("train --out d --steps 1" + kDiT);
  refused("sample --model d --size 12,8 --out x.png", {"12x8", "squares"});
}

}  // namespace
}  // namespace sfumato::apps

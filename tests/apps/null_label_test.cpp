// The row of "no class": found, made, asked for, or label dropout is refused.
#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "diffusion/eval/classifier.h"
#include "diffusion/pipeline.h"
#include "nn/checkpoint.h"
#include "tensor/io/npy.h"
#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

const std::string kTrain = "train --data data --batch 8 --steps 3 ";

class NullLabel : public AppTest {
 protected:
  NullLabel() { put_digits("data"); }

  // A config.json with `rows` rows in its class table.
  void put_config(const std::string& name, std::int64_t rows) const {
    const diffusion::Pipeline tiny = [&] {
      done("train --data data --model tiny --batch 8 --steps 1 --out for_config");
      return diffusion::load_pipeline(at("for_config"));
    }();
    io::Json config = tiny.network->config();
    config["num_class_embeds"] = rows;
    io::write_json(at(name), config);
    fs::remove_all(at("for_config"));
  }
  // What training says on the standard error.
  std::string notes(const std::string& line) const {
    const Outcome o = run(line);
    EXPECT_EQ(o.code, 0) << line << '\n' << o.err;
    return o.err;
  }
  std::optional<std::int64_t> null_label(const std::string& folder) const {
    return diffusion::load_pipeline(at(folder)).conditioning().null_label;
  }
  std::int64_t rows(const std::string& folder) const {
    return diffusion::load_pipeline(at(folder)).conditioning().rows;
  }
};

TEST_F(NullLabel, IsTheLastRowWhereNoPictureHasIt) {
  put_config("three.json", 3);
  EXPECT_NE(
      notes(kTrain + "--model three.json --out a --label-dropout 0.9").find("row 2 of the class"),
      std::string::npos);
  EXPECT_EQ(null_label("a"), 2);
  EXPECT_EQ(rows("a"), 3);
  // Labels are hidden: with another share, another network.
  notes(kTrain + "--model three.json --out b --label-dropout 0.1");
  EXPECT_NE(learned(at("a")).weights, learned(at("b")).weights);
  done("sample --model a --guidance 3 --count 2 --steps 1 --out x.npy");
  // Where no label is hidden, the row is no class either: it is not drawn, and a reader need not know it.
  done(kTrain + "--model three.json --out c --label-dropout 0");
  EXPECT_EQ(null_label("c"), std::nullopt);
  eval::Classifier reader(1, 2);
  nn::save_parameters(reader.params(), reader.params().flat_values(), at("r.safetensors"));
  done("sample --model c --count 3 --steps 1 --reader r.safetensors --out read");
  EXPECT_TRUE(fs::exists(at("read/00002_0.png")));
  refused("sample --model c --labels 2 --out x.npy", {"some of \"0\", \"1\"", "got \"2\""});
}

TEST_F(NullLabel, IsMadeWhereItIsAskedFor) {
  put_config("two.json", 2);
  EXPECT_NE(notes(kTrain + "--model two.json --out plain").find("no free row"), std::string::npos);
  EXPECT_EQ(null_label("plain"), std::nullopt);
  refused("sample --model plain --guidance 2 --out x.npy", {"--null-label"});

  EXPECT_NE(
      notes(kTrain + "--model two.json --label-dropout 0.2 --out made").find("3 rows instead of 2"),
      std::string::npos);
  EXPECT_EQ(null_label("made"), 2);
  EXPECT_EQ(rows("made"), 3);

  // The same for a trained network: its new row is the mean of the others.
  EXPECT_NE(notes(kTrain + "--init plain --label-dropout 0.2 --lr 0 --out tuned").find("3 rows"),
            std::string::npos);
  const diffusion::Pipeline before = diffusion::load_pipeline(at("plain"));
  const diffusion::Pipeline after = diffusion::load_pipeline(at("tuned"));
  for (std::size_t i = 0; i < before.params->entries().size(); ++i) {
    const Tensor& x = before.params->entries()[i].var.value();
    const Tensor& y = after.params->entries()[i].var.value();
    EXPECT_EQ(std::memcmp(x.raw(), y.raw(), x.bytes()), 0) << before.params->entries()[i].name;
    if (x.shape() == y.shape()) continue;
    const std::int64_t width = x.dim(1);
    for (std::int64_t j = 0; j < width; ++j)
      EXPECT_FLOAT_EQ(y.data<float>()[2 * width + j],
                      (x.data<float>()[j] + x.data<float>()[width + j]) / 2);
  }
  // Fine-tuning a run goes on with its own row.
  done(kTrain + "--init made --out again");
  EXPECT_EQ(null_label("again"), 2);
}

TEST_F(NullLabel, IsAskedFor) {
  put_config("five.json", 5);
  notes(kTrain + "--model five.json --null-label 3 --out a");
  EXPECT_EQ(null_label("a"), 3);
  refused(kTrain + "--model five.json --null-label 1 --out b", {"--null-label 1", "pictures"});
  refused(kTrain + "--model five.json --null-label 5 --out b", {"--null-label 5", "0..4"});
  EXPECT_FALSE(fs::exists(at("b")));
}

TEST_F(NullLabel, IsNotThereWithoutLabelDropout) {
  done(kTrain + "--model tiny --label-dropout 0 --out a");
  EXPECT_EQ(null_label("a"), std::nullopt);
  EXPECT_EQ(rows("a"), 2);
  refused("train --resume a --label-dropout 0.5 --steps 6", {"--label-dropout", "no class"});
  io::write_npy(at("plain.npy"),
                Tensor::from<std::uint8_t>({1, 8, 8}, std::vector<std::uint8_t>(64, 7)));
  refused("train --data plain.npy --model tiny --steps 1 --label-dropout 0.1 --out c",
          {"--label-dropout", "labels"});
  EXPECT_FALSE(fs::exists(at("c")));
}

}  // namespace
}  // namespace sfumato::apps

// `sfumato evaluate`.
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "tensor/io/image.h"
#include "tensor/io/json.h"
#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

class Evaluate : public AppTest {
 protected:
  Evaluate() {
    put_digits("data", {.count = 400});
    for (const char* part : {"images-idx3-ubyte", "labels-idx1-ubyte"})
      put(std::string("data/t10k-") + part, get(std::string("data/train-") + part));
    done("train --out run --data data --model tiny --batch 8 --steps 3 --sample-every 0");
  }
};

constexpr const char* kCommand =
    "evaluate --model run --data data --count 100 --steps 2 --classifier classifier.safetensors";

TEST_F(Evaluate, ReportsBothRowsBesideRealPictures) {
  const Outcome first = done(std::string(kCommand) + " --json");
  const io::Json j = io::parse_json(first.out, "evaluate");
  EXPECT_GT(j.at("classifier").at("accuracy").get<double>(), 70);
  EXPECT_EQ(j.at("classifier").at("test_pictures"), 400);
  EXPECT_EQ(j.at("count"), 100);
  const io::Json& floor = j.at("floor").at("measures").at("fd");
  EXPECT_GT(floor.at("mean").get<double>(), 0);
  EXPECT_GT(floor.at("deviation").get<double>(), 0);  // several draws
  ASSERT_EQ(j.at("drawn").size(), 2u);                // guidance 1, guidance 2
  for (int i : {0, 1}) {
    const io::Json& set = j.at("drawn")[i];
    EXPECT_EQ(set.at("guidance"), i + 1);
    EXPECT_EQ(set.at("sampler"), "ddim");
    EXPECT_EQ(set.at("steps"), 2);
    EXPECT_EQ(set.at("evaluations"), 2 * (i + 1));  // with the label and without
    for (const auto& [name, measure] : set.at("measures").items()) {
      EXPECT_LE(measure.at("low").get<double>(), measure.at("value").get<double>()) << name;
      EXPECT_GE(measure.at("high").get<double>(), measure.at("value").get<double>()) << name;
    }
    EXPECT_GE(set.at("measures").at("agreement").at("low").get<double>(), 0);
    EXPECT_LE(set.at("measures").at("agreement").at("high").get<double>(), 100);
    const io::Json& distance = set.at("measures").at("fd");
    for (const char* bound : {"value", "low", "high"})
      EXPECT_DOUBLE_EQ(distance.at("of_floor").at(bound).get<double>(),
                       distance.at(bound).get<double>() / floor.at("mean").get<double>());
    EXPECT_GT(distance.at("of_floor").at("low").get<double>(), 1);  // three steps of training
  }
  // The classifier is kept, and says the same.
  const std::string kept = get("classifier.safetensors");
  EXPECT_EQ(done(std::string(kCommand) + " --json").out, first.out);
  EXPECT_EQ(get("classifier.safetensors"), kept);
  const Outcome text = done(std::string(kCommand) + " --guidance 3");
  EXPECT_NE(text.out.find("guidance 3"), std::string::npos) << text.out;
  EXPECT_EQ(text.out.find("guidance 1"), std::string::npos) << text.out;
}

TEST_F(Evaluate, MetricsAndClosestPairs) {
  const Outcome o =
      done(std::string(kCommand) + " --guidance 1 --metrics copied,mind --pairs pairs.png --json");
  const io::Json j = io::parse_json(o.out, "evaluate");
  const io::Json& measures = j.at("drawn").at(0).at("measures");
  ASSERT_EQ(measures.size(), 2u);
  EXPECT_LT(measures.at("copied").at("value").get<double>(), 100);
  EXPECT_GT(measures.at("mind").at("of_floor").at("value").get<double>(), 1);
  // A row of drawn pictures and one of their training pictures.
  const Tensor pairs = io::read_image(at("pairs.png"));
  EXPECT_GT(pairs.dim(1), 4 * pairs.dim(0));
  const Outcome all = done(std::string(kCommand) + " --guidance 1 --metrics all --json");
  EXPECT_EQ(io::parse_json(all.out, "evaluate").at("drawn").at(0).at("measures").size(), 9u);
}

TEST_F(Evaluate, PicturesFromAnywhere) {
  const std::string tail = " --data data --classifier classifier.safetensors --json --metrics ";
  const auto judged = [&](const std::string& pictures, const std::string& metrics) {
    const Outcome o = done("evaluate --pictures " + pictures + tail + metrics);
    const io::Json j = io::parse_json(o.out, "evaluate");
    EXPECT_EQ(j.at("drawn").size(), 1u);
    EXPECT_FALSE(j.at("drawn")[0].contains("evaluations"));
    return j;
  };
  // The training pictures, with their labels: read as asked, each a copy of itself.
  const io::Json real = judged("data/train-images-idx3-ubyte", "agreement,fd,copied");
  EXPECT_EQ(real.at("count"), 400);
  const io::Json& measures = real.at("drawn")[0].at("measures");
  EXPECT_GT(measures.at("agreement").at("value").get<double>(), 70);
  EXPECT_GT(measures.at("copied").at("value").get<double>(), 90);
  EXPECT_NEAR(measures.at("fd").at("value").get<double>(), 0,
              1e-6);  // the test pictures are the same
  // Drawn ones, as an array and as a folder, without labels.
  done("sample --model run --labels 0,1 --count 30 --steps 2 --out drawn.npy");
  done("sample --model run --labels 0,1 --count 30 --steps 2 --out drawn");
  const io::Json array = judged("drawn.npy", "default"), folder = judged("drawn", "default");
  EXPECT_EQ(array.at("count"), 30);
  EXPECT_FALSE(array.at("drawn")[0].at("measures").contains("agreement"));
  EXPECT_GT(array.at("drawn")[0].at("measures").at("fd").at("of_floor").at("low").get<double>(), 1);
  EXPECT_EQ(folder.at("drawn")[0].at("measures").size(), 7u);
  const std::string text =
      done("evaluate --pictures drawn --data data --classifier classifier.safetensors").out;
  EXPECT_NE(text.find("-: pictures without labels (a folder's are its sub-folders"),
            std::string::npos)
      << text;

  refused("evaluate --pictures drawn.npy --model run --data data", {"--pictures", "--model"}, 2);
  refused("evaluate --pictures drawn.npy --steps 3 --data data", {"--pictures", "--steps"}, 2);
  refused("evaluate --data data", {"--model DIR or --pictures FOLDER"}, 2);
  refused("evaluate --pictures nowhere --data data", {"nowhere"});
  done("sample --model run --labels 0 --count 5 --steps 1 --out few.npy");
  refused("evaluate --pictures few.npy --data data", {"few.npy", "expected 20 pictures", "got 5"});
  put_digits("large", {.count = 200, .size = 28});
  refused("evaluate --pictures large/train-images-idx3-ubyte --data data",
          {"pictures are 28x28x1", "data has 12x12x1"});
  std::string labels = get("data/train-labels-idx1-ubyte");
  labels.back() = 77;
  put("other/train-images-idx3-ubyte", get("data/train-images-idx3-ubyte"));
  put("other/train-labels-idx1-ubyte", labels);
  refused("evaluate --pictures other/train-images-idx3-ubyte --data data", {"no class \"77\""});
}

TEST_F(Evaluate, TableOfSamplers) {
  const Outcome o =
      done("evaluate --model run --data data --count 100 --table samplers --evaluations 2");
  EXPECT_NE(o.out.find("| sampler | 1 | 2 |\n"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("\n| heun | "), std::string::npos) << o.out;
  EXPECT_EQ(o.out.find("flow_heun"), std::string::npos) << o.out;  // the same under another name
  const io::Json j = io::parse_json(
      done("evaluate --model run --data data --count 100 --table samplers --evaluations 8 "
           "--spacing shifted --json")
          .out,
      "evaluate");
  const std::set<std::string> adds_noise = {"ddpm",         "euler_ancestral", "dpm2_ancestral",
                                            "dpmpp_2m_sde", "dpmpp_3m_sde",    "sa_solver",
                                            "edm",          "restart"};
  std::map<std::pair<std::string, std::int64_t>, double> from_flow;
  for (const io::Json& set : j.at("drawn")) {
    const auto sampler = set.at("sampler").get<std::string>();
    EXPECT_EQ(set.contains("from_flow"), adds_noise.count(sampler) == 0) << sampler;
    if (set.contains("from_flow"))
      from_flow[{sampler, set.at("column")}] = set.at("from_flow").get<double>();
  }
  EXPECT_GT((from_flow.at({"ddim", 2})), (from_flow.at({"ddim", 8})));
  EXPECT_GT((from_flow.at({"ddim", 8})), 0);
  EXPECT_EQ((from_flow.at({"ddim", 8})), (from_flow.at({"euler", 8})));
  refused("evaluate --model run --data data --evaluations 2", {"--table"}, 2);
}

TEST_F(Evaluate, LikelihoodInBits) {
  const std::string text = done("evaluate --model run --data data --count 100 --likelihood").out;
  for (const char* line : {"\n  L_T, ", "\n  L_t, t = 1..", "\n  L_0, ", "one in 10"})
    EXPECT_NE(text.find(line), std::string::npos) << text;
  const Outcome o = done("evaluate --model run --data data --count 100 --likelihood --json");
  const io::Json j = io::parse_json(o.out, "evaluate");
  EXPECT_EQ(j.at("pictures"), 100);
  EXPECT_GT(j.at("flow").get<double>(), 0);
  EXPECT_GT(j.at("flow_error").get<double>(), 0);
  EXPECT_GT(j.at("bound").get<double>(), j.at("flow").get<double>());
}

TEST_F(Evaluate, BadInput) {
  refused("evaluate --model run --data data --table sampler", {"--table", "samplers"}, 2);
  refused("evaluate --model run --data data --table samplers --steps 3", {"--table", "--steps"}, 2);

  refused("evaluate --model run --data data --metrics fd,fid", {"--metrics", "fid", "mind"}, 2);
  refused("evaluate --model run --data data --metrics fd,", {"--metrics", "got"}, 2);
  refused("evaluate --model run --data data --pairs pairs.gif", {"PNG", "pairs.gif"});
  refused("evaluate --model run --data data --table samplers --metrics fd", {"--table"}, 2);
  refused("evaluate --model nowhere --data data", {"nowhere"});
  refused("evaluate --model run --data run", {"run"});
  refused("evaluate --model run --data data --count 1000 --classifier classifier.safetensors",
          {"--count 1000", "too few pictures of class"});
  refused("evaluate --model run --data data --optimizer muon",
          {"--optimizer requires --classifier"}, 2);
  refused("evaluate --model run --data data --likelihood --classifier classifier.safetensors",
          {"--classifier excludes --likelihood"}, 2);
  put("classifier.safetensors", "not weights");
  refused(kCommand + std::string(" --optimizer muon"), {"--optimizer muon", "not trained again"});
  refused(kCommand, {"classifier.safetensors"});
  put_digits("large", {.count = 200, .size = 28});
  for (const char* part : {"images-idx3-ubyte", "labels-idx1-ubyte"})
    put(std::string("large/t10k-") + part, get(std::string("large/train-") + part));
  refused("evaluate --model run --data large", {"draws 12x12x1", "data has 28x28x1"});
  put_digits("one", {.count = 200});
  refused("evaluate --model run --data one", {"one"});  // no test split
  refused("evaluate --model run --count 3", {"--count"}, 2);
}

// A folder that all users share might hold a classifier that somebody else put there.
TEST_F(Evaluate, WithoutAHomeTheClassifierIsKeptNowhere) {
  ::unsetenv("HOME");
  ::unsetenv("XDG_CACHE_HOME");
  const Outcome o = done("evaluate --model run --data data --count 100 --steps 1 --guidance 1");
  EXPECT_NE(o.out.find("test pictures (not kept)"), std::string::npos) << o.out;
}

// What the data lack is said before a classifier is trained, which takes minutes.
TEST_F(Evaluate, DataAreCheckedBeforeTheClassifierIsTrained) {
  // Labels from 1 on, as EMNIST's letters have them: label 0 is never drawn.
  const auto shifted = [](std::string idx) {
    for (std::size_t i = 8; i < idx.size(); ++i) idx[i] = static_cast<char>(idx[i] + 1);
    return idx;
  };
  for (const char* split : {"train", "t10k"}) {
    const std::string at = std::string("/") + split;
    put("letters" + at + "-images-idx3-ubyte", get("data" + at + "-images-idx3-ubyte"));
    put("letters" + at + "-labels-idx1-ubyte", shifted(get("data" + at + "-labels-idx1-ubyte")));
  }
  const auto noted = [&](const std::string& line) {
    const Outcome o = run(line);
    EXPECT_EQ(o.code, 0) << o.err;
    EXPECT_NE(o.err.find("note: 1 of 3 labels has no picture: 0\n"), std::string::npos) << o.err;
  };
  noted("train --out letters_run --data letters --model tiny --batch 8 --steps 1 --sample-every 0");
  const std::string tail = " --count 100 --steps 1 --classifier kept.safetensors";
  noted("evaluate --model letters_run --data letters" + tail);
  std::filesystem::remove(at("kept.safetensors"));
  refused("evaluate --model letters_run --data letters --count 1000 --classifier kept.safetensors",
          {"too few pictures of class"});
  std::string labels = get("letters/t10k-labels-idx1-ubyte");
  labels.back() = 77;
  put("letters/t10k-labels-idx1-ubyte", labels);
  refused("evaluate --model letters_run --data letters" + tail,
          {"the test split has a class \"77\"", "which the train split has not"});
  EXPECT_FALSE(std::filesystem::exists(at("kept.safetensors")));
}

}  // namespace
}  // namespace sfumato::apps

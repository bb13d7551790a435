// `sfumato evaluate`.
#include <cstdlib>
#include <nlohmann/json.hpp>

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
  EXPECT_GT(j.at("classifier_accuracy").get<double>(), 70);
  EXPECT_EQ(j.at("count"), 100);
  const double floor = j.at("floor").get<double>();
  EXPECT_GT(floor, 0);
  ASSERT_EQ(j.at("rows").size(), 3u);  // real, guidance 1, guidance 2
  EXPECT_EQ(j.at("rows")[0].at("frechet_distance"), floor);
  for (int i : {1, 2}) {
    const io::Json& row = j.at("rows")[i];
    EXPECT_EQ(row.at("guidance"), i);
    EXPECT_GE(row.at("agreement").get<double>(), 0);
    EXPECT_LE(row.at("agreement").get<double>(), 100);
    EXPECT_GT(row.at("frechet_distance").get<double>(), floor);  // three steps of training
    EXPECT_DOUBLE_EQ(row.at("of_floor").get<double>(),
                     row.at("frechet_distance").get<double>() / floor);
  }
  // The classifier is kept, and says the same.
  const std::string kept = get("classifier.safetensors");
  EXPECT_EQ(done(std::string(kCommand) + " --json").out, first.out);
  EXPECT_EQ(get("classifier.safetensors"), kept);
  const Outcome text = done(std::string(kCommand) + " --guidance 3");
  EXPECT_NE(text.out.find("guidance 3"), std::string::npos) << text.out;
  EXPECT_EQ(text.out.find("guidance 1"), std::string::npos) << text.out;
}

TEST_F(Evaluate, LikelihoodInBits) {
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

  refused("evaluate --model nowhere --data data", {"nowhere"});
  refused("evaluate --model run --data run", {"run"});
  refused("evaluate --model run --data data --count 1000 --classifier classifier.safetensors",
          {"--count 1000", "too few pictures of class"});
  put("classifier.safetensors", "not weights");
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

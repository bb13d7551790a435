// `sfumato lab`: each lab at a small share of its size, and what is said of a command line that makes no sense.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tensor/io/image.h"
#include "tensor/io/json.h"
#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

class Labs : public AppTest {
 protected:
  Labs() {
    put_digits("data", {.count = 400});
    for (const char* part : {"images-idx3-ubyte", "labels-idx1-ubyte"})
      put(std::string("data/t10k-") + part, get(std::string("data/train-") + part));
  }

  // Runs a lab twice, and expects the same table, as JSON, Markdown and text, with a picture.
  io::Json table(const std::string& lab, double share) const {
    const std::string line = fmt::format(
        "lab {} --quick --share {} --data data --size 12 --seed 3 --classifier "
        "classifier.safetensors --out ",
        lab, share);
    const Outcome outcome = run(line + "first");
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    run(line + "second");
    EXPECT_EQ(get("first/table.json"), get("second/table.json"));
    EXPECT_EQ(get("first/picture.png"), get("second/picture.png"));
    EXPECT_EQ(get("first/table.md"), get("second/table.md"));
    const io::Json j = io::parse_json(get("first/table.json"), "table.json");
    EXPECT_EQ(j.at("lab"), lab);
    EXPECT_GT(j.at("rows").size(), 1u);
    for (const io::Json& row : j.at("rows")) EXPECT_EQ(row.size(), j.at("columns").size());
    const std::string first = j.at("columns")[0];
    EXPECT_NE(outcome.out.find(first), std::string::npos) << outcome.out;
    EXPECT_NE(get("first/table.md").find("| " + first + " |"), std::string::npos);
    // The picture has as many rows as the table says: 12 pixels three times as large, and a gap of 2.
    EXPECT_EQ(io::read_image(at("first/picture.png")).dim(0),
              2 + 38 * static_cast<std::int64_t>(j.at("picture").size()));
    return j;
  }
};

TEST_F(Labs, Vae) {
  const io::Json j = table("vae", 0.002);
  ASSERT_EQ(j.at("rows").size(), 5u);
  const double real = j.at("rows")[0][5];  // at the floor, but for the draw
  EXPECT_GT(real, 0.4);
  EXPECT_LT(real, 2.5);
}

TEST_F(Labs, OneStep) {
  if (kSanitized) GTEST_SKIP() << "the loops are run by tests/diffusion/training_test.cpp";
  const io::Json j = table("one-step", 0.002);
  const io::Json& mean = j.at("rows")[1];
  EXPECT_LT(mean[7].get<double>(),
            0.01);  // the class mean is as far from itself as bytes are exact
  EXPECT_GT(mean[8].get<double>(), 0.05);
}

TEST_F(Labs, Memory) {
  const io::Json j = table("memory", 0.002);
  ASSERT_EQ(j.at("rows").size(), 2u);  // sets of 10 and 100: the data has 400
  EXPECT_EQ(j.at("rows")[1][0], 100);
}

TEST_F(Labs, Bugs) {
  if (kSanitized) GTEST_SKIP() << "ten short trainings";
  const io::Json j = table("bugs", 0.004);
  EXPECT_EQ(j.at("rows").size(), 13u);
  EXPECT_EQ(j.at("findings").size(), 10u);
}

TEST_F(Labs, Elbo) {
  const io::Json j = table("elbo", 0.002);
  ASSERT_EQ(j.at("rows").size(), 3u);
  for (const io::Json& row : j.at("rows")) {
    double sum = 0;
    for (std::size_t i = 1; i <= 6; ++i) sum += row[i].get<double>();
    EXPECT_NEAR(row[7].get<double>(), sum, 0.01);
  }
}

TEST_F(Labs, BadInput) {
  refused("lab", {"expected the name of a lab", "one-step"});
  refused("lab nothing", {"there is no lab \"nothing\"", "vae"});
  refused("lab vae --data data --size 10", {"--size", "multiples of 4", "10"});
  refused("lab vae --data nowhere", {"nowhere"});
  refused("lab vae --share 0", {"--share"}, 2);
}

}  // namespace
}  // namespace sfumato::apps

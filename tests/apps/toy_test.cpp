// `sfumato toy`: its files, its table, and what is said of a command line that makes no sense.
#include <fmt/format.h>

#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

class Toy : public AppTest {};

const char* const kFiles[] = {"samples.svg", "score.svg", "trajectories.svg", "error.svg"};

TEST_F(Toy, PicturesAndATable) {
  const std::string line = "toy --sampler heun,ddpm --steps 5 --count 30 --out ";
  const Outcome first = done(line + "a --threads 1"), second = done(line + "b --threads 3");
  EXPECT_EQ(first.out, second.out);
  for (const char* word : {"heun", "ddpm", "evaluations", "slope", "The exact denoiser"})
    EXPECT_NE(first.out.find(word), std::string::npos) << first.out;
  done(line + "c --seed 1");
  for (const std::string file : kFiles) {
    const std::string svg = get("a/" + file);
    EXPECT_EQ(svg.substr(0, 5), "<svg ") << file;
    EXPECT_NE(svg.find("prefers-color-scheme:dark"), std::string::npos) << file;
    EXPECT_EQ(svg.find("nan"), std::string::npos) << file;
    EXPECT_EQ(svg.substr(svg.size() - 7), "</svg>\n") << file;
    EXPECT_TRUE(svg == get("b/" + file)) << file << " depends on the threads";
    EXPECT_FALSE(svg == get("c/" + file)) << file << " does not depend on the seed";
  }
  // 30 points of data; of ddpm as well.
  const std::string samples = get("a/samples.svg");
  std::size_t dots = 0;
  for (std::size_t at = 0; (at = samples.find("h0", at)) != std::string::npos; ++at) ++dots;
  EXPECT_EQ(dots, 90u);
}

TEST_F(Toy, TrainsWhereNothingExactIsKnown) {
  const std::string line = "toy --data moons --train 3 --sampler euler --steps 2 --count 8 --out ";
  const Outcome first = done(line + "a --threads 1");
  EXPECT_NE(first.out.find("after 3 steps of training"), std::string::npos) << first.out;
  EXPECT_EQ(first.out, done(line + "b --threads 3").out);
  for (const std::string file : kFiles) EXPECT_TRUE(get("a/" + file) == get("b/" + file)) << file;
}

TEST_F(Toy, EverySamplerAndSchedule) {
  std::string names = "ddim";
  for (const char* name : {"ddpm", "euler_ancestral", "dpm2", "dpmpp_3m", "dpmpp_2m_sde", "lms",
                           "plms", "deis", "unipc", "sa_solver", "edm", "restart", "dopri5"})
    names += fmt::format(",{}", name);
  const Outcome all = done("toy --count 3 --sampler " + names);
  EXPECT_NE(all.out.find("dopri5"), std::string::npos) << all.out;
  for (const char* schedule : {"cosine", "karras", "flow", "laplace"})
    done(fmt::format("toy --data gaussian --sampler euler --count 3 --schedule {}", schedule));
  for (const char* spacing : {"leading", "trailing", "linspace", "log_snr", "shifted"})
    done(fmt::format("toy --data checkerboard --sampler heun --count 3 --spacing {}", spacing));
}

TEST_F(Toy, BadInput) {
  put("file", "a file");
  refused("toy --data square", {"--data", "'square'", "checkerboard"}, 2);
  refused("toy --sampler euler,oiler", {"--sampler", "got 'oiler'", "euler"}, 2);
  refused("toy --sampler euler,", {"--sampler", "got ''"}, 2);
  refused("toy --sampler euler,heun,euler", {"--sampler", "euler twice"});
  refused("toy --steps 1000", {"--steps", "999"}, 2);
  refused("toy --count 0", {"--count"}, 2);
  refused("toy --train 0", {"--train"}, 2);
  refused("toy --schedule flow --prediction eps", {"zero terminal SNR", "eps"});
  refused("toy --schedule flow --spacing karras", {"spacing karras", "trailing"});
  refused("toy --count 3 --out file", {"[file]", "cannot create the directory"});
}

}  // namespace
}  // namespace sfumato::apps

// `sfumato sample`: every kind of file, every kind of model.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "diffusion/coupling.h"
#include "diffusion/eval/classifier.h"
#include "diffusion/guidance.h"
#include "diffusion/loss.h"
#include "diffusion/scheduler_config.h"
#include "diffusion/times.h"
#include "nn/checkpoint.h"
#include "tensor/io/image.h"
#include "tensor/io/npy.h"
#include "tensor/rng.h"
#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

struct Gif {
  int width, height, frames;
};

// Walks through the blocks of a GIF; frames is -1 when they do not end where they should.
Gif read_gif(const std::string& bytes) {
  const auto byte = [&](std::size_t i) {
    return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0;
  };
  const auto colours = [&](std::size_t flags) {
    return byte(flags) & 0x80 ? std::size_t{6} << (byte(flags) & 7) : 0;
  };
  Gif gif{byte(6) | byte(7) << 8, byte(8) | byte(9) << 8, 0};
  std::size_t at = 13 + colours(10);
  while (at < bytes.size() && byte(at) != 0x3B) {
    if (byte(at) == 0x2C) {
      ++gif.frames;
      at += 10 + colours(at + 9) + 1;
    } else if (byte(at) == 0x21) {
      at += 2;
    } else {
      return {0, 0, -1};
    }
    while (at < bytes.size() && byte(at) != 0) at += byte(at) + 1;
    ++at;
  }
  if (at + 1 != bytes.size()) gif.frames = -1;
  return gif;
}

class Sample : public AppTest {
 protected:
  std::vector<std::string> names(std::string_view folder) const {
    std::vector<std::string> all;
    for (const auto& entry : fs::directory_iterator(at(folder)))
      all.push_back(entry.path().filename().string());
    std::sort(all.begin(), all.end());
    return all;
  }
  // Pictures of noise, as a folder of PNG files.
  void put_pictures(const std::string& folder, int count, std::int64_t channels) const {
    fs::create_directories(at(folder));
    for (int i = 0; i < count; ++i) {
      Tensor picture({8, 12, channels}, DType::u8);
      const Tensor noise = Rng(i, Purpose::noise).uniform(picture.shape());
      for (std::int64_t j = 0; j < picture.size(); ++j)
        picture.data<std::uint8_t>()[j] = static_cast<std::uint8_t>(255 * noise.data<float>()[j]);
      io::write_png(at(fmt::format("{}/{}.png", folder, i)), picture);
    }
  }
};

const std::string kRun = "sample --model run --steps 3 ";

TEST_F(Sample, Files) {
  put_run();
  // A column a label: enlarged by 5, gaps of 2, a header of 42.
  const Outcome grid = done(kRun + "--out grid.png --count 6");
  EXPECT_EQ(grid.out,
            "6 pictures (ddim, 3 steps, guidance 2; --guidance 1 for none) in grid.png\n");
  EXPECT_EQ(io::read_image(at("grid.png")).shape(), (Shape{3 * 62 + 2 + 42, 2 * 62 + 2, 1}));
  done(kRun + "--out sevens.png --labels 1 --count 9");  // one label: rows of 8, no header
  EXPECT_EQ(io::read_image(at("sevens.png")).shape(), (Shape{2 * 62 + 2, 8 * 62 + 2, 1}));
  done(kRun + "--out default.png");  // 8 of each
  EXPECT_EQ(io::read_image(at("default.png")).shape(), (Shape{8 * 62 + 2 + 42, 2 * 62 + 2, 1}));

  done(kRun + "--out film.gif --count 2");
  EXPECT_TRUE(get("film.gif").starts_with("GIF89a"));
  const Gif gif = read_gif(get("film.gif"));
  EXPECT_EQ(gif.frames, 4);  // what it thought after each step, and the result
  EXPECT_EQ(gif.width, 2 * 62 + 2);
  EXPECT_EQ(gif.height, 62 + 2 + 42);

  fs::create_directories(at("film"));
  done(kRun + "--out film/step_%03d.png --count 2");
  EXPECT_EQ(names("film"), (std::vector<std::string>{"step_000.png", "step_001.png", "step_002.png",
                                                     "step_003.png"}));
  EXPECT_EQ(io::read_image(at("film/step_003.png")).shape(), (Shape{62 + 2 + 42, 2 * 62 + 2, 1}));
  done(kRun + "--out film/%d.png --count 2");
  EXPECT_TRUE(fs::exists(at("film/0.png")));

  done(kRun + "--out raw.npy --count 5");
  const Tensor raw = io::read_npy(at("raw.npy"));
  EXPECT_EQ(raw.shape(), (Shape{5, 12, 12}));
  EXPECT_EQ(raw.dtype(), DType::u8);

  done(kRun + "--out single --labels 1,0 --count 5");
  EXPECT_EQ(names("single"), (std::vector<std::string>{"00000_1.png", "00001_0.png", "00002_1.png",
                                                       "00003_0.png", "00004_1.png"}));
  EXPECT_EQ(io::read_image(at("single/00004_1.png")).shape(), (Shape{12, 12, 1}));
  done(kRun + "--out all --labels all --count 20");
  EXPECT_EQ(names("all").size(), 20u);
  EXPECT_EQ(names("all").back(), "00019_1.png");
  EXPECT_EQ(temporaries(), std::vector<std::string>());
}

// Pictures are the same whatever the file: single ones are those of the array.
TEST_F(Sample, SinglePicturesAreThoseOfTheArray) {
  put_run();
  done(kRun + "--out raw.npy --count 3");
  done(kRun + "--out single --count 3");
  const Tensor raw = io::read_npy(at("raw.npy"));
  const char* files[] = {"single/00000_0.png", "single/00001_1.png", "single/00002_0.png"};
  for (std::int64_t i = 0; i < 3; ++i) {
    const Tensor picture = io::read_image(at(files[i]));
    EXPECT_EQ(std::memcmp(picture.raw(), raw.slice(i, i + 1).raw(), picture.bytes()), 0) << i;
  }
}

TEST_F(Sample, TheSeedDecides) {
  put_run();
  for (const char* sampler : {"", " --sampler ddpm", " --eta 1", " --guidance 1"}) {
    auto draw = [&](const std::string& more) {
      const char* count = more.find("--count") == std::string::npos ? " --count 6" : "";
      done(kRun + "--out x.npy" + count + sampler + more);
      return get("x.npy");
    };
    const std::string one = draw(" --seed 4 --threads 1");
    EXPECT_EQ(draw(" --seed 4 --threads 1"), one) << sampler;
    EXPECT_EQ(draw(" --seed 4 --threads 2"), one) << sampler;
    EXPECT_EQ(draw(" --seed 4 --threads 3"), one) << sampler;
    EXPECT_NE(draw(" --seed 5 --threads 1"), one) << sampler;
    // Nor does it matter how many are drawn at a time, or in all.
    for (const char* batch : {"1", "4", "5"})
      EXPECT_EQ(draw(fmt::format(" --seed 4 --threads 2 --batch {}", batch)), one) << sampler;
    const std::string more = draw(" --seed 4 --count 9");
    const std::size_t header = one.size() - 6 * 12 * 12;
    EXPECT_EQ(more.substr(header, 6 * 12 * 12), one.substr(header)) << sampler;
  }
  // The default of ddpm is all of the 1000 steps; of ddim, 20.
  const Outcome ddpm = done("sample --model run --sampler ddpm --count 1 --out z.npy");
  EXPECT_NE(ddpm.out.find("(ddpm, 1000 steps"), std::string::npos) << ddpm.out;
  const Outcome ddim = done("sample --model run --count 1 --out z.npy");
  EXPECT_NE(ddim.out.find("(ddim, 20 steps"), std::string::npos) << ddim.out;
}

// Whatever the library can do, the help lists and the command line takes.
TEST_F(Sample, GuidanceByEveryMethodAndByAnEarlierModel) {
  put_run();
  refused(kRun + "--guide earlier --out x.npy", {"--guide earlier", "run/earlier"});
  done("train --out long --data data --model tiny --batch 8 --steps 8 --checkpoint-every 0.0001");
  const auto draw = [&](const std::string& options) {
    done("sample --model long --steps 3 --count 2 --out x.npy" + options);
    return get("x.npy");
  };
  std::set<std::string> seen = {draw("")};
  for (const diffusion::Guidance* method : diffusion::Guidance::all)
    for (const char* guide : {"", " --guide earlier"})
      if (!method->by_classifier)
        seen.insert(draw(fmt::format(" --guidance-method {} --guidance {}{}", method->name,
                                     std::min(3.0, 0.9 * method->most), guide)));
  EXPECT_EQ(seen.size(), 1 + 2 * (std::size(diffusion::Guidance::all) - 1));
  EXPECT_EQ(draw(" --guide long/earlier"), draw(" --guide earlier"));
  EXPECT_EQ(draw(" --guide long"), draw(" --guidance 1"));  // its own answer
  refused("sample --model long --guide data --out x.npy", {"data"});
  refused("sample --model long --guidance-method cfgpp --sampler heun --out x.npy",
          {"cfgpp", "heun"});
  // The interval is a method's, or said.
  EXPECT_EQ(draw(" --guidance 3 --guidance-from 0.28 --guidance-to 2.9"),
            draw(" --guidance 3 --guidance-method interval"));
  EXPECT_EQ(draw(" --guidance 3 --guidance-to 1e-9"), draw(" --guidance 1"));
  refused("sample --model long --guidance-from 3 --guidance-method interval --out x.npy",
          {"acts nowhere: expected --guidance-from 3 below --guidance-to 2.9"});
  refused("sample --model long --guidance-method cfgpp --guidance 3 --out x.npy",
          {"cfgpp takes a scale in 0..1, got 3"});
  refused("sample --model long --guidance-method interval --guidance 1 --out x.npy",
          {"guidance 1 is none", "--guidance-method"});
  refused("sample --model long --guidance 1 --guidance-from 2 --out x.npy", {"guidance 1 is none"});
  refused("sample --model long --sampler heun --eta 0.5 --out x.npy", {"eta = 0.5", "heun"});
  refused("sample --model long --sampler heun --variance fixed_large --out x.npy",
          {"variance fixed_large: expected the sampler ddpm, got heun"});
  refused("sample --model long --sampler restart --restart --out x.npy", {"restarts by itself"});
  EXPECT_EQ(draw(" --sampler ddpm --variance fixed_small"), draw(" --sampler ddpm"));
  EXPECT_NE(draw(" --sampler ddpm --variance fixed_large"), draw(" --sampler ddpm"));
  refused("sample --model long --guidance-method none --out x.npy",
          {"--guidance-method", "cfg_zero"}, 2);
}

TEST_F(Sample, GuidanceByAClassifier) {
  put_run();
  const std::string by = kRun + "--guide classifier ", file = "--classifier c.safetensors ";
  // Of the run's data none is kept yet. (The cache is the test's own.)
  const Setting cache{.environment = {{"XDG_CACHE_HOME", at("cache").string()}}};
  refused(by + "--out x.npy", {"no classifier of the run's data yet", "evaluate --model run"}, 1,
          cache);
  refused(kRun + "--guidance-method classifier --out x.npy", {"needs a classifier"});
  refused(by + file + "--out x.npy", {"c.safetensors"});
  const auto put_classifier = [&](const char* name, std::int64_t classes) {
    eval::Classifier classifier(1, classes);
    nn::save_parameters(classifier.params(), classifier.params().flat_values(), at(name));
  };
  put_classifier("c.safetensors", 2);
  const auto draw = [&](const std::string& options) {
    done(by + file + "--out x.npy " + options);
    return get("x.npy");
  };
  const std::string led = draw("--count 3 --guidance 50");
  EXPECT_EQ(draw("--count 3 --guidance 50 --batch 2 --threads 2"), led);
  done(kRun + "--guidance 1 --count 3 --out plain.npy");
  EXPECT_EQ(draw("--count 3 --guidance 0"), get("plain.npy"));
  EXPECT_NE(led, get("plain.npy"));
  refused(by + file + "--guidance-method apg --out x.npy",
          {"a classifier guides by the method classifier, got apg"});
  refused(by + file + "--negative 0 --out x.npy", {"no negative or second class"});
  refused(kRun + "--guide run --classifier c.safetensors --out x.npy",
          {"--classifier guides with --guide classifier, got --guide run"});
  refused(by + "--classifier run/unet/diffusion_pytorch_model.safetensors --out x.npy",
          {"expected the weights of a classifier"});
  // A run without labels is led to a class all the same.
  Tensor grey({8, 12, 12}, DType::u8);
  for (std::int64_t i = 0; i < grey.size(); ++i)
    grey.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(37 * i);
  io::write_npy(at("grey.npy"), grey);
  done("train --out free --data grey.npy --model tiny --batch 4 --steps 2");
  done("sample --model free --guide classifier " + file +
       "--labels 1,0 --count 4 --steps 3 --guidance 20 --out two");
  EXPECT_TRUE(fs::exists(at("two/00000_1.png")));
  refused("sample --model free --guide classifier " + file + "--labels 2 --out x.npy",
          {"--labels: expected all, or some of 0..1"});
  refused("sample --model free --labels 1 --out x.npy", {"the model is unconditional"});
  put_classifier("ten.safetensors", 10);
  refused(by + "--classifier ten.safetensors --out x.npy",
          {"knows 10 classes", "the model draws 2 of 1"});
}

TEST_F(Sample, DrawnAgainUntilRead) {
  put_run();
  eval::Classifier classifier(1, 2);
  nn::save_parameters(classifier.params(), classifier.params().flat_values(), at("c.safetensors"));
  const std::string tries = kRun + "--count 6 --reader c.safetensors --tries ";
  const Outcome once = done(tries + "1 --out once.npy"), more = done(tries + "8 --out more");
  done(kRun + "--count 6 --out plain.npy");
  EXPECT_EQ(get("once.npy"), get("plain.npy"));
  EXPECT_NE(once.out.find("0 drawn again"), std::string::npos) << once.out;
  EXPECT_NE(once.out.find("read as another class after one try"), std::string::npos) << once.out;
  const Outcome read = done(kRun + "--count 6 --reader c.safetensors --out read.npy");
  EXPECT_EQ(read.out.substr(0, read.out.find('\n')), once.out.substr(0, once.out.find('\n')));
  EXPECT_NE(more.out.find("drawn again"), std::string::npos) << more.out;
  refused(tries + "2 --out x.gif", {"steps cannot be shown"});
  const Setting cache{.environment = {{"XDG_CACHE_HOME", at("cache").string()}}};
  refused(kRun + "--tries 2 --out x.npy", {"no classifier of the run's data yet", "--reader FILE"},
          1, cache);
}

TEST_F(Sample, HelpListsEveryRow) {
  const std::string sample = done("sample --help").out, train = done("train --help").out;
  const auto expect = [](const std::string& help, std::string_view name) {
    EXPECT_NE(help.find(fmt::format("{} (", name)), std::string::npos) << name << "\n" << help;
  };
  put_run();
  for (const auto* row : diffusion::Sampler::all) {
    expect(sample, row->name);
    const std::string drawn = done(kRun + fmt::format("--out x.npy --sampler {}", row->name)).out;
    EXPECT_NE(drawn.find(fmt::format("({}, 3 steps", row->name)), std::string::npos) << drawn;
  }
  for (const auto* row : diffusion::Prediction::all) expect(train, row->name);
  for (const auto* row : diffusion::BetaSchedule::all) expect(train, row->name);
  for (const auto* row : diffusion::Guidance::all) expect(sample, row->name);
  for (const auto* row : diffusion::LossFunction::all) expect(train, row->name);
  for (const auto* row : diffusion::LossWeight::all) expect(train, row->name);
  for (const auto* row : diffusion::TimeDistribution::all) expect(train, row->name);
  for (const auto* row : diffusion::Coupling::all) expect(train, row->name);
}

// Classes by name; and at another size than the pictures of training.
TEST_F(Sample, ClassesByNameAndOtherSizes) {
  put_pictures("data/cat", 6, 1);
  put_pictures("data/10", 5, 1);
  put_pictures("data/9", 5, 1);
  done("train --out run --data data --model tiny --batch 8 --steps 2");  // 9, 10, cat
  const auto draw = [&](const std::string& labels) {
    done(kRun + "--out x.npy --count 2 --labels " + labels);
    return get("x.npy");
  };
  EXPECT_EQ(draw("cat"), draw("cat,cat"));
  EXPECT_NE(draw("cat"), draw("9"));
  EXPECT_NE(draw("10"), draw("9"));
  done(kRun + "--out named --labels 10,cat --count 2");
  EXPECT_EQ(names("named"), (std::vector<std::string>{"00000_1.png", "00001_2.png"}));
  refused(kRun + "--out x.npy --labels 1", {"--labels", "\"9\", \"10\", \"cat\"", "got \"1\""});
  refused(kRun + "--out x.npy --labels dog", {"--labels", "\"cat\"", "got \"dog\""});
  done(kRun + "--out x.npy --count 2 --size 16");
  EXPECT_EQ(io::read_npy(at("x.npy")).shape(), (Shape{2, 16, 16}));
  done(kRun + "--out x.npy --count 2 --size 8,20");
  EXPECT_EQ(io::read_npy(at("x.npy")).shape(), (Shape{2, 8, 20}));
}

TEST_F(Sample, ColourFromAFolderOfClasses) {
  put_pictures("data/cat", 6, 3);
  put_pictures("data/dog", 5, 3);
  const Outcome o = done("train --out run --data data --model tiny --batch 8 --steps 2");
  EXPECT_NE(o.out.find("11 pictures 8x12x3 in 2 classes"), std::string::npos) << o.out;
  EXPECT_EQ(io::read_image(at("run/samples/final.png")).dim(2), 3);
  done(kRun + "--out raw.npy --count 3");
  EXPECT_EQ(io::read_npy(at("raw.npy")).shape(), (Shape{3, 8, 12, 3}));
  done(kRun + "--out x.png --count 2");
  EXPECT_EQ(io::read_image(at("x.png")).shape(), (Shape{5 * 8 + 4 + 42, 2 * (5 * 12 + 2) + 2, 3}));
  done(kRun + "--out x.gif --count 2");
  EXPECT_EQ(read_gif(get("x.gif")).frames, 4);
}

TEST_F(Sample, UnconditionalFromAFolderOrAnArray) {
  put_pictures("data", 6, 1);
  done("train --out run --data data --model tiny --batch 8 --steps 2");
  const Outcome o = done(kRun + "--out single --count 3");
  EXPECT_EQ(o.out, "3 pictures (ddim, 3 steps) in single\n");
  EXPECT_EQ(names("single"), (std::vector<std::string>{"00000.png", "00001.png", "00002.png"}));
  done(kRun + "--out x.png");  // 64 of them
  EXPECT_EQ(io::read_image(at("x.png")).shape(), (Shape{8 * 42 + 2, 8 * 62 + 2, 1}));

  const auto ramp = [](const Shape& shape) {
    Tensor t(shape, DType::u8);
    std::iota(t.data<std::uint8_t>(), t.data<std::uint8_t>() + t.size(), std::uint8_t{0});
    return t;
  };
  io::write_npy(at("a.npy"), ramp({9, 8, 8}));
  const Outcome a = done("train --out a --data a.npy --model tiny --batch 8 --steps 2");
  EXPECT_NE(a.out.find("9 pictures 8x8x1, "), std::string::npos) << a.out;
  done("sample --model a --steps 1 --count 2 --out a_out.npy");
  EXPECT_EQ(io::read_npy(at("a_out.npy")).shape(), (Shape{2, 8, 8}));
  // With labels beside it.
  io::write_npy(at("b.npy"), ramp({4, 8, 8, 3}));
  io::write_npy(at("b_labels.npy"), Tensor::from<std::int64_t>({4}, {2, 0, 2, 0}));
  const Outcome b = run("train --out b --data b.npy --model tiny --batch 8 --steps 2");
  EXPECT_EQ(b.code, 0);
  EXPECT_EQ(b.err, "note: 1 of 3 labels has no picture: 1\n");
  EXPECT_NE(b.out.find("4 pictures 8x8x3 in 3 classes"), std::string::npos) << b.out;
  // The class without a picture is in no grid.
  EXPECT_EQ(io::read_image(at("b/samples/final.png")).dim(1), 2 * (8 * 8 + 2) + 2);
}

TEST_F(Sample, FoldersFromDiffusers) {
  const std::string golden = SFUMATO_SOURCE_DIR "/tests/golden/";
  // Without a scheduler it says what it assumed, and goes on.
  const Outcome o = run("sample --model " + golden + "grey28 --count 2 --steps 2 --out x.npy");
  EXPECT_EQ(o.code, 0);
  EXPECT_NE(o.err.find("no scheduler_config.json"), std::string::npos) << o.err;
  EXPECT_EQ(io::read_npy(at("x.npy")).shape(), (Shape{2, 28, 28}));
  // Files at the root, old key names.
  EXPECT_EQ(run("sample --model " + golden + "legacy --count 1 --steps 1 --out y").code, 0);
  // A null label that is not the last one: classes are the others.
  EXPECT_EQ(
      run("sample --model " + golden + "class_labels --null-label 1 --count 5 --steps 1 --out z")
          .code,
      0);
  EXPECT_EQ(names("z"), (std::vector<std::string>{"00000_0.png", "00001_2.png", "00002_3.png",
                                                  "00003_4.png", "00004_0.png"}));
}

}  // namespace
}  // namespace sfumato::apps

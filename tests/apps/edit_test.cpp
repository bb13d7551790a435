// `sfumato edit`: every edit, what it keeps, and what it refuses.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tensor/io/image.h"
#include "tensor/io/npy.h"
#include "tensor/rng.h"
#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

Tensor put_picture(const fs::path& path, const Shape& shape) {
  Tensor picture(shape, DType::u8);
  const Tensor noise = Rng(1, Purpose::noise).uniform(shape);
  for (std::int64_t i = 0; i < picture.size(); ++i)
    picture.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(255 * noise.data<float>()[i]);
  io::write_png(path, picture);
  return picture;
}

// The right half is white.
void put_mask(const fs::path& path, std::int64_t size) {
  Tensor mask({size, size, 1}, DType::u8);
  for (std::int64_t i = 0; i < mask.size(); ++i)
    mask.data<std::uint8_t>()[i] = i % size < size / 2 ? 0 : 255;
  io::write_png(path, mask);
}

std::string edit(const std::string& what) { return "edit " + what + " --model run --steps 3 "; }

class EditApp : public AppTest {
 protected:
  // A run of 12 x 12 digits of two classes, a picture and a mask of its size.
  void put_all() {
    put_run();
    picture = put_picture(at("in.png"), {12, 12, 1});
    put_picture(at("to.png"), {12, 12, 1});
    put_mask(at("mask.png"), 12);
  }
  Tensor picture;
};

const std::string kMasked = "--in in.png --mask mask.png ";

TEST_F(EditApp, MasksKeepKnownPixels) {
  put_all();
  for (const std::string& line :
       {edit("inpaint") + kMasked, edit("repaint") + "--jump-length 1 --jump-samples 2 " + kMasked,
        edit("inpaint") + "--sampler dpmpp_2m --guidance 1 " + kMasked}) {
    done(line + "--out out.png --labels 1");
    const Tensor out = io::read_image(at("out.png"));
    ASSERT_EQ(out.shape(), picture.shape());
    std::int64_t changed = 0;
    for (std::int64_t i = 0; i < out.size(); ++i) {
      const int a = out.data<std::uint8_t>()[i], b = picture.data<std::uint8_t>()[i];
      if (i % 12 < 6) {
        EXPECT_EQ(a, b) << i;
      } else {
        changed += a != b;
      }
    }
    EXPECT_GT(changed, 20);
  }
  done(edit("outpaint") + "--in in.png --size 20,24 --at 3,9 --labels 0 --out wide.png");
  const Tensor wide = io::read_image(at("wide.png"));
  ASSERT_EQ(wide.shape(), (Shape{20, 24, 1}));
  for (std::int64_t i = 0; i < 144; ++i)
    EXPECT_EQ(wide.data<std::uint8_t>()[(3 + i / 12) * 24 + 9 + i % 12],
              picture.data<std::uint8_t>()[i]);
}

TEST_F(EditApp, EndsOfTheRange) {
  put_all();
  done(edit("img2img") + "--in in.png --strength 0 --labels 0 --out same.png");
  EXPECT_EQ(get("same.png"), get("in.png"));
  done(edit("img2img") + "--in in.png --strength 1 --count 3 --out new.npy");
  done("sample --model run --steps 3 --count 3 --out sampled.npy");
  EXPECT_EQ(get("new.npy"), get("sampled.npy"));
  done(edit("interpolate") + "--seed 1 --to-seed 2 --from-label 1 --count 3 --out between.npy");
  done(
      "sample --model run --steps 3 --labels 1 --clip off --guidance 1 --count 1 --seed 1 --out "
      "end.npy");
  const Tensor between = io::read_npy(at("between.npy")), end = io::read_npy(at("end.npy"));
  ASSERT_EQ(between.shape(), (Shape{3, 12, 12}));
  for (std::int64_t i = 0; i < 144; ++i)
    EXPECT_NEAR(between.data<std::uint8_t>()[i], end.data<std::uint8_t>()[i], 1);
}

TEST_F(EditApp, NeitherBatchNorThreadsNorCountChangesAPicture) {
  put_all();
  for (const std::string& line :
       {edit("inpaint") + kMasked, edit("repaint") + "--jump-length 1 " + kMasked,
        edit("img2img") + "--in in.png ", edit("invert") + "--in in.png --from-label 0 ",
        edit("variations") + "--in in.png --from-label 0 ",
        edit("outpaint") + "--size 16 --in in.png --negative 0 --labels 1 ",
        edit("interpolate") + "--in in.png --to to.png --from-label 0 --to-label 1 "}) {
    const bool ends = line.starts_with("edit interpolate");  // whose count decides what is between
    done(line + "--count 3 --out a.npy");
    done(line + "--count 3 --out b.npy --batch 2 --threads 1");
    EXPECT_EQ(get("a.npy"), get("b.npy")) << line;
    if (ends) continue;
    done(line + "--count 1 --out c.npy");
    const Tensor a = io::read_npy(at("a.npy")), c = io::read_npy(at("c.npy"));
    for (std::int64_t i = 0; i < c.size(); ++i)
      ASSERT_EQ(a.data<std::uint8_t>()[i], c.data<std::uint8_t>()[i]) << line;
  }
}

// The options of a drawing are those of `sample`: each changes the picture.
TEST_F(EditApp, DrawsAsSampleDoes) {
  put_all();
  const auto drawn = [&](const std::string& more) {
    done(edit("outpaint") + "--size 12,24 --labels 1 --out x.npy " + more);
    return get("x.npy");
  };
  const std::string plain = drawn("--guidance 2");
  for (const char* more :
       {"--guidance 2 --spacing karras", "--guidance 2 --spacing leading", "--guidance 2 --eta 1",
        "--guidance-method rescale", "--guidance 2 --negative 0", "--guidance 2 --sampler heun"})
    EXPECT_NE(drawn(more), plain) << more;
  refused(edit("repaint") + kMasked + "--eta 1 --out x.png", {"repaint has no --eta"});
  refused(edit("inpaint") + kMasked + "--guide nowhere --out x.png", {"nowhere"});
}

TEST_F(EditApp, Files) {
  put_all();
  EXPECT_EQ(done(edit("invert") + "--in in.png --from-label 1 --out all.png").out,
            "2 pictures (invert, 3 steps) in all.png\n");  // of each class
  done(edit("interpolate") + "--seed 1 --to-seed 2 --from-label 1 --out film.gif");
  EXPECT_TRUE(get("film.gif").starts_with("GIF89a"));
  done(edit("variations") + "--in in.png --from-label 1 --labels 1 --count 2 --out single");
  EXPECT_EQ(io::read_image(at("single/00001_1.png")).shape(), (Shape{12, 12, 1}));
  done(edit("outpaint") + "--size 16 --labels 0 --count 2 --out step_%02d.png");
  EXPECT_EQ(io::read_image(at("step_01.png")).shape(), (Shape{16, 16, 1}));
  done("sample --model run --steps 2 --labels 0 --mix 1 --mix-share 0.3 --negative 1 --out m.png");
}

TEST_F(EditApp, Refusals) {
  put_all();
  put_picture(at("colour.png"), {12, 12, 3});
  put_picture(at("large.png"), {16, 12, 1});
  put_mask(at("small.png"), 8);
  io::write_png(at("black.png"), Tensor::zeros({12, 12, 1}, DType::u8));
  put("text.png", "no picture");
  const std::string to = " --out out.png";
  const std::vector<std::pair<std::string, std::vector<std::string>>> lines = {
      {"blur", {"expected one of inpaint, repaint", "blur"}},
      {"inpaint --in in.png", {"inpaint: expected --mask, got none"}},
      {"inpaint --mask mask.png", {"inpaint: expected --in, got none"}},
      {"inpaint --in in.png --mask none.png", {"none.png"}},
      {"inpaint --in in.png --mask small.png", {"small.png", "grey, 12 x 12", "grey, 8 x 8"}},
      {"inpaint --in in.png --mask colour.png", {"colour.png", "grey, 12 x 12", "RGB, 12 x 12"}},
      {"inpaint --in in.png --mask black.png", {"white pixels", "black"}},
      {"inpaint --in colour.png --mask mask.png", {"colour.png", "grey, 12 x 12", "RGB"}},
      {"img2img --in large.png", {"large.png", "grey, 12 x 12", "16 x 12"}},
      {"img2img --in text.png", {"text.png"}},
      {"img2img --in in.png --labels 5", {"--labels", "5"}},
      {"img2img --in in.png --negative x", {"--negative: expected one of", "x"}},
      {"img2img --in in.png --mask mask.png", {"img2img has no --mask, which belongs to inpaint"}},
      {"invert --in in.png",
       {"--from-label: expected a class, the model's pictures have one; got none"}},
      {"invert --in in.png --from-label 0 --restart", {"invert has no --restart"}},
      {"invert --in in.png --from-label 9", {"--from-label: expected one of", "9"}},
      {"repaint --in in.png --mask mask.png --steps 5", {"jumps shorter than the walk", "10"}},
      {"interpolate --in in.png --from-label 0", {"two pictures", "two seeds"}},
      {"outpaint --size 8", {"at least", "12x12", "8x8"}},
      {"outpaint --size 16 --in in.png --at 5,0", {"row 5", "16x16"}},
      {"outpaint --size 16 --in in.png --at 5", {"--at: expected ROW,COLUMN, got 5"}},
      {"inpaint --in in.png --mask mask.png --steps 100000", {"steps"}},
  };
  for (const auto& [line, fragments] : lines) {
    const Outcome o = run("edit " + line + " --model run" + to);
    EXPECT_EQ(o.code, 1) << line;
    EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << o.err;
    for (const std::string& fragment : fragments)
      EXPECT_NE(o.err.find(fragment), std::string::npos) << line << ": " << o.err;
    EXPECT_FALSE(fs::exists(at("out.png"))) << line;
  }
  refused("edit img2img --in in.png --model run --strength 1.5" + to, {"--strength", "1.5"}, 2);
}

}  // namespace
}  // namespace sfumato::apps

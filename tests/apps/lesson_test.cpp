// `sfumato lesson`: the page of scripts/lesson around a run. (scripts/test_lesson opens one in a browser.)
#include <fmt/format.h>
#include <zlib.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "diffusion/pipeline.h"
#include "tensor/f16.h"
#include "tensor/io/json.h"
#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

constexpr const char* kPage =
    "<p>a</p>\n<!--DATA-->\n<script data-file=\"old\">x</script>\n<!--END OF DATA-->\n<p>b</p>\n";

std::string from_base64(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<std::uint32_t>(kDigits.find(c));
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 255);
  }
  return bytes;
}

std::string gunzipped(const std::string& packed) {
  std::string bytes(1 << 24, '\0');
  z_stream z{};
  EXPECT_EQ(inflateInit2(&z, 15 + 16), Z_OK);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  z.avail_in = static_cast<uInt>(packed.size());
  z.next_out = reinterpret_cast<Bytef*>(bytes.data());
  z.avail_out = static_cast<uInt>(bytes.size());
  EXPECT_EQ(inflate(&z, Z_FINISH), Z_STREAM_END);
  bytes.resize(z.total_out);
  inflateEnd(&z);
  return bytes;
}

class LessonPage : public AppTest {
 protected:
  LessonPage() {
    put("build-wasm/lesson.html", kPage);
    put_digits("data", {.count = 120});
    done("train --out run --data data --model tiny --batch 8 --steps 2");
  }

  // Unpacks the files of a page into a folder, and returns their names with their bytes.
  std::map<std::string, std::string> files(const std::string& page) const {
    std::map<std::string, std::string> found;
    const std::string text = get(page), begin = "data-file=\"", middle = "\">", end = "</script>";
    for (std::size_t at = 0; (at = text.find(begin, at)) != std::string::npos;) {
      at += begin.size();
      const std::size_t name = text.find(middle, at), stop = text.find(end, name);
      const std::string packed = text.substr(name + 2, stop - name - 2);
      found[text.substr(at, name - at)] = gunzipped(from_base64(packed));
      at = stop;
    }
    for (const auto& [name, bytes] : found) put("unpacked/" + name, bytes);
    return found;
  }
};

TEST_F(LessonPage, HoldsTheRun) {
  EXPECT_NE(done("lesson --model run --out mine.html").out.find("mine.html"), std::string::npos);
  const std::string text = get("mine.html");
  EXPECT_TRUE(text.starts_with("<p>a</p>\n<!--DATA-->\n"));
  EXPECT_TRUE(text.ends_with("\n<!--END OF DATA-->\n<p>b</p>\n"));
  EXPECT_EQ(text.find("data-file=\"old\""), std::string::npos);
  const auto found = files("mine.html");
  EXPECT_EQ(found.at("pictures/shape.json"), "[120,12,12,1]");
  EXPECT_EQ(found.at("pictures/images.u8").size(), 120u * 144);
  EXPECT_EQ(get("data/train-labels-idx1-ubyte").substr(8), found.at("pictures/labels.u8"));
  const io::Json run = io::parse_json(found.at("run.json"), "run.json");
  EXPECT_EQ(run.at("name"), "run");
  EXPECT_EQ(run.at("step").size(), metrics("run").size());
  EXPECT_EQ(run.at("loss").size(), run.at("step").size());
  const diffusion::Pipeline mine = diffusion::load_pipeline(at("run")),
                            page = diffusion::load_pipeline(at("unpacked/model"));
  EXPECT_EQ(page.class_names, mine.class_names);
  EXPECT_EQ(page.conditioning().null_label, mine.conditioning().null_label);
  ASSERT_EQ(page.params->count(), mine.params->count());
  for (std::size_t i = 0; i < mine.params->entries().size(); ++i) {
    const Tensor &a = mine.params->entries()[i].var.value(),
                 &b = page.params->entries()[i].var.value();
    for (std::int64_t k = 0; k < a.size(); ++k)
      ASSERT_EQ(b.data<float>()[k], from_f16(to_f16(a.data<float>()[k])));
  }
}

// A page is a template as well; the pictures are the test split where there is one, at most 6000 of 28 x 28.
TEST_F(LessonPage, OfAPageAndOtherData) {
  put_digits("more", {.count = 130});
  for (const char* part : {"images-idx3-ubyte", "labels-idx1-ubyte"})
    put(std::string("more/t10k-") + part, get(std::string("data/train-") + part));
  done("lesson --model run --out first.html");
  fs::remove_all(at("build-wasm"));
  done("lesson --model run/ --data more --page first.html --out second.html");
  EXPECT_EQ(get("first.html"), get("second.html"));
  put("run/metrics.jsonl", get("run/metrics.jsonl") + "{\"step\": 3, \"lo");
  done("lesson --model run --page first.html --out second.html");
  EXPECT_EQ(get("first.html"), get("second.html"));
}

TEST_F(LessonPage, WhatIsRefused) {
  refused("lesson --model nothing --out a.html", {"nothing"});
  refused("lesson --model run --out none/a.html", {"none"});
  refused("lesson --model run --out a.html --data data/nothing", {"data/nothing"});
  refused("lesson --model run --out a.html --page data/train-labels-idx1-ubyte",
          {"expected a page of scripts/lesson"});
  refused("lesson --model run --out a.html --data mnist", {"28x28x1", "12x12x1", "--data"});
  put_digits("few", {.count = 40});
  refused("lesson --model run --out a.html --data few", {"at least 100 pictures, got 40"});
  done(
      "train --out flow --data data --model tiny --batch 8 --steps 1 --schedule flow --prediction "
      "flow");
  refused("lesson --model flow --out a.html", {"flow", "expected DDPM's process"});
  const std::string golden = SFUMATO_SOURCE_DIR "/tests/golden/class_timestep";
  refused("lesson --model " + golden + " --out a.html", {"cannot run this network"});
  refused("lesson --model run --out a.html --page no/page", {"no/page", "run scripts/lesson"});
  EXPECT_FALSE(fs::exists(at("a.html")));
  EXPECT_TRUE(temporaries().empty());
}

}  // namespace
}  // namespace sfumato::apps

// What a folder keeps besides the weights: names of classes, and a size that is not known.
#include "diffusion/pipeline.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "nn/checkpoint.h"
#include "tests/temporary_folder.h"

namespace sfumato::diffusion {
namespace {

namespace fs = std::filesystem;

class PipelineFolder : public ::testing::Test {
 protected:
  static Pipeline make(std::int64_t rows, std::optional<std::int64_t> null_label) {
    nn::UNetConfig c;
    c.block_out_channels = {4};
    c.down_attention = c.up_attention = {false};
    c.add_attention = false;
    c.norm_num_groups = 2;
    if (rows > 0)
      c.conditioning = {
          .kind = nn::Conditioning::Kind::table, .rows = rows, .null_label = null_label};
    return make_pipeline(c, {}, 1);
  }
  Pipeline saved_and_loaded(const Pipeline& p) const {
    save_pipeline_config(dir_, p);
    save_pipeline_weights(dir_, p, p.params->flat_values());
    return load_pipeline(dir_);
  }
  // What loading says about weights with this metadata.
  std::string message(const std::map<std::string, std::string>& metadata) const {
    const Pipeline p = make(3, 2);
    save_pipeline_config(dir_, p);
    nn::save_parameters(*p.params, p.params->flat_values(),
                        dir_ / "unet/diffusion_pytorch_model.safetensors", metadata);
    try {
      load_pipeline(dir_);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }

  TemporaryFolder folder_;
  const fs::path& dir_ = folder_.path();
};

using Names = std::vector<std::string>;

TEST_F(PipelineFolder, ClassNamesComeBack) {
  Pipeline p = make(4, 3);
  EXPECT_EQ(saved_and_loaded(p).class_names, Names{});
  p.class_names = {"a", "", "c\"\n\u00e9"};
  EXPECT_EQ(saved_and_loaded(p).class_names, p.class_names);
  p.class_names = {"a"};  // rows that no picture taught
  EXPECT_EQ(saved_and_loaded(p).class_names, (Names{"a", "", ""}));
  p.class_names = {std::string(255, '\xff'), "b", "c"};  // a folder's name need not be UTF-8
  EXPECT_EQ(saved_and_loaded(p).class_names[0].size(), 3 * 255u);
  p.class_names = {"a", "b", "c", "d"};
  EXPECT_EQ(saved_and_loaded(p).class_names, (Names{"a", "b", "c"}));
  p.class_names = {"a", "b", "c", "d", "e"};
  EXPECT_THROW(saved_and_loaded(p), Error);
  p.class_names = {std::string(257, 'x')};
  EXPECT_THROW(saved_and_loaded(p), Error);
  Pipeline unconditional = make(0, {});  // trained on pictures that have classes
  unconditional.class_names = {"a", "b"};
  EXPECT_EQ(saved_and_loaded(unconditional).class_names, Names{});
  Pipeline first = make(3, 0);  // the null label's row has a name too, the empty one
  first.class_names = {"", "a", "b"};
  EXPECT_EQ(saved_and_loaded(first).class_names, first.class_names);
}

TEST_F(PipelineFolder, ClassNamesAreChecked) {
  const auto names = [&](const std::string& text) {
    return message({{"sfumato.null_label", "2"}, {"sfumato.class_names", text}});
  };
  EXPECT_EQ(names(R"(["a", "b"])"), "");
  const std::string long_name = "[\"a\", \"" + std::string(769, 'x') + "\"]";
  for (const std::string& text :
       {std::string(""), std::string("a"), std::string("{}"), std::string("[]"),
        std::string(R"(["a"])"), std::string(R"(["a", "b", "c"])"), std::string(R"(["a", 1])"),
        std::string(R"(["a", null])"), std::string(R"(["a", ["b"]])"), std::string("[\"a\", \"b\""),
        long_name}) {
    EXPECT_NE(names(text).find("diffusion_pytorch_model.safetensors"), std::string::npos) << text;
  }
  EXPECT_NE(names(R"(["a"])").find("expected 2 names"), std::string::npos);
  for (const char* label : {"3", "-1", "", "1x", "99999999999999999999"})
    EXPECT_NE(message({{"sfumato.null_label", label}}).find("row of the class table"),
              std::string::npos)
        << label;
}

TEST_F(PipelineFolder, UnknownSizeStaysUnknown) {
  Pipeline p = make(0, {});
  ASSERT_EQ(p.network->sample_size, io::Extent{});
  const Pipeline again = saved_and_loaded(p);
  EXPECT_EQ(again.network->sample_size, io::Extent{});
  EXPECT_TRUE(io::read_json(dir_ / "unet/config.json").at("sample_size").is_null());
  io::Json config = io::read_json(dir_ / "unet/config.json");
  config.erase("sample_size");
  config["freq_shift"] = 1e300;  // no whole number of 64 bits
  EXPECT_EQ(read_sample_size(io::JsonObject(config, "c")), io::Extent{});
  const nn::UNetConfig parsed = nn::parse_unet_config(io::JsonObject(config, "c"));
  EXPECT_EQ(nn::to_json(parsed).at("freq_shift"), 1e300);
}

}  // namespace
}  // namespace sfumato::diffusion

// Every row of the tables of variants is found by name and by file, and does its work. A new row is tested by this.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "diffusion/coupling.h"
#include "diffusion/gaussian.h"
#include "diffusion/guidance.h"
#include "diffusion/loss.h"
#include "diffusion/names.h"
#include "diffusion/scheduler_file.h"
#include "diffusion/times.h"
#include "tensor/io/file.h"
#include "tensor/rng.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::max_difference;

template <class Table>
void expect_names(const Table& rows) {
  std::set<std::string_view> names;
  for (const auto* row : rows) {
    EXPECT_TRUE(names.insert(row->name).second) << row->name << " is there twice";
    EXPECT_FALSE(row->help.empty()) << row->name;
    EXPECT_EQ(find_row(rows, row->name), row);
    // A class may have several samplers, which its settings tell apart.
    ASSERT_NE(find_row(rows, other_name(*row)), nullptr);
    EXPECT_EQ(other_name(*find_row(rows, other_name(*row))), other_name(*row));
  }
  EXPECT_EQ(find_row(rows, "no such name"), nullptr);
}

TEST(Rows, AreFoundByEitherName) {
  expect_names(BetaSchedule::all);
  expect_names(Prediction::all);
  expect_names(Sampler::all);
  expect_names(LossFunction::all);
  expect_names(LossWeight::all);
  expect_names(TimeDistribution::all);
  expect_names(Coupling::all);
  expect_names(Guidance::all);
}

// What to_json writes, parse_scheduler_config reads: without a note, and with the row.
TEST(Rows, GoThroughTheFile) {
  const auto read = [](const SchedulerConfig& config) {
    const SchedulerFile file = parse_scheduler_config({to_json(config), "s.json"});
    EXPECT_EQ(file.problem, "");
    EXPECT_EQ(file.notes, std::vector<std::string>());
    return file.config;
  };
  for (const BetaSchedule* schedule : BetaSchedule::all)
    EXPECT_EQ(read({.beta_schedule = *schedule, .prediction_type = Prediction::v}).beta_schedule,
              *schedule);
  for (const Prediction* prediction : Prediction::all)
    EXPECT_EQ(read({.prediction_type = *prediction}).prediction_type, *prediction);
  for (const Sampler* sampler : Sampler::all) {
    EXPECT_EQ(read({.sampler = *sampler}).sampler, *sampler);
    for (const Spacing spacing : {Spacing::linspace, Spacing::trailing, Spacing::karras,
                                  Spacing::log_snr, Spacing::shifted})
      EXPECT_EQ(read({.sampler = *sampler, .timestep_spacing = spacing}).timestep_spacing, spacing)
          << sampler->name;
  }
}

// Every sampler on every schedule with every prediction brings back data that are one point.
TEST(Rows, OfAllThreeTablesWorkTogether) {
  const std::vector<Gaussian> point = {{.mean = {0.5, -0.3}, .covariance = {1e-8, 1e-8}}};
  const Tensor x_T = Rng(61, Purpose::sample_start).normal({8, 2}, DType::f64);
  Tensor want({8, 2}, DType::f64);
  for (std::int64_t i = 0; i < 16; ++i) want.data<double>()[i] = point[0].mean[i % 2];
  for (const BetaSchedule* schedule : BetaSchedule::all)
    for (const Prediction* prediction : Prediction::all)
      for (const Sampler* sampler : Sampler::all) {
        const SchedulerConfig config = {
            .sampler = *sampler, .beta_schedule = *schedule, .prediction_type = *prediction};
        if (!combination_problem(config).empty()) continue;
        const Schedule s = make_schedule(config);
        const Tensor x =
            sample(s, {.config = config, .steps = 10}, exact_denoiser(s, point, *prediction), x_T);
        // Some end at ᾱ_0, with its noise; PLMS extrapolates over the ends.
        const double left = sampler->ends_at_first_level ? 4 * s.level(0).noise() : 0;
        EXPECT_LT(max_difference(x, want), left + (*sampler == Sampler::plms ? 0.03 : 0.01))
            << schedule->name << " " << prediction->name << " " << sampler->name;
      }
}

// The sources of the library and the program.
std::vector<std::string> sources() {
  std::vector<std::string> texts;
  for (const char* folder : {"diffusion", "nn", "apps"})
    for (const auto& entry : std::filesystem::recursive_directory_iterator(
             std::filesystem::path(SFUMATO_SOURCE_DIR) / folder))
      if (const std::string type = entry.path().extension().string();
          type == ".cpp" || type == ".h")
        texts.push_back(io::read_file(entry.path(), std::size_t{1} << 22));
  return texts;
}

// Whether a text names a row, as Sampler::dpmpp_2m, and not only one whose name begins so.
bool names(const std::string& text, const std::string& row) {
  for (std::size_t at = 0; (at = text.find(row, at)) != std::string::npos; ++at)
    if (const char next = text[std::min(at + row.size(), text.size() - 1)];
        std::isalnum(static_cast<unsigned char>(next)) == 0 && next != '_')
      return true;
  return false;
}

// A sampler is one file, and its row there: no other source knows it (but for the two that are defaults).
TEST(Rows, OfSamplersAreNamedInOneFile) {
  const std::vector<std::string> all = sources();
  for (const Sampler* sampler : Sampler::all) {
    if (*sampler == Sampler::ddim || *sampler == Sampler::ddpm) continue;
    const std::string row = "Sampler::" + std::string(sampler->name);
    EXPECT_EQ(std::count_if(all.begin(), all.end(),
                            [&](const std::string& text) { return names(text, row); }),
              1)
        << sampler->name;
  }
}

TEST(Rows, AreInThePageOfSamplers) {
  const std::string page = io::read_file(
      std::filesystem::path(SFUMATO_SOURCE_DIR) / "docs/samplers.md", std::size_t{1} << 20);
  for (const Sampler* sampler : Sampler::all)
    EXPECT_NE(page.find("| [" + std::string(sampler->name) + "]("), std::string::npos)
        << sampler->name;
  for (const Guidance* method : Guidance::all)
    EXPECT_NE(page.find("| " + std::string(method->name) + " |"), std::string::npos)
        << method->name;
}

// A sampler of one's own is a function that nobody else need know of.
TEST(Rows, OfOnesOwnNeedNoTable) {
  const Sampler in_one_step = {
      .name = "in one step",
      .help = "",
      .default_steps = 1,
      .sample = [](const Chain& chain, Tensor x) { return chain.estimate(0, x).x0; }};
  const SchedulerConfig config = {.sampler = in_one_step, .prediction_type = Prediction::x0};
  const Tensor x = Tensor::full({2, 3}, 0.25);
  const Denoiser identity = [](const Tensor& xt, double) { return xt; };
  EXPECT_EQ(max_difference(sample(make_schedule(config), {.config = config}, identity, x), x), 0);
}

}  // namespace
}  // namespace sfumato::diffusion

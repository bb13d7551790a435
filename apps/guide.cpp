#include "apps/guide.h"

#include <filesystem>

#include "apps/notes.h"
#include "apps/run_folder.h"
#include "diffusion/generate.h"

namespace sfumato::apps {

namespace fs = std::filesystem;

std::optional<diffusion::Pipeline> load_guide(const std::string& guide, const std::string& model,
                                              const diffusion::Pipeline& pipeline, Device device,
                                              const nn::Precision& precision) {
  if (guide.empty()) return std::nullopt;
  const bool earlier = guide == "earlier";
  const fs::path dir = earlier ? fs::path(model) / kEarlierModel : fs::path(guide);
  std::error_code ignored;
  if (earlier && !fs::is_directory(dir, ignored))
    throw Error(
        model,
        "--guide earlier: expected a run that kept an earlier model, as runs do whose checkpoints "
        "(--checkpoint-every) fall between a quarter and half of the training; there is no " +
            dir.string());
  diffusion::Pipeline loaded = diffusion::load_pipeline(dir.string());
  diffusion::expect_guide(pipeline, loaded);
  nn::use(*loaded.params, device, precision);
  print_notes(loaded.notes);
  return loaded;
}

}  // namespace sfumato::apps

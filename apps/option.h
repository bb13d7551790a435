// What can be said of an option once: its key (with dashes, its flag), its help, and the values it may have. The command
// line (command_line.h), the record of a run and its reading (train_options.cpp) go by it.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tensor/io/image.h"

namespace sfumato::apps {

struct OptionInfo {
  const char* key;
  std::string help;
  const char* fixed = nullptr;  // why --resume cannot change it; null where it can
};

// The flag of an option: "lr_floor" -> "--lr-floor".
std::string flag_of(std::string_view key);

template <class T>
struct Range {
  T low, high;
};
using Reals = Range<double>;
using Integers = Range<std::int64_t>;

// A table of variants of the library, such as Prediction::all. Written by our name, read by that of diffusers too.
template <class Row>
using Choices = std::span<const Row* const>;

// What a text must be: `check` throws Error for anything else.
struct Syntax {
  void (*check)(std::string_view text);
};

inline constexpr Syntax kSize{[](std::string_view text) { io::parse_extent(text); }};
inline constexpr Syntax kBackground{[](std::string_view text) { io::parse_background(text); }};

// Options that several subcommands have.
inline const OptionInfo kSizeOption{"size",
                                    "N or H,W: crop each picture to this shape and resize it"};
inline const OptionInfo kBackgroundOption{
    "background", "Under transparent pixels: white, black, R,G,B or #RRGGBB; none: as stored"};
inline const OptionInfo kSpacingOption{
    "spacing", "How the noise levels of the steps are chosen (default: as the model says)"};
inline const OptionInfo kClipOption{
    "clip",
    "An estimate of x_0 outside the data's range: on (cut off, and "
    "the noise computed anew from it), diffusers (cut "
    "off, the network's noise kept), dynamic (as on, at the 99.5 % "
    "quantile of each picture, then scaled), off (default: on where the "
    "model's scheduler says clip_sample)"};
inline const OptionInfo kModelOption{"model",
                                     "Folder of a run, or any diffusers UNet2DModel folder"};
inline const OptionInfo kGuidanceMethodOption{"guidance_method",
                                              "How the two answers are put together; default cfg"};
inline const OptionInfo kGuideOption{
    "guide",
    "Guide away from this model's answer instead of the one without the label: a folder, or "
    "earlier: "
    "the run's own after a quarter of its training (autoguidance); or classifier: by the gradient "
    "of "
    "the classifier of `evaluate`, also for a model without labels"};
inline const OptionInfo kNegativeOption{
    "negative", "A class to be guided away from, instead of from 'no class'"};
inline const OptionInfo kPrecisionOption{"precision",
                                         "What the network computes in on a GPU; default f32"};
inline const OptionInfo kSeedOption{"seed", "Seed of the noise"};
inline constexpr Integers kSeeds{0, INT64_MAX}, kSteps{1, 100000};
inline constexpr Reals kGuidances{-100, 100}, kSigmas{0, 1e9};

}  // namespace sfumato::apps

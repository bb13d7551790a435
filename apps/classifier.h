// A small classifier of pictures, trained with this very library: the judge of `evaluate`. It also
// shows that nothing here is made for diffusion alone.
#pragma once
#include <filesystem>
#include <string>

#include "nn/layers.h"
#include "tensor/io/dataset.h"

namespace sfumato::apps {

// Five convolutions with group normalisation and SiLU, the mean over pixels, a linear layer.
class Classifier {
 public:
  Classifier(std::int64_t channels, std::int64_t classes);

  struct Output {
    Var features, logits;  // [N, 64], [N, classes]
  };
  // x [N,H,W,C] in [-1, 1]
  Output operator()(const Var& x) const;

  nn::Params& params() { return *params_; }
  std::int64_t channels() const { return conv_in_.weight.shape()[1]; }
  std::int64_t classes() const { return out_.weight.shape()[0]; }

 private:
  std::unique_ptr<nn::Params> params_;
  nn::Conv2d conv_in_, down1_, conv1_, down2_, conv2_;
  nn::GroupNorm norm1_, norm2_, norm3_, norm4_, norm_out_;
  nn::Linear out_;
};

// What a classifier says of u8 pictures [N,H,W,C].
struct Verdict {
  Tensor features;                    // f32 [N, 64]
  std::vector<std::int64_t> classes;  // the most likely one of each
};
Verdict judge(const Classifier& classifier, const Tensor& pictures);

// Trained on `data` with shifts of up to two pixels; a line of progress on a
// terminal.
Classifier train_classifier(const io::ImageDataset& data);

// From `file` if it is there, else trained on `data` and written there (nowhere if empty); what cannot be written is
// an Error only if `must_write`.
Classifier load_or_train_classifier(const std::filesystem::path& file, const io::ImageDataset& data,
                                    bool must_write);

// Where the classifier of this data is kept between runs: a name made from its pictures and labels,
// under $XDG_CACHE_HOME or ~/.cache. Empty where neither is known: it is then kept nowhere.
std::filesystem::path cached_classifier(const io::ImageDataset& data);

}  // namespace sfumato::apps

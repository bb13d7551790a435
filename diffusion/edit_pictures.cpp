#include "diffusion/edit_pictures.h"

#include <fmt/format.h>

#include <functional>
#include <utility>
#include <vector>

#include "autograd/var.h"
#include "diffusion/data/batches.h"
#include "diffusion/inversion.h"
#include "tensor/rng.h"

namespace sfumato::diffusion {
namespace {

constexpr std::uint8_t kWhite = 128;

void expect_picture(const char* op, const char* name, const Tensor& picture, const Shape& want) {
  if (!picture.defined() || picture.dtype() != DType::u8 || picture.shape() != want)
    throw Error(op,
                fmt::format("expected {} u8 {} (height, width, channels), as the model draws "
                            "them, got {}",
                            name, want.str(), picture.defined() ? picture.shape().str() : "none"));
}

// [H,W,C] of the pictures that the options ask for.
Shape one_picture(const Pipeline& model, const GenerateOptions& o) {
  const Shape all = picture_shape(model, o);
  return {all[1], all[2], all[3]};
}

// [H,W,C] -> [n,H,W,C], n times the same.
Tensor repeated(const Tensor& picture, std::int64_t n) {
  const Shape& s = picture.shape();
  const Tensor one = picture.reshape({1, s[0], s[1], s[2]});
  Tensor all({n, s[0], s[1], s[2]}, picture.kind());
  for (std::int64_t i = 0; i < n; ++i) all.slice(i, i + 1).copy_from(one);
  return all;
}

// What `walk` makes of each batch, as pictures.
Tensor drawn(const Pipeline& model, const GenerateOptions& o,
             const std::function<Tensor(const Drawing&)>& walk) {
  expect_drawable(model, o);
  Tensor pictures(picture_shape(model, o), DType::u8);
  draw(model, o, [&](const Drawing& d) {
    pictures.slice(d.begin, d.end).copy_from(data::to_bytes(walk(d)));
  });
  return pictures;
}

// A picture, and which of its pixels are kept: 1 in `kept`, u8 [H,W,C].
struct Keep {
  Tensor picture, kept;

  // For n pictures at a time.
  Known known(const Drawing& d) const {
    const std::int64_t n = d.end - d.begin;
    const Device device = d.x_T.device();
    return {repeated(data::to_signed(picture).to(device), n),
            repeated(kept.to(DType::f32).to(device), n)};
  }
  // The kept pixels, bit for bit.
  Tensor put_into(Tensor pictures) const {
    const std::int64_t size = picture.size();
    for (std::int64_t i = 0; i < pictures.size(); ++i)
      if (std::as_const(kept).data<std::uint8_t>()[i % size])
        pictures.data<std::uint8_t>()[i] = std::as_const(picture).data<std::uint8_t>()[i % size];
    return pictures;
  }
};

Keep keep_outside(const char* op, const Shape& shape, const Tensor& picture, const Tensor& mask) {
  expect_picture(op, "a picture", picture, shape);
  const Shape grey{shape[0], shape[1], 1};
  const bool flat = mask.defined() && mask.shape() == Shape{shape[0], shape[1]};
  expect_picture(op, "a mask", flat ? mask.reshape(grey) : mask, grey);
  Tensor kept(shape, DType::u8);
  bool any = false;
  for (std::int64_t i = 0; i < kept.size(); ++i) {
    const bool white = mask.data<std::uint8_t>()[i / shape[2]] >= kWhite;
    kept.data<std::uint8_t>()[i] = white ? 0 : 1;
    any = any || white;
  }
  if (!any)
    throw Error(op, "expected a mask with white pixels, which are drawn anew; all of it is black");
  return {picture, kept};
}

GenerateOptions by_ddim(const GenerateOptions& options) {
  GenerateOptions o = options;
  o.sampler = Sampler::ddim;
  o.eta = 0;
  o.clip = Clip::off;
  return o;
}

}  // namespace

Tensor inpaint(const Pipeline& model, const GenerateOptions& o, const Tensor& picture,
               const Tensor& mask) {
  const Keep keep = keep_outside("inpaint", one_picture(model, o), picture, mask);
  return keep.put_into(drawn(model, o, [&](const Drawing& d) {
    return inpaint(d.schedule, d.options, d.denoiser, keep.known(d), d.x_T);
  }));
}

Tensor repaint(const Pipeline& model, const GenerateOptions& o, const Tensor& picture,
               const Tensor& mask, const Jumps& jumps) {
  const Keep keep = keep_outside("repaint", one_picture(model, o), picture, mask);
  return keep.put_into(drawn(model, o, [&](const Drawing& d) {
    return repaint(d.schedule, d.options, d.denoiser, keep.known(d), d.x_T, jumps);
  }));
}

Tensor image_to_image(const Pipeline& model, const GenerateOptions& o, const Tensor& picture,
                      double strength) {
  expect_picture("image_to_image", "a picture", picture, one_picture(model, o));
  const Tensor x_0 = data::to_signed(picture);
  return drawn(model, o, [&](const Drawing& d) {
    return image_to_image(d.schedule, d.options, d.denoiser,
                          repeated(x_0.to(d.x_T.device()), d.end - d.begin), strength, d.x_T);
  });
}

Tensor outpaint(const Pipeline& model, const GenerateOptions& o, const Tensor& picture,
                std::int64_t top, std::int64_t left) {
  const Shape canvas = one_picture(model, o);
  const io::Extent window = model.network->sample_size;
  if (window.height < 1 || canvas[0] < window.height || canvas[1] < window.width)
    throw Error("outpaint", fmt::format("expected a canvas (--size) of at least the model's {}x{} "
                                        "pixels, got {}x{}",
                                        window.height, window.width, canvas[0], canvas[1]));
  Keep keep{Tensor::zeros(canvas, DType::u8), Tensor::zeros(canvas, DType::u8)};
  if (picture.defined()) {
    const std::int64_t h = picture.dim(0), w = picture.dim(1), C = canvas[2];
    expect_picture("outpaint", "a picture", picture, {h, w, C});
    if (top < 0 || left < 0 || top + h > canvas[0] || left + w > canvas[1])
      throw Error("outpaint",
                  fmt::format("a picture of {}x{} pixels at row {}, column {} does not fit on a "
                              "canvas of {}x{}",
                              h, w, top, left, canvas[0], canvas[1]));
    for (std::int64_t y = 0; y < h; ++y)
      for (std::int64_t i = 0; i < w * C; ++i) {
        const std::int64_t to = ((top + y) * canvas[1] + left) * C + i;
        keep.picture.data<std::uint8_t>()[to] = picture.data<std::uint8_t>()[y * w * C + i];
        keep.kept.data<std::uint8_t>()[to] = 1;
      }
  }
  const io::Extent stride{(window.height + 1) / 2, (window.width + 1) / 2};
  return keep.put_into(drawn(model, o, [&](const Drawing& d) {
    SampleOptions options = d.options;
    if (options.guide.away) options.guide.away = windowed(options.guide.away, window, stride);
    return inpaint(d.schedule, options, windowed(d.denoiser, window, stride), keep.known(d), d.x_T);
  }));
}

Tensor invert(const Pipeline& model, const GenerateOptions& options, const Tensor& picture,
              const Inverted& inverted) {
  GenerateOptions o = by_ddim(options);
  o.labels = {inverted.label};
  o.mix = {}, o.negative = {}, o.guide = nullptr, o.classifier = nullptr;
  o.guidance = 1, o.method = Guidance::cfg;
  expect_picture("invert", "a picture", picture, one_picture(model, o));
  const Tensor x_0 = data::to_signed(picture);
  Tensor noise;
  draw(model, o, [&](const Drawing& d) {
    SampleOptions walk = d.options;
    walk.config.sampler = Sampler::ddim;
    const double size =
        Path::variance_preserving.size(make_chain(d.schedule, walk, d.denoiser).levels.front());
    const Tensor x_T = invert(d.schedule, walk, d.denoiser, repeated(x_0.to(d.x_T.device()), 1),
                              inverted.refinements);
    noise = 1 / size * x_T;
  });
  return noise;
}

Tensor redraw(const Pipeline& model, const GenerateOptions& options, const Tensor& picture,
              const Inverted& inverted, double share) {
  if (!(share >= 0 && share <= 1))
    throw Error("redraw", fmt::format("expected a share of new noise in [0, 1], got {}", share));
  const GenerateOptions o = by_ddim(options);
  expect_drawable(model, o);
  const Shape shape = one_picture(model, o);
  const Tensor noise = invert(model, o, picture, inverted).reshape(shape);
  return drawn(model, o, [&](const Drawing& d) {
    const std::int64_t n = d.end - d.begin;
    const std::vector<double> shares(static_cast<std::size_t>(n), share);
    return sample(d.schedule, d.options, d.denoiser, slerp(repeated(noise, n), d.x_T, shares));
  });
}

Tensor interpolate(const Pipeline& model, const GenerateOptions& options, const End& from,
                   const End& to, std::int64_t count, std::int64_t refinements) {
  if (count < 2)
    throw Error("interpolate", fmt::format("expected at least 2 pictures, got {}", count));
  GenerateOptions o = by_ddim(options);
  o.mix = {};
  o.labels.assign(static_cast<std::size_t>(count), from.label);
  std::vector<double> shares;
  for (std::int64_t i = 0; i < count; ++i) {
    shares.push_back(static_cast<double>(i) / static_cast<double>(count - 1));
    if (to.label != from.label) o.mix.push_back({to.label, shares.back()});
  }
  const Shape shape = one_picture(model, o);
  const auto noise_of = [&](const End& end) {
    if (end.picture.defined())
      return invert(model, o, end.picture, {end.label, refinements}).reshape(shape);
    return Rng(end.seed, Purpose::sample_start, 0, model.params->kind().device).normal(shape);
  };
  expect_drawable(model, o);
  const Tensor a = noise_of(from), b = noise_of(to);
  return drawn(model, o, [&](const Drawing& d) {
    const std::int64_t n = d.end - d.begin;
    return sample(
        d.schedule, d.options, d.denoiser,
        slerp(repeated(a, n), repeated(b, n), {shares.begin() + d.begin, shares.begin() + d.end}));
  });
}

}  // namespace sfumato::diffusion

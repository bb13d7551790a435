// Edits as algorithms: of any data [N, ...], with any denoiser, over the chain of sampler.h. edit_pictures.h does the
// same to pictures with a trained model.
#pragma once
#include <cstdint>
#include <vector>

#include "diffusion/sampler.h"
#include "diffusion/schedule.h"
#include "tensor/io/image.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// x_0 where it is known: x0 and mask are of one shape, [N, ...] as x; the mask is 1 where x0 is known and 0 elsewhere.
struct Known {
  Tensor x0, mask;
};

// Inpainting by replacement, with any sampler (with dopri5, which walks picture by picture, N = 1). Score-based
// generative modeling (Song 2021), appendix I.2: the known part of x_t is drawn from q(x_t | x_0), and the network
// sees it beside the unknown part. Here each estimate's x̂_0 is the known x_0 where that is known, and its ε̂ is
// (x_t − a x_0) / σ, so that every sampler's own step keeps the known part of x_t on q(x_t | x_0): with DDIM one ε for
// all steps, with DDPM a new one. The unknown part does not know of the known one soon enough: RePaint below repairs it.
Tensor inpaint(const Schedule& schedule, const SampleOptions& options, const Denoiser& denoiser,
               const Known& known, const Tensor& x_T);

// How often RePaint (Lugmayr 2022) walks a part of the way again.
struct Jumps {
  std::int64_t length = 10;  // j: steps of noise in a jump
  std::int64_t samples =
      10;  // r: walks over each part, 1 for no jump: jump_n_sample of the paper's code
  std::int64_t single = 1;  // walks over each single step: its n_sample
};
// The times t of the walk, T − 1, ..., −1: neighbours differ by 1; where t rises, noise is added. After T of the paper's
// code (get_schedule_jump) a jump begins when a t divisible by `length` is reached, `samples` − 1 times, if it ends
// below T. Throws Error for T < 1, a number below 1, a jump that is not shorter than T, or more than 2^19 − 1 moves.
std::vector<std::int64_t> jump_schedule(std::int64_t T, const Jumps& jumps);

// RePaint, algorithm 1, over the chain's K steps, t = K − 1 − i. Each step of DDPM draws the known part of x_{t−1} from
// q(x_{t−1} | x_0) and the unknown part from the network; a jump adds noise, x_t = √(1 − β_t) x_{t−1} + √β_t ε, and
// the next walk down fits the two together. options.config.sampler and eta are ignored.
Tensor repaint(const Schedule& schedule, const SampleOptions& options, const Denoiser& denoiser,
               const Known& known, const Tensor& x_T, const Jumps& jumps = {});

// Image to image: SDEdit (Meng 2021), algorithm 1: noise is added to x_0 up to a level, and the sampler takes it
// away. Of the chain's K steps the last `strength` K (rounded) are walked: with strength 0 x_0 is returned, with all of
// them the walk begins with x_T alone, as `sample` does. Throws Error for a strength outside [0, 1], and for one that rounds to no step.
Tensor image_to_image(const Schedule& schedule, const SampleOptions& options,
                      const Denoiser& denoiser, const Tensor& x_0, double strength,
                      const Tensor& x_T);

// Between noises a and b, [N, ...], by row: sin((1 − s) θ) / sin θ a + sin(s θ) / sin θ b, where θ is the angle
// between them: of two vectors of one length all between have it too, as noise must. (Shoemake 1985.) `shares` has s
// for each row. Rows of one direction are added in a line.
Tensor slerp(const Tensor& a, const Tensor& b, const std::vector<double>& shares);

// A denoiser of canvases x_t [N,H,W,C] of which the network sees windows, `stride` pixels apart and the last ones
// flush with the canvas: where they overlap, their answers are averaged. MultiDiffusion (Bar-Tal 2023), eq. 3 to 5:
// outputs, x̂_0 and a step are linear in each other for one x_t, so this is the mean of the windows' steps, the
// least-squares fit to them. Throws Error for a canvas smaller than the window or a stride outside 1..window.
Denoiser windowed(const Denoiser& denoiser, const io::Extent& window, const io::Extent& stride);

}  // namespace sfumato::diffusion

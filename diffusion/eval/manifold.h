// Where drawn pictures lie among real ones, told by balls around features: does each of them look real, and is every kind of
// real picture drawn? Both sets have as many pictures for that, else one fills more of the space by its number alone.
#pragma once
#include "diffusion/eval/interval.h"
#include "diffusion/eval/products.h"

namespace sfumato::eval {

// The ball B(x) around each x of a set reaches to its k-th nearest neighbour in the set, which it does not hold.
// Precision and recall: Kynkäänniemi 2019, "Improved precision and recall metric for assessing generative models", eq. 1 and 2.
// Density and coverage: Naeem 2020, "Reliable fidelity and diversity metrics for generative models", eq. 3 and 4.
// Features f32 [N, D]; N more than the number of neighbours, else Error. Shares are in per cent and have Wilson's interval:
// over the drawn pictures in `precision` and `density`, over the real ones in `recall` and `coverage`, for these are the
// pictures that are counted; the other set is taken as given.
inline constexpr std::int64_t kBallNeighbours = 3;   // of precision and recall
inline constexpr std::int64_t kCoverNeighbours = 5;  // of density and coverage

// The squared radii of the balls.
std::vector<double> squared_radii(const Features& x, std::int64_t neighbours);

Estimate precision(const Tensor& drawn, const Tensor& real);  // y in some B(x): y drawn, x real
Estimate recall(const Tensor& drawn, const Tensor& real);     // x in some B(y)
// How many B(x) hold a y, over k, on average: no outlier's large ball counts for much, and more than 1 is possible.
Estimate density(const Tensor& drawn, const Tensor& real, std::int64_t resamples = kResamples);
Estimate coverage(const Tensor& drawn, const Tensor& real);  // some y in B(x)

}  // namespace sfumato::eval

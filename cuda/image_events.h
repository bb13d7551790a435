// Which event (phases.h) says that something of an image is done.
#pragma once
#include "cuda/divide.h"
#include "cuda/phases.h"

namespace sfumato::cuda {

// One event for each of n images of `pixels` pixels, or for several side by side where there are many.
class ImageEvents {
 public:
  ImageEvents(unsigned first, unsigned n, unsigned pixels)
      : first_(first), n_(n), pixels_(pixels), images_(n < kMost ? 1 : (n + kMost - 1) / kMost) {}

  unsigned count() const { return (n_ + images_ - 1) / images_; }
  __device__ unsigned of_image(unsigned image) const { return first_ + image / images_; }
  __device__ unsigned of_pixel(unsigned pixel) const { return of_image(pixel / pixels_); }

  // How many images an event is for, and how many of the tiles of `height` pixels have some of theirs.
  __device__ unsigned images(unsigned event) const { return end(event) - begin(event); }
  __device__ unsigned tiles(unsigned event, unsigned height) const {
    return (end(event) * pixels_ - 1) / height - begin(event) * pixels_ / height + 1;
  }

 private:
  static constexpr unsigned kMost = 1000;
  __device__ unsigned begin(unsigned event) const { return (event - first_) * images_; }
  __device__ unsigned end(unsigned event) const {
    const unsigned next = begin(event + 1);
    return next < n_ ? next : n_;
  }
  unsigned first_, n_;
  Divisor pixels_, images_;
};

}  // namespace sfumato::cuda

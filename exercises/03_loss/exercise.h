// Exercise 3: what you write in exercise.cpp.
#pragma once
#include <functional>
#include <vector>

#include "common/your_code.h"

using Picture = std::vector<double>;  // the pixels, one after the other

// A network: shown a noisy picture x_t and the time t, it says what the noise was.
using Network = std::function<Picture(Picture x_t, int t)>;

// Random numbers.
struct Random {
  std::function<int(int n)> integer;  // integer(n): 0, 1, ..., n−1, all equally likely
  std::function<Picture(std::size_t n)>
      normals;  // normals(n): n numbers ~ N(0, 1), new ones at each call
};

// The mean over all pixels of (a − b)². a and b have equally many.
double mean_squared_error(const Picture& a, const Picture& b);

// DDPM's loss for the picture x0: a random t, random noise, and how far the network's answer is from that noise.
// `alpha_bar` holds ᾱ_0, ..., ᾱ_{T−1}.
double loss(const Picture& x0, const std::vector<double>& alpha_bar, const Network& network,
            const Random& random);

// What the picture was, if x_t is known and the noise in it was eps.
Picture picture_from_noise(const Picture& x_t, double alpha_bar, const Picture& eps);

// Group normalisation as a part of a block's work: a block takes some groups of one image, so that no sum leaves it.
#pragma once
#include <numeric>

#include "cuda/block.h"
#include "cuda/channels.h"

namespace sfumato::cuda {

inline constexpr unsigned kNormThreads = 256, kNormWarps = kNormThreads / 32;

// How the groups of an image, each of `hw` pixels, are shared among blocks: a block takes a band of `width` channels, whole
// groups side by side. Each of its threads takes a chunk of channels, of one pixel out of `rows`.
template <class T>
struct GroupShare {
  static constexpr unsigned kChunk = kOfChunk<T>;
  // A band's channels of a pixel fill at least 64 bytes, if there are as many.
  static constexpr unsigned kLeastWidth = 4 * kChunk, kMostGroups = kLeastWidth;
  unsigned hw, channels;
  Divisor per_group;  // channels
  unsigned width;
  Divisor across;    // threads side by side
  unsigned rows;     // of threads
  double of_number;  // 1 / m for the m numbers of a group

  explicit GroupShare(const kernels::GroupNorm& s)
      : hw(narrow(s.hw)),
        channels(narrow(s.c)),
        per_group(narrow(s.groups ? s.c / s.groups : 1)),
        width(width_of(channels, per_group)),
        across(std::max(1u, std::min(kNormThreads, (width + kChunk - 1) / kChunk))),
        rows(std::max(1u, std::min(hw, kNormThreads / across))),
        of_number(1 / std::max(1.0, static_cast<double>(hw) * per_group)) {}
  constexpr unsigned blocks_of_image() const { return (channels + width - 1) / width; }

 private:
  // Whole groups, and where an image's channels are whole chunks, whole chunks.
  static unsigned width_of(unsigned channels, unsigned per_group) {
    const unsigned unit = channels % kChunk == 0 ? std::lcm(per_group, kChunk) : per_group;
    const unsigned width = (kLeastWidth + unit - 1) / unit * unit;
    return std::max(1u, std::min(width, channels));
  }
};

template <class T>
struct BandSums {
  // What each thread has summed, number i of its chunk at [i][thread]. Rows begin in other banks, so that threads that read
  // different channels meet in none.
  Wide<T> of_threads[kOfChunk<T>][kNormThreads + 128 / sizeof(Wide<T>) / kOfChunk<T>];
  double of_channels[kNormThreads * kOfChunk<T>];
  // Groups eight apart, which threads side by side read where a group is one channel, lie in different banks.
  __device__ double& of_group(int which, unsigned g) { return of_groups[which][g ^ g / 8]; }

 private:
  double of_groups[2][GroupShare<T>::kMostGroups];
};

// What the calling thread's block takes: channels [begin, end) of an image.
template <class T>
struct Band {
  static constexpr unsigned kChunk = kOfChunk<T>;
  GroupShare<T> share;
  unsigned image, begin, end;

  // Block `block` of those of all images.
  __device__ Band(const GroupShare<T>& share, unsigned block)
      : share(share),
        image(block / share.blocks_of_image()),
        begin(block % share.blocks_of_image() * share.width),
        end(begin + share.width < share.channels ? begin + share.width : share.channels) {}

  __device__ unsigned groups() const { return (end - begin) / share.per_group; }
  // Group of the image, of group g of the band.
  __device__ index of_all(unsigned g) const {
    return static_cast<index>(image) * (share.channels / share.per_group) +
           begin / share.per_group + g;
  }

  // Where there are more chunks than threads, the band's threads take them in several rounds: f(first channel of the round).
  __device__ unsigned of_round() const { return share.across * kChunk; }
  template <class F>
  __device__ void each_round(const F& f) const {
    for (unsigned first = begin; first < end; first += of_round()) f(first);
  }
  // The first channel of the thread's chunk; or one from `end` on: it has none.
  __device__ unsigned chunk(unsigned first) const {
    return first + threadIdx.x % share.across * kChunk;
  }
  // Channel i of a chunk that begins with channel c; the last one again for one that is not there.
  __device__ unsigned channel(unsigned c, unsigned i) const {
    return c + i < end ? c + i : end - 1;
  }
  __device__ unsigned group(unsigned channel) const { return (channel - begin) / share.per_group; }
  // f(pixel) for each pixel that the thread takes of the chunk of channels from c on.
  template <class F>
  __device__ void each_pixel(unsigned c, const F& f) const {
    const unsigned row = threadIdx.x / share.across;
    if (row >= share.rows || c >= end) return;
    const index first = static_cast<index>(image) * share.hw;
    SFUMATO_UNROLL_BY(2)
    for (unsigned p = row; p < share.hw; p += share.rows) f(first + p);
  }

  // The rest is for all threads of the block. Sums are taken in a fixed order.

  // Sum `to` of the groups (+)= Σ of(channel, v), where v is Σ over pixels of a channel: `own` of all threads that take it. One
  // thread asks for a channel. `first`: of the round; the first one sets, others add.
  template <class F>
  __device__ void add_to_groups(BandSums<T>& s, int to, unsigned first,
                                const Wide<T> (&own)[kChunk], const F& of) const {
    sum_rows(s, own);
    const unsigned lane = threadIdx.x % 32,
                   after = first + of_round() < end ? first + of_round() : end;
    for (unsigned g = threadIdx.x / 32; g < groups(); g += kNormWarps) {
      const unsigned g_begin = begin + g * share.per_group, g_end = g_begin + share.per_group;
      double sum = 0;
      for (unsigned c = (g_begin > first ? g_begin : first) + lane; c < g_end && c < after; c += 32)
        sum += of(c, s.of_channels[c - first]);
      sum = warp_sum(sum);
      if (lane == 0) s.of_group(to, g) = first == begin ? sum : s.of_group(to, g) + sum;
    }
    __syncthreads();
  }

 private:
  // s.of_channels[i] = Σ over rows of threads, of channel i of a round: all threads add up some rows, then some of them these sums.
  __device__ void sum_rows(BandSums<T>& s, const Wide<T> (&own)[kChunk]) const {
    const unsigned width = of_round();
    if (threadIdx.x < share.rows * share.across)
      for (unsigned i = 0; i < kChunk; ++i) s.of_threads[i][threadIdx.x] = own[i];
    __syncthreads();
    const unsigned parts = width < kNormThreads ? kNormThreads / width : 1;
    for (unsigned at = threadIdx.x; at < parts * width; at += kNormThreads) {
      const unsigned part = at / share.across / kChunk, channel = at - part * width;
      double sum = 0;
      for (unsigned row = part; row < share.rows; row += parts)
        sum += static_cast<double>(
            s.of_threads[channel % kChunk][row * share.across + channel / kChunk]);
      s.of_channels[at] = sum;
    }
    __syncthreads();
    if (parts == 1) return;
    if (threadIdx.x < width) {
      double sum = s.of_channels[threadIdx.x];
      for (unsigned part = 1; part < parts; ++part)
        sum += s.of_channels[part * width + threadIdx.x];
      s.of_channels[threadIdx.x] = sum;
    }
    __syncthreads();
  }
};

// mean = Σ x / m,  var = Σ (x - mean)² / m,  rstd = 1 / √(var + eps), in two passes: E[x²] - E[x]² loses all its digits if the
// mean is large against the deviation. What a thread sums is in Wide<T>; sums of threads are in double.
template <class T>
struct NormStatistics {
  static constexpr unsigned kChunk = kOfChunk<T>;
  using Shared = BandSums<T>;
  GroupShare<T> share;
  double eps;
  Channels<const T> x;
  Wide<T>*mean, *rstd;
  bool in_chunks = x.in_chunks();

  __device__ void operator()(Shared& s, const Band<T>& band) const {
    band.each_round([&](unsigned first) { sum_powers<1>(s, band, first); });
    band.each_round([&](unsigned first) { sum_powers<2>(s, band, first); });
    const unsigned g = threadIdx.x;
    if (g >= band.groups()) return;
    mean[band.of_all(g)] = static_cast<Wide<T>>(s.of_group(0, g) * share.of_number);
    const auto variance = static_cast<Wide<T>>(s.of_group(1, g) * share.of_number + eps);
    rstd[band.of_all(g)] = 1 / std::sqrt(variance);
  }

 private:
  // Σ x, or given that, Σ (x - mean)².
  template <int kPower>
  __device__ void sum_powers(Shared& s, const Band<T>& band, unsigned first) const {
    const unsigned c = band.chunk(first);
    Wide<T> middle[kChunk] = {}, sums[kChunk] = {};
    if (kPower == 2)
      for (unsigned i = 0; i < kChunk; ++i)
        middle[i] =
            static_cast<Wide<T>>(s.of_group(0, band.group(band.channel(c, i))) * share.of_number);
    band.each_pixel(c, [&, strip = Strip<const T>(x, in_chunks, c, band.end)](index pixel) {
      const auto v = strip.load(pixel);
      SFUMATO_UNROLL
      for (unsigned i = 0; i < kChunk; ++i) {
        const Wide<T> d = v.of[i] - middle[i];
        sums[i] += kPower == 2 ? d * d : d;
      }
    });
    band.add_to_groups(s, kPower - 1, first, sums, [](unsigned, double sum) { return sum; });
  }
};

// u [pixels, c] itself.
template <class T>
struct Activations {
  static constexpr unsigned kChunk = kOfChunk<T>;
  GroupShare<T> share;
  Normalised<T> input;
  Channels<T> u;
  bool in_chunks = input.x.in_chunks() && u.in_chunks();

  __device__ void operator()(const Band<T>& band) const {
    band.each_round([&](unsigned first) {
      const unsigned c = band.chunk(first);
      typename Normalised<T>::OfChannel of_x[kChunk];
      SFUMATO_UNROLL
      for (unsigned i = 0; i < kChunk; ++i)
        of_x[i] = input.of_channel(band.image, band.channel(c, i));
      const Strip<const T> x_strip(input.x, in_chunks, c, band.end);
      const Strip<T> u_strip(u, in_chunks, c, band.end);
      band.each_pixel(c, [&](index pixel) {
        auto v = x_strip.load(pixel);
        SFUMATO_UNROLL
        for (unsigned i = 0; i < kChunk; ++i) v.of[i] = of_x[i](v.of[i]);
        u_strip.store(pixel, v);
      });
    });
  }
};

// With dz = dy du/dz:  dx = rstd (gamma dz - Σ gamma dz / m - xhat Σ gamma dz xhat / m) over the
// group. Of each channel, partial[image, 0, c] = Σ dz xhat and partial[image, 1, c] = Σ dz.
template <class T>
struct NormBackward {
  static constexpr unsigned kChunk = kOfChunk<T>;
  using Shared = BandSums<T>;
  GroupShare<T> share;
  Normalised<T> norm;
  Channels<const T> dy;
  Channels<T> dx;
  Channels<const T> add;
  double* partial;
  bool in_chunks = norm.x.in_chunks() && dy.in_chunks() && dx.in_chunks() && add.in_chunks();

  __device__ void operator()(Shared& s, const Band<T>& band) const {
    band.each_round([&](unsigned first) { sum(s, band, first); });
    band.each_round([&](unsigned first) {
      const unsigned c = band.chunk(first);
      const Chunks chunks(*this, band, c);
      Wide<T> mean_dz[kChunk], mean_dz_xhat[kChunk];
      SFUMATO_UNROLL
      for (unsigned i = 0; i < kChunk; ++i) {
        const unsigned g = band.group(band.channel(c, i));
        mean_dz_xhat[i] = static_cast<Wide<T>>(s.of_group(0, g) * share.of_number);
        mean_dz[i] = static_cast<Wide<T>>(s.of_group(1, g) * share.of_number);
      }
      const Strip<T> dx_strip(dx, in_chunks, c, band.end);
      const Strip<const T> add_strip(add, in_chunks, c, band.end);
      band.each_pixel(c, [&](index pixel) {
        auto d = add_strip.load(pixel);
        chunks.each(pixel, [&](unsigned i, Wide<T> xhat, Wide<T> dz) {
          const auto& of = chunks.of_x[i];
          d.of[i] += of.rstd * (of.gamma * dz - mean_dz[i] - xhat * mean_dz_xhat[i]);
        });
        dx_strip.store(pixel, d);
      });
    });
  }

 private:
  // The thread's chunk of x and dy.
  struct Chunks {
    typename Normalised<T>::OfChannel of_x[kChunk];
    Strip<const T> x, dy;
    __device__ Chunks(const NormBackward& n, const Band<T>& band, unsigned c)
        : x(n.norm.x, n.in_chunks, c, band.end), dy(n.dy, n.in_chunks, c, band.end) {
      SFUMATO_UNROLL
      for (unsigned i = 0; i < kChunk; ++i)
        of_x[i] = n.norm.of_channel(band.image, band.channel(c, i));
    }
    // f(i, xhat, dz) for the chunk's channels of a pixel.
    template <class F>
    __device__ void each(index pixel, const F& f) const {
      const auto of_pixel = x.load(pixel), gradients = dy.load(pixel);
      SFUMATO_UNROLL
      for (unsigned i = 0; i < kChunk; ++i) {
        const Wide<T> xhat = of_x[i].xhat(of_pixel.of[i]);
        f(i, xhat, gradients.of[i] * of_x[i].slope(xhat));
      }
    }
  };

  // Of the groups of the band, Σ gamma dz xhat and Σ gamma dz; and `partial`.
  __device__ void sum(Shared& s, const Band<T>& band, unsigned first) const {
    Wide<T> dz_xhat[kChunk] = {}, dz[kChunk] = {};
    const unsigned c = band.chunk(first);
    const Chunks chunks(*this, band, c);
    band.each_pixel(c, [&](index pixel) {
      chunks.each(pixel, [&](unsigned i, Wide<T> xhat, Wide<T> d) {
        dz_xhat[i] += d * xhat;
        dz[i] += d;
      });
    });
    double* const to = partial + static_cast<index>(band.image) * 2 * share.channels;
    band.add_to_groups(s, 0, first, dz_xhat, Weigh{norm.gamma, to});
    band.add_to_groups(s, 1, first, dz, Weigh{norm.gamma, to + share.channels});
  }
  // gamma v, of a channel; v is kept.
  struct Weigh {
    const Wide<T>* gamma;
    double* to;
    __device__ double operator()(unsigned channel, double v) const {
      to[channel] = v;
      return static_cast<double>(gamma[channel]) * v;
    }
  };
};

}  // namespace sfumato::cuda

// Exercise 13: what you write in exercise.cpp, and the pieces that you build with.
#pragma once
#include "common/your_code.h"
#include "nn/layers.h"

using sfumato::Var;

// 3x3 convolution, GroupNorm, GELU: [N,H,W,in] -> [N,H,W,out], or with stride 2 [N,H/2,W/2,out].
struct Conv {
  sfumato::nn::Conv2d conv;
  sfumato::nn::GroupNorm norm;
  Conv(const sfumato::nn::Scope& s, std::int64_t in, std::int64_t out, std::int64_t stride = 1);
  Var operator()(const Var& x) const { return gelu(norm(conv(x))); }
};

// Two of them, of stride 1: [N,H,W,in] -> [N,H,W,out].
struct ConvBlock {
  Conv first, second;
  ConvBlock(const sfumato::nn::Scope& s, std::int64_t in, std::int64_t out);
  Var operator()(const Var& x) const { return second(first(x)); }
};

// Halves the picture, then a ConvBlock: [N,H,W,in] -> [N,H/2,W/2,out].
struct DownBlock {
  Conv down;
  ConvBlock block;
  DownBlock(const sfumato::nn::Scope& s, std::int64_t in, std::int64_t out);
  Var operator()(const Var& x) const { return block(down(x)); }
};

// Doubles the picture, then a ConvBlock: [N,H,W,in] -> [N,2H,2W,out].
struct UpBlock {
  Conv up;
  ConvBlock block;
  UpBlock(const sfumato::nn::Scope& s, std::int64_t in, std::int64_t out);
  Var operator()(const Var& x) const { return block(up(upsample_nearest2x(x))); }
};

// [N,7,7,C] -> [N,1,1,C]: what is in the picture, without where.
Var flatten(const Var& x);

// [N,1,1,C] -> [N,7,7,C]
struct Unflatten {
  sfumato::nn::Linear linear;
  Unflatten(const sfumato::nn::Scope& s, std::int64_t channels);
  Var operator()(const Var& x) const;
};

// The U-Net of UC Berkeley's CS180, project 5B, with D channels: pictures [N,28,28,1] -> [N,28,28,1].
struct UNet {
  ConvBlock in;             // 1 -> D
  DownBlock down1;          // D -> D
  DownBlock down2;          // D -> 2D
  Unflatten unflatten;      // 2D -> 2D
  UpBlock up1;              // 4D -> D
  UpBlock up2;              // 2D -> D
  ConvBlock end;            // 2D -> D
  sfumato::nn::Conv2d out;  // D -> 1
  UNet(const sfumato::nn::Scope& s, std::int64_t D);
  Var operator()(const Var& x) const;  // yours
};

#include "cuda/conv.h"

#include <array>

#include "tests/cuda/kernel_test.h"
#include "tests/kernels/conv_cases.h"

namespace sfumato::kernels::testing {
namespace {

using cuda::ConvPath;

class DeviceConv : public DeviceTest {
 protected:
  void TearDown() override { cuda::conv_path = ConvPath::automatic; }
};

TEST_F(DeviceConv, MatchesTheDefinition) {
  for (const Conv& s : conv_shapes()) {
    SCOPED_TRACE(describe(s));
    const Exact exact(s);
    for_every_precision([&]<class T>() {
      const Operands<T> in(s);
      const OnDevice<T> x(in.x), w(in.w), dy(in.dy);
      const OnDevice<Wide<T>> bias(in.bias);
      for_every_conv_path([&] {
        const OnDevice<T> y(dy.size()), y_bias(dy.size()), dx(x.size());
        const OnDevice<Wide<T>> dw(w.size()), db(s.k);
        gpu<T>().conv_forward(s, {.x = x.data()}, w.data(), {.y = y.data()}, nullptr);
        gpu<T>().conv_forward(s, {.x = x.data()}, w.data(),
                              {.y = y_bias.data(), .bias = bias.data()}, nullptr);
        gpu<T>().conv_backward(s, {.x = x.data()}, dy.data(), w.data(),
                               {.dx = dx.data(), .dw = dw.data(), .db = db.data()});
        expect_close(y, exact.y, "y", slack_of<T>());
        expect_close(y_bias, exact.y_bias, "y with bias", slack_of<T>());
        expect_close(dx, exact.dx, "dx", slack_of<T>());
        expect_close(dw, exact.dw, "dw", slack_of<T>());
        expect_close(db, exact.db, "db", slack_of<T>());
      });
    });
  }
}

// What a convolution reads and writes on the way (ConvInput, ConvOutput).
struct Fused {
  Conv s;
  bool upsample;
  index groups;
  bool silu;
  index skip_channels;
  index shortcut_channels = 0;  // 0: a residual instead

  Conv shortcut() const {
    return make_conv(s.n, s.oh, s.ow, shortcut_channels, s.k, {1, 1, 1}, {});
  }
  index shortcut_skip() const { return shortcut_channels / 3; }
};

std::string describe_fused(const Fused& f) {
  return testing::describe(f.s) + (f.upsample ? "upsampled, " : "") + std::to_string(f.groups) +
         " groups, " + (f.silu ? "silu, " : "") + std::to_string(f.skip_channels) + " skip, " +
         std::to_string(f.shortcut_channels) + " of a shortcut";
}

std::vector<Fused> fused_cases() {
  std::vector<Fused> all;
  for (const Conv& s :
       {square(3, 8, 24, 20, 3, 1), square(2, 8, 33, 9, 3, 2), square(2, 6, 12, 33, 1, 1),
        make_conv(2, 6, 8, 9, 5, {2, 3, 1}, {1, 0, 0, 2})}) {
    for (const bool upsample : {false, true}) {
      for (const index groups : {index{0}, index{1}, s.c / 3}) {
        for (const index skip : {index{0}, index{5}, s.c - 1})
          all.push_back({s, upsample, groups, groups != 1, skip,
                         std::array<index, 4>{0, 7, 24, 48}[all.size() % 4]});
      }
    }
  }
  // Those whose pixels tensor cores read once for all taps; pictures of 64 pixels a row are the widest, of 70 too wide. Tiles of
  // weights have 64, 32 and 16 channels, others 64, 32 and 16 columns.
  for (const Conv& s :
       {square(3, 7, 32, 32, 3, 1), square(2, 4, 64, 96, 5, 1),
        make_conv(1, 5, 64, 32, 64, {3, 3, 1}, {1, 1, 1, 1}),
        make_conv(1, 4, 70, 32, 32, {3, 3, 1}, {1, 1, 1, 1}),
        make_conv(2, 11, 6, 96, 32, {3, 5, 1}, {1, 2, 1, 2}), square(5, 8, 128, 40, 3, 1),
        make_conv(1, 7, 64, 16, 70, {3, 3, 1}, {1, 1, 1, 1}), square(9, 6, 48, 24, 3, 1),
        square(3, 9, 48, 16, 3, 1), square(2, 8, 16, 12, 5, 1)})
    for (const index skip : {index{0}, s.c > 24 ? index{24} : index{8}})
      for (const index groups : {index{0}, index{4}})
        all.push_back(
            {s, false, groups, true, skip, std::array<index, 3>{0, 64, 40}[all.size() % 3]});
  // Doubled pictures, whose pixels are multiplied by their parity; and outputs two pixels apart, whose gradients are.
  for (const Conv& s :
       {square(2, 12, 64, 40, 3, 1), make_conv(3, 6, 20, 32, 16, {3, 3, 1}, {1, 1, 1, 1}),
        make_conv(1, 4, 70, 32, 8, {3, 3, 1}, {1, 1, 1, 1})})
    for (const index skip : {index{0}, index{24}})
      for (const index groups : {index{0}, index{4}}) all.push_back({s, true, groups, true, skip});
  for (const Conv& s :
       {square(3, 10, 32, 24, 3, 2), make_conv(2, 8, 14, 16, 40, {3, 3, 2}, {0, 0, 1, 1}),
        make_conv(2, 6, 8, 24, 16, {4, 4, 2}, {1, 1, 1, 1}), square(2, 6, 40, 8, 1, 2),
        make_conv(2, 6, 8, 8, 16, {2, 3, 2}, {1, 0, 0, 2}), square(1, 8, 16, 8, 5, 2)})
    for (const index skip : {index{0}, index{8}})
      if (skip < s.c) all.push_back({s, false, 0, true, skip});
  return all;
}

// Where the summand of dx is.
enum class Add { none, elsewhere, in_place };

// Those of a shortcut.
template <class T, template <class...> class In, template <class...> class Out>
struct ShortcutArrays {
  explicit ShortcutArrays(const Fused& f)
      : pixels(f.s.n * f.s.oh * f.s.ow),
        x(numbers<T>(pixels * (f.shortcut_channels - f.shortcut_skip()), 12)),
        skip(numbers<T>(pixels * f.shortcut_skip(), 13)),
        w(numbers<T>(f.s.k * f.shortcut_channels, 14)),
        bias(numbers<Wide<T>>(f.s.k, 15)),
        dx(x.size()),
        dskip(skip.size()),
        dw(w.size()),
        db(f.s.k) {}

  ConvShortcut<T> given(const Fused& f) {
    return {.conv = f.shortcut(),
            .in = {.x = x.data(), .skip = skip.data(), .skip_channels = f.shortcut_skip()},
            .w = w.data(),
            .bias = bias.data()};
  }
  // `add` in place alone: elsewhere there is the convolution's.
  ConvGradients<T> gradients(const Fused& f, Add mode) {
    ConvGradients<T> to{.dx = dx.data(), .dw = dw.data(), .db = db.data(), .dskip = dskip.data()};
    if (mode == Add::in_place) to.add = dx.data(), to.add_skip = dskip.data();
    if (f.shortcut_skip() == 0) to.dskip = nullptr, to.add_skip = nullptr;
    return to;
  }
  void set_sums() { dx.set(numbers<T>(dx.size(), 16)), dskip.set(numbers<T>(dskip.size(), 17)); }

  index pixels;
  In<T> x, skip, w;
  In<Wide<T>> bias;
  Out<T> dx, dskip;
  Out<Wide<T>> dw, db;
};

// Arrays of all operands and results.
template <class T, template <class...> class In, template <class...> class Out>
struct Arrays {
  explicit Arrays(const Fused& f)
      : pixels(f.s.n * f.s.h * f.s.w / (f.upsample ? 4 : 1)),
        own(f.s.c - f.skip_channels),
        x(numbers<T>(pixels * own, 1)),
        skip(numbers<T>(pixels * f.skip_channels, 2)),
        gamma(numbers<Wide<T>>(f.s.c, 3)),
        beta(numbers<Wide<T>>(f.s.c, 4)),
        w(numbers<T>(f.s.k * f.s.c * f.s.kh * f.s.kw, 5)),
        bias(numbers<Wide<T>>(f.s.k, 6)),
        per_image(numbers<Wide<T>>(f.s.n * f.s.k, 7)),
        residual(numbers<T>(f.s.n * f.s.oh * f.s.ow * f.s.k, 8)),
        dy(numbers<T>(residual.size(), 9)),
        add(numbers<T>(x.size(), 10)),
        add_skip(numbers<T>(skip.size(), 11)),
        mean(f.s.n * f.groups),
        rstd(mean.size()),
        y(dy.size()),
        dx(x.size()),
        dskip(skip.size()),
        dgamma(f.s.c),
        dbeta(f.s.c),
        dw(w.size()),
        db(f.s.k),
        dper_image(per_image.size()),
        of_shortcut(f) {}

  void run(const Kernels<T>& kernels, const Fused& f, Add mode) {
    ConvInput<T> in{.x = x.data(), .upsample = f.upsample};
    if (f.groups > 0) {
      in.groups = f.groups, in.eps = 1e-5, in.silu = f.silu;
      in.gamma = gamma.data(), in.beta = beta.data(), in.mean = mean.data(), in.rstd = rstd.data();
    }
    if (f.skip_channels > 0) in.skip = skip.data(), in.skip_channels = f.skip_channels;
    const ConvShortcut<T> shortcut = of_shortcut.given(f);
    const ConvGradients<T> to_shortcut = of_shortcut.gradients(f, mode);
    const bool has_shortcut = f.shortcut_channels > 0;
    kernels.conv_forward(f.s, in, w.data(),
                         {.y = y.data(),
                          .bias = bias.data(),
                          .per_image = per_image.data(),
                          .residual = has_shortcut ? nullptr : residual.data(),
                          .shortcut = has_shortcut ? &shortcut : nullptr},
                         nullptr);
    ConvGradients<T> to{
        .dx = dx.data(), .dw = dw.data(), .db = db.data(), .per_image = dper_image.data()};
    if (has_shortcut) to.shortcut = &shortcut, to.of_shortcut = &to_shortcut;
    if (f.groups > 0) to.dgamma = dgamma.data(), to.dbeta = dbeta.data();
    if (f.skip_channels > 0) to.dskip = dskip.data();
    if (mode == Add::elsewhere) to.add = add.data();
    if (mode == Add::in_place) to.add = dx.data();
    if (mode != Add::none && f.skip_channels > 0)
      to.add_skip = mode == Add::elsewhere ? add_skip.data() : dskip.data();
    kernels.conv_backward(f.s, in, dy.data(), w.data(), to);
  }

  index pixels, own;
  In<T> x, skip;
  In<Wide<T>> gamma, beta;
  In<T> w;
  In<Wide<T>> bias, per_image;
  In<T> residual, dy, add, add_skip;
  Out<Wide<T>> mean, rstd;
  Out<T> y, dx, dskip;
  Out<Wide<T>> dgamma, dbeta, dw, db, dper_image;
  ShortcutArrays<T, In, Out> of_shortcut;
};

TEST_F(DeviceConv, ReadsAndWritesOnTheWay) {
  int number = 0;
  for (const Fused& f : fused_cases()) {
    SCOPED_TRACE(describe_fused(f));
    const Add mode = static_cast<Add>(number++ % 3);
    for_every_precision([&]<class T>() {
      // The numbers are the same in float and double.
      Arrays<double, std::vector, std::vector> exact(f);
      exact.dx = exact.add, exact.dskip = exact.add_skip;
      auto& exact_shortcut = exact.of_shortcut;
      exact_shortcut.dx = numbers<double>(exact_shortcut.dx.size(), 16);
      exact_shortcut.dskip = numbers<double>(exact_shortcut.dskip.size(), 17);
      Kernels<double> reference;
      reference::fill_all(reference);
      exact.run(reference, f, mode);
      for_every_conv_path([&] {
        Arrays<T, OnDevice, OnDevice> got(f);
        got.dx.set(numbers<T>(got.dx.size(), 10)), got.dskip.set(numbers<T>(got.dskip.size(), 11));
        got.of_shortcut.set_sums();
        got.run(gpu<T>(), f, mode);
        expect_close(got.y, exact.y, "y", slack_of<T>());
        if (f.shortcut_channels > 0) {
          const auto& shortcut = got.of_shortcut;
          expect_close(shortcut.dx, exact_shortcut.dx, "shortcut's dx", slack_of<T>());
          expect_close(shortcut.dskip, exact_shortcut.dskip, "shortcut's dskip", slack_of<T>());
          expect_close(shortcut.dw, exact_shortcut.dw, "shortcut's dw", slack_of<T>());
          expect_close(shortcut.db, exact_shortcut.db, "shortcut's db", slack_of<T>());
        }
        expect_close(got.dx, exact.dx, "dx", slack_of<T>());
        expect_close(got.dskip, exact.dskip, "dskip", slack_of<T>());
        expect_close(got.dw, exact.dw, "dw", slack_of<T>());
        expect_close(got.db, exact.db, "db", slack_of<T>());
        expect_close(got.dper_image, exact.dper_image, "dper_image", slack_of<T>());
        if (f.groups == 0) return;
        expect_close(got.mean, exact.mean, "mean", slack_of<T>());
        expect_close(got.rstd, exact.rstd, "rstd", slack_of<T>());
        expect_close(got.dgamma, exact.dgamma, "dgamma", slack_of<T>());
        expect_close(got.dbeta, exact.dbeta, "dbeta", slack_of<T>());
      });
    });
  }
}

// Few images at a time, because their columns would need too much memory.
TEST_F(DeviceConv, PartsOfABatch) {
  const std::size_t before = cuda::conv_column_bytes;
  for_every_type([&]<class T>() {
    const Fused f{square(7, 8, 6, 5, 3, 1), false, 2, true, 1};
    cuda::conv_path = ConvPath::columns;
    Arrays<T, OnDevice, OnDevice> whole(f), parts(f);
    whole.run(gpu<T>(), f, Add::none);
    cuda::conv_column_bytes = 3 * 8 * 8 * 6 * 9 * sizeof(T);
    parts.run(gpu<T>(), f, Add::none);
    cuda::conv_column_bytes = before;
    expect_close(parts.y, as_double(whole.y.values()), "y");
    expect_close(parts.dx, as_double(whole.dx.values()), "dx");
    expect_close(parts.dw, as_double(whole.dw.values()), "dw");
  });
}

TEST_F(DeviceConv, SameBitsEveryTime) {
  for_every_conv_path([] {
    for_every_type([]<class T>() {
      const Fused f{square(9, 14, 24, 20, 3, 1), false, 8, true, 7};
      Arrays<T, OnDevice, OnDevice> first(f), second(f);
      first.run(gpu<T>(), f, Add::none), second.run(gpu<T>(), f, Add::none);
      EXPECT_EQ(second.y.values(), first.y.values());
      EXPECT_EQ(second.dx.values(), first.dx.values());
      EXPECT_EQ(second.dw.values(), first.dw.values());
      EXPECT_EQ(second.dgamma.values(), first.dgamma.values());
    });
  });
}

}  // namespace
}  // namespace sfumato::kernels::testing

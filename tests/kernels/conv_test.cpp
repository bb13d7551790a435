#include <array>

#include "tests/kernels/conv_cases.h"

namespace sfumato::kernels::testing {
namespace {

class UseMethod {
 public:
  explicit UseMethod(ConvMethod method) : before_(conv_method()) { set_conv_method(method); }
  ~UseMethod() { set_conv_method(before_); }

 private:
  ConvMethod before_;
};

template <class T>
void check(const Conv& s, const Exact& exact, double slack) {
  SCOPED_TRACE(describe(s));
  const Operands<T> operands(s);
  const auto& [x, w, bias, dy] = operands;
  const index x_size = std::ssize(x), y_size = std::ssize(dy), w_size = std::ssize(w);
  const auto& [y, y_bias, dx, dw, db] = exact;

  Guarded<T> got_y(y_size), got_y_bias(y_size), got_dx(x_size), got_dw(w_size), got_db(s.k);
  const Kernels<T>& k = table<T>();
  k.conv_forward(s, {.x = x.data()}, w.data(), {.y = got_y_bias.data(), .bias = bias.data()},
                 nullptr);
  k.conv_forward(s, {.x = x.data()}, w.data(), {.y = got_y.data()}, nullptr);
  k.conv_backward(s, {.x = x.data()}, dy.data(), w.data(),
                  {.dx = got_dx.data(), .dw = got_dw.data(), .db = got_db.data()});
  expect_close(got_y_bias, y_bias, "y", slack);
  expect_close(got_y, y, "y without bias", slack);
  expect_close(got_dx, dx, "dx", slack);
  expect_close(got_dw, dw, "dw", slack);
  expect_close(got_db, db, "db");

  Guarded<T> dx_alone(x_size), dw_alone(w_size);
  k.conv_backward(s, {.x = x.data()}, dy.data(), w.data(), {.dx = dx_alone.data()});
  k.conv_backward(s, {.x = x.data()}, dy.data(), w.data(), {.dw = dw_alone.data()});
  EXPECT_EQ(dx_alone.values(), got_dx.values());
  EXPECT_EQ(dw_alone.values(), got_dw.values());
}

void check_by_every_method(const Conv& s) {
  const Exact exact(s);
  for (const ConvMethod method :
       {ConvMethod::automatic, ConvMethod::direct, ConvMethod::winograd}) {
    if (method == ConvMethod::winograd && !(s.kh == 3 && s.kw == 3 && s.stride == 1)) continue;
    const UseMethod use(method);
    for_every_isa([&]<class T>() { check<T>(s, exact, method == ConvMethod::winograd ? 5 : 1); });
  }
}

TEST(ConvKernel, MatchesTheDefinitionByEveryMethod) {
  for (const Conv& s : conv_shapes()) check_by_every_method(s);
}

TEST(ConvKernel, DividedMatchesTheDefinitionByEveryMethod) {
  for (const Conv& s : divided_conv_shapes()) check_by_every_method(s);
}

// What ConvInput and ConvOutput do on the way is what separate passes would do.
TEST(ConvKernel, ReadsAndWritesOnTheWay) {
  for (const ConvMethod method : {ConvMethod::direct, ConvMethod::winograd}) {
    const UseMethod use(method);
    for_every_isa([&]<class T>() {
      for (const Conv& s :
           {square(3, 14, 24, 20, 3, 1), square(13, 14, 24, 20, 3, 1), square(2, 8, 33, 17, 3, 1),
            square(17, 4, 16, 40, 3, 1), square(40, 4, 24, 40, 3, 1),
            make_conv(3, 10, 16, 24, 20, {3, 3, 1}, {1, 1, 1, 1}), square(2, 6, 6, 4, 1, 1)}) {
        SCOPED_TRACE(describe(s));
        for (const auto& [upsample, silu] :
             {std::pair(false, true), std::pair(false, false), std::pair(true, true)}) {
          const index ih = upsample ? s.h / 2 : s.h, iw = upsample ? s.w / 2 : s.w;
          const index groups = s.c % 8 == 0 ? 8 : 3;
          const GroupNorm norm{
              .n = s.n, .hw = ih * iw, .c = s.c, .groups = groups, .eps = 1e-5, .silu = silu};
          const auto x = numbers<T>(s.n * ih * iw * s.c, 1);
          const auto w = numbers<T>(s.k * s.c * s.kh * s.kw, 2),
                     dy = numbers<T>(s.n * s.oh * s.ow * s.k, 3);
          const auto gamma = numbers<T>(s.c, 4), beta = numbers<T>(s.c, 5),
                     bias = numbers<T>(s.k, 6);
          const auto per_image = numbers<T>(s.n * s.k, 7),
                     residual = numbers<T>(s.n * s.oh * s.ow * s.k, 8);

          // Pass by pass.
          std::vector<T> normed(x.size()), seen(s.n * s.h * s.w * s.c), mean(s.n * groups),
              rstd(mean.size());
          const Kernels<T>& kernels = table<T>();
          kernels.group_norm_forward({.norm = norm,
                                      .x = x.data(),
                                      .gamma = gamma.data(),
                                      .beta = beta.data(),
                                      .y = normed.data(),
                                      .mean = mean.data(),
                                      .rstd = rstd.data()});
          for (index i = 0; i < std::ssize(seen); ++i) {
            const index c = i % s.c, col = i / s.c % s.w, row = i / (s.c * s.w) % s.h,
                        b = i / (s.c * s.w * s.h);
            seen[i] = upsample ? normed[((b * ih + row / 2) * iw + col / 2) * s.c + c] : normed[i];
          }
          std::vector<T> y(dy.size()), dseen(seen.size()), dw(w.size()), db(s.k);
          kernels.conv_forward(s, {.x = seen.data()}, w.data(),
                               {.y = y.data(), .bias = bias.data()}, nullptr);
          kernels.conv_backward(s, {.x = seen.data()}, dy.data(), w.data(),
                                {.dx = dseen.data(), .dw = dw.data(), .db = db.data()});
          std::vector<double> dper_image(per_image.size());
          for (index i = 0; i < std::ssize(y); ++i)
            dper_image[i / (s.oh * s.ow * s.k) * s.k + i % s.k] += dy[i];
          for (index i = 0; i < std::ssize(y); ++i)
            y[i] += per_image[i / (s.oh * s.ow * s.k) * s.k + i % s.k] + residual[i];
          std::vector<T> dnormed(x.size()), dx(x.size()), dgamma(s.c), dbeta(s.c);
          for (index i = 0; i < std::ssize(seen); ++i) {
            const index c = i % s.c, col = i / s.c % s.w, row = i / (s.c * s.w) % s.h,
                        b = i / (s.c * s.w * s.h);
            dnormed[upsample ? ((b * ih + row / 2) * iw + col / 2) * s.c + c : i] += dseen[i];
          }
          kernels.group_norm_backward({.norm = norm,
                                       .x = x.data(),
                                       .gamma = gamma.data(),
                                       .beta = beta.data(),
                                       .mean = mean.data(),
                                       .rstd = rstd.data(),
                                       .dy = dnormed.data(),
                                       .dx = dx.data(),
                                       .dgamma = dgamma.data(),
                                       .dbeta = dbeta.data()});

          // On the way.
          std::vector<T> own_mean(mean.size()), own_rstd(mean.size());
          const ConvInput<T> in{.x = x.data(),
                                .upsample = upsample,
                                .groups = groups,
                                .eps = norm.eps,
                                .gamma = gamma.data(),
                                .beta = beta.data(),
                                .mean = own_mean.data(),
                                .rstd = own_rstd.data(),
                                .silu = silu};
          Guarded<T> got_y(y.size()), got_dx(x.size()), got_dw(w.size()), got_db(s.k),
              got_dgamma(s.c), got_dbeta(s.c), got_per_image(per_image.size());
          kernels.conv_forward(s, in, w.data(),
                               {.y = got_y.data(),
                                .bias = bias.data(),
                                .per_image = per_image.data(),
                                .residual = residual.data()},
                               nullptr);
          EXPECT_EQ(own_mean, mean);
          EXPECT_EQ(own_rstd, rstd);
          kernels.conv_backward(s, in, dy.data(), w.data(),
                                {.dx = got_dx.data(),
                                 .dgamma = got_dgamma.data(),
                                 .dbeta = got_dbeta.data(),
                                 .dw = got_dw.data(),
                                 .db = got_db.data(),
                                 .per_image = got_per_image.data()});
          Guarded<T> twice(x.size()), again(s.c);
          std::copy(got_dx.data(), got_dx.data() + got_dx.size(), twice.data());
          kernels.conv_backward(s, in, dy.data(), w.data(),
                                {.dx = twice.data(),
                                 .add = twice.data(),
                                 .dgamma = again.data(),
                                 .dbeta = got_dbeta.data()});
          std::vector<double> two = as_double(dx);
          for (double& d : two) d *= 2;
          expect_close(twice, two, "dx added to dx");
          EXPECT_EQ(again.values(), got_dgamma.values());
          expect_close(got_dgamma, as_double(dgamma), "dgamma");
          // A sum in which most cancels.
          expect_close(got_dbeta, as_double(dbeta), "dbeta",
                       method == ConvMethod::winograd ? 2 : 1);
          expect_close(got_per_image, dper_image, "dper_image");
          expect_close(got_y, as_double(y), "y");
          expect_close(got_dx, as_double(dx), "dx");
          expect_close(got_dw, as_double(dw), "dw");
          expect_close(got_db, as_double(db), "db");
        }
      }
    });
  }
}

// Channels in two arrays are read, and get their gradients, as those of one are.
TEST(ConvKernel, ReadsTwoImagesSideBySide) {
  for (const ConvMethod method : {ConvMethod::direct, ConvMethod::winograd}) {
    const UseMethod use(method);
    for_every_isa([&]<class T>() {
      for (const Conv& s : {square(3, 14, 48, 20, 3, 1), square(40, 6, 24, 17, 3, 1),
                            square(2, 8, 33, 9, 3, 2), square(2, 6, 20, 33, 1, 1)}) {
        const index skips[] = {1, 5, 16, s.c - 1};
        for (int number = 0; number < 8; ++number) {  // each pair of values, not each three
          const index skip_channels = skips[number / 2], groups = (number / 2 + number) % 2;
          const bool upsample = number % 2 == 1;
          SCOPED_TRACE(describe(s) + (upsample ? " upsampled" : "") + ", " +
                       std::to_string(skip_channels) + " skip, " + std::to_string(groups) +
                       " groups");
          const index pixels = s.n * s.h * s.w / (upsample ? 4 : 1), own_c = s.c - skip_channels;
          const auto x = numbers<T>(pixels * s.c, 1), add = numbers<T>(pixels * s.c, 2);
          const auto w = numbers<T>(s.k * s.c * s.kh * s.kw, 3),
                     dy = numbers<T>(s.n * s.oh * s.ow * s.k, 4);
          const auto gamma = numbers<T>(s.c, 5), beta = numbers<T>(s.c, 6);
          const auto split = [&](const std::vector<T>& whole, Guarded<T>& own, Guarded<T>& skip) {
            for (index i = 0; i < pixels; ++i) {
              const T* from = whole.data() + i * s.c;
              std::copy(from, from + own_c, own.data() + i * own_c);
              std::copy(from + own_c, from + s.c, skip.data() + i * skip_channels);
            }
          };
          const auto run = [&](ConvInput<T> in, ConvGradients<T> to) {
            std::vector<T> mean(s.n), rstd(s.n), y(dy.size()), dw(w.size()), db(s.k), dgamma(s.c),
                dbeta(s.c);
            in.upsample = upsample;
            if (groups > 0) {
              in.groups = groups, in.eps = 1e-5, in.silu = true;
              in.gamma = gamma.data(), in.beta = beta.data();
              in.mean = mean.data(), in.rstd = rstd.data();
              to.dgamma = dgamma.data(), to.dbeta = dbeta.data();
            }
            to.dw = dw.data(), to.db = db.data();
            table<T>().conv_forward(s, in, w.data(), {.y = y.data()}, nullptr);
            table<T>().conv_backward(s, in, dy.data(), w.data(), to);
            return std::array{y, dw, db, dgamma, dbeta};
          };
          Guarded<T> dx(x.size());
          const auto one = run({.x = x.data()}, {.dx = dx.data(), .add = add.data()});
          // Added to another image, and to what is there already.
          Guarded<T> own(pixels * own_c), skip(pixels * skip_channels);
          Guarded<T> add_own(pixels * own_c), there(pixels * skip_channels), got(pixels * own_c);
          split(x, own, skip);
          split(add, add_own, there);
          ConvInput<T> in{.x = own.data()};
          in.skip = skip.data(), in.skip_channels = skip_channels;
          const auto two = run(in, {.dx = got.data(),
                                    .add = add_own.data(),
                                    .dskip = there.data(),
                                    .add_skip = there.data()});
          for (std::size_t i = 0; i < one.size(); ++i)
            EXPECT_LT(distance(two[i].data(), as_double(one[i])), by_type<T>(1e-6, 1e-14)) << i;
          Guarded<T> want_own(pixels * own_c), want_skip(pixels * skip_channels);
          split({dx.data(), dx.data() + dx.size()}, want_own, want_skip);
          EXPECT_EQ(got.values(), want_own.values());
          EXPECT_EQ(there.values(), want_skip.values());
        }
      }
    });
  }
}

// The error table of docs/performance.md: the f32 result against that of f64, for shapes of the
// reference networks.
TEST(ConvKernel, WinogradRoundsWithinItsTable) {
  for_every_isa([]<class T>() {
    if constexpr (std::is_same_v<T, float>) {
      const std::pair<Conv, bool> rows[] = {{square(4, 28, 32, 32, 3, 1), false},
                                            {square(4, 14, 128, 64, 3, 1), false},
                                            {square(4, 7, 256, 128, 3, 1), false},
                                            {square(4, 28, 64, 64, 3, 1), true}};
      for (const auto& [s, upsample] : rows) {
        SCOPED_TRACE(describe(s) + (upsample ? " upsampled" : ""));
        const auto x = numbers<float>(s.n * s.h * s.w * s.c / (upsample ? 4 : 1), 1),
                   w = numbers<float>(s.k * s.c * 9, 2);
        const auto dy = numbers<float>(s.n * s.oh * s.ow * s.k, 3);
        const auto all = [&, s = s, upsample = upsample]<class U>(ConvMethod method, U) {
          const UseMethod use(method);
          const std::vector<U> ux(x.begin(), x.end()), uw(w.begin(), w.end()),
              udy(dy.begin(), dy.end());
          std::array<std::vector<U>, 3> r{std::vector<U>(dy.size()), std::vector<U>(x.size()),
                                          std::vector<U>(w.size())};
          std::vector<U> db(s.k);
          const ConvInput<U> in{.x = ux.data(), .upsample = upsample};
          table<U>().conv_forward(s, in, uw.data(), {.y = r[0].data()}, nullptr);
          table<U>().conv_backward(s, in, udy.data(), uw.data(),
                                   {.dx = r[1].data(), .dw = r[2].data(), .db = db.data()});
          return r;
        };
        const auto exact = all(ConvMethod::direct, double{});
        const auto direct = all(ConvMethod::direct, float{}),
                   fast = all(ConvMethod::winograd, float{});
        const double bound[3] = {4e-6, 4e-6, 2e-6};
        for (int i = 0; i < 3; ++i) {
          const double e_direct = distance(direct[i].data(), exact[i]),
                       e_fast = distance(fast[i].data(), exact[i]);
          RecordProperty(std::to_string(s.h) + "_" + std::to_string(s.c) + "_" + std::to_string(i),
                         std::to_string(e_direct * 1e7) + " " + std::to_string(e_fast * 1e7));
          EXPECT_LT(e_direct, 2e-6) << i;
          EXPECT_LT(e_fast, bound[i]) << i;
        }
      }
    }
  });
}

TEST(ConvKernel, SameBitsOnAnyNumberOfThreads) {
  for_every_isa([]<class T>() {
    for (const Conv& s :
         {square(9, 14, 33, 40, 3, 1), square(1, 14, 16, 33, 3, 2), square(40, 7, 3, 16, 3, 1),
          square(3, 7, 33, 1, 3, 1), square(1, 30, 9, 70, 3, 1), square(2, 14, 20, 96, 3, 1)}) {
      SCOPED_TRACE(describe(s));
      const auto x = numbers<T>(s.n * s.h * s.w * s.c, 1);
      const auto w = numbers<T>(s.k * s.c * s.kh * s.kw, 2);
      const auto dy = numbers<T>(s.n * s.oh * s.ow * s.k, 3);
      expect_same_on_any_threads([&] {
        Guarded<T> y(dy.size()), dx(x.size()), dw(w.size()), db(s.k);
        table<T>().conv_forward(s, {.x = x.data()}, w.data(), {.y = y.data()}, nullptr);
        table<T>().conv_backward(s, {.x = x.data()}, dy.data(), w.data(),
                                 {.dx = dx.data(), .dw = dw.data(), .db = db.data()});
        std::vector<T> all;
        append(all, y), append(all, dx), append(all, dw), append(all, db);
        return all;
      });
    }
  });
}

}  // namespace
}  // namespace sfumato::kernels::testing

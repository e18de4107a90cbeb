// Local response normalization over channels with the usual exponent 3/4, and its gradient:
//
//   y_c = x_c b_c^(-3/4),  b_c = k + alpha / n * sum of x^2 over the n channels around c
//   dx_i = dy_i b_i^(-3/4) - 3/2 alpha / n x_i * sum of dy_c x_c b_c^(-7/4) over the c around which i is
//
// Maps are rows of channels; a row stays in the first cache from the squares to the result.
#include <cmath>

#include "common.h"
#include "values.h"

namespace cnn {
namespace {

struct Response {
  int64_t rows, channels, n;
  float k, share;  // alpha / n

  int64_t room() const { return channels + n; }
};

// out[c] = padded[c] + ... + padded[c + n - 1]
CNN_INLINE void window_sums(const Response& r, const float* padded, float* out) {
  for (int64_t c = 0; c < r.channels; ++c) out[c] = padded[c];
  for (int64_t tap = 1; tap < r.n; ++tap)
#pragma GCC ivdep
    for (int64_t c = 0; c < r.channels; ++c) out[c] += padded[c + tap];
}

// b of a row; `padded`: zeros around a row.
template <typename T>
CNN_INLINE void bases(const Response& r, const T* x, float* padded, float* base) {
  float* squares = padded + r.n / 2;
  for (int64_t c = 0; c < r.channels; ++c) squares[c] = load(x + c) * load(x + c);
  window_sums(r, padded, base);
  for (int64_t c = 0; c < r.channels; ++c) base[c] = r.k + r.share * base[c];
}

// b^(-3/4)
CNN_INLINE float power(float base) {
  float root = std::sqrt(base);
  return 1.f / (root * std::sqrt(root));
}

// `room`: 2 rows of r.room() values, the first of them zeros.
template <typename T>
CNN_INLINE void forward_rows(const Response& r, const T* x, int64_t rows, T* y, float* room) {
  float* base = room + r.room();
  for (int64_t row = 0; row < rows; ++row, x += r.channels, y += r.channels) {
    bases(r, x, room, base);
#pragma GCC ivdep
    for (int64_t c = 0; c < r.channels; ++c) store(y + c, load(x + c) * power(base[c]));
  }
}

// `room`: 4 rows of r.room() values, the first two of them zeros.
template <typename T>
CNN_INLINE void gradient_rows(const Response& r, const T* x, const T* grad_output, int64_t rows, T* out, float* room) {
  float *padded = room + r.room(), *base = padded + r.room(), *sums = base + r.room();
  float* terms = padded + (r.n - 1) / 2;
  for (int64_t row = 0; row < rows; ++row, x += r.channels, grad_output += r.channels, out += r.channels) {
    bases(r, x, room, base);
#pragma GCC ivdep
    for (int64_t c = 0; c < r.channels; ++c) {
      float each = power(base[c]);
      terms[c] = load(grad_output + c) * load(x + c) * each / base[c];
      base[c] = each;
    }
    window_sums(r, padded, sums);
#pragma GCC ivdep
    for (int64_t c = 0; c < r.channels; ++c)
      store(out + c, load(grad_output + c) * base[c] - 1.5f * r.share * load(x + c) * sums[c]);
  }
}

#define CNN_FOR(T)                                                                                                   \
  CNN_CLONES void forward(const Response& r, const T* x, int64_t rows, T* y, float* room) {                          \
    forward_rows(r, x, rows, y, room);                                                                               \
  }                                                                                                                  \
  CNN_CLONES void gradient(const Response& r, const T* x, const T* grad_output, int64_t rows, T* out, float* room) { \
    gradient_rows(r, x, grad_output, rows, out, room);                                                               \
  }
CNN_FOR(float)
CNN_FOR(Half)
#undef CNN_FOR

// f(first row, rows, room of 4 rows that are zero) for each thread's share.
template <typename F>
void over_rows(ffi::ThreadPool& pool, const Response& r, const F& f) {
  int64_t parts = split(pool, r.rows, 20.0 * r.rows * r.channels);
  parallel(pool, parts, [&](int64_t part) {
    Range range = part_of(r.rows, parts, part);
    float* room = static_cast<float*>(scratch(kScratchpad, 4 * r.room() * sizeof(float)));
    std::fill(room, room + 4 * r.room(), 0.f);
    f(range.begin, range.size, room);
  });
}

Response describe(const ffi::AnyBuffer& x, int64_t n, float k, float alpha) {
  auto sides = x.dimensions();
  if (sides.size() < 2 || x.element_count() == 0 || n < 1)
    throw std::invalid_argument("expected a map (..., C) with something in it, and a window");
  int64_t channels = sides.back(), values = static_cast<int64_t>(x.element_count());
  return {values / channels, channels, n, k, alpha / static_cast<float>(n)};
}

using Out = ffi::Result<ffi::AnyBuffer>;

// x (..., C) -> y like x
ffi::Error Forward(ffi::ThreadPool pool, ffi::AnyBuffer x, Out y, int64_t n, float k, float alpha) {
  return guarded("response normalization", [&] {
    auto r = describe(x, n, k, alpha);
    with_type(type_of(x), [&](auto value) {
      using T = decltype(value);
      over_rows(pool, r, [&](int64_t row, int64_t rows, float* room) {
        int64_t at = row * r.channels;
        forward(r, data<T>(x) + at, rows, data<T>(*y) + at, room);
      });
    });
  });
}

// x, grad_output like y -> grad_input
ffi::Error Gradient(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer grad_output, Out grad_input, int64_t n,
                    float k, float alpha) {
  return guarded("response normalization's gradient", [&] {
    auto r = describe(x, n, k, alpha);
    with_type(type_of(x), [&](auto value) {
      using T = decltype(value);
      over_rows(pool, r, [&](int64_t row, int64_t rows, float* room) {
        int64_t at = row * r.channels;
        gradient(r, data<T>(x) + at, data<T>(grad_output) + at, rows, data<T>(*grad_input) + at, room);
      });
    });
  });
}

}  // namespace
}  // namespace cnn

using cnn::ffi::AnyBuffer;
using cnn::ffi::Ffi;

XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_response_norm, cnn::Forward,
                              Ffi::Bind()
                                  .Ctx<cnn::ffi::ThreadPool>()
                                  .Arg<AnyBuffer>()
                                  .Ret<AnyBuffer>()
                                  .Attr<int64_t>("n")
                                  .Attr<float>("k")
                                  .Attr<float>("alpha"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_response_norm_gradient, cnn::Gradient,
                              Ffi::Bind()
                                  .Ctx<cnn::ffi::ThreadPool>()
                                  .Arg<AnyBuffer>()
                                  .Arg<AnyBuffer>()
                                  .Ret<AnyBuffer>()
                                  .Attr<int64_t>("n")
                                  .Attr<float>("k")
                                  .Attr<float>("alpha"));

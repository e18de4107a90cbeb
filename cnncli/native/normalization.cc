// Batch normalisation in training, with an addition and a ReLU behind it where wanted, and its gradient.
//
// Maps are rows of channels. Each thread takes a share of the rows. Statistics are exact in two passes over a block
// that fits the cache, and blocks are joined in double precision (Chan, Golub and LeVeque 1983), in a fixed order.
#include <cmath>

#include "common.h"
#include "values.h"

namespace cnn {
namespace {

// Columns never depend on each other: `ivdep`.
//
// What is added up over `rows` rows of `width` values: sums[c] += x, then rests[c] += x - mean, which is not zero where
// the mean is rounded, and squares[c] += (x - mean)^2.
template <typename T>
CNN_INLINE void sum_rows(const T* x, int64_t rows, int64_t width, float* sums) {
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC ivdep
    for (int64_t c = 0; c < width; ++c) sums[c] += load(x + r * width + c);
}
template <typename T>
CNN_INLINE void square_rows(const T* x, int64_t rows, int64_t width, const float* mean, float* rests, float* squares) {
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC ivdep
    for (int64_t c = 0; c < width; ++c) {
      float d = load(x + r * width + c) - mean[c];
      rests[c] += d;
      squares[c] += d * d;
    }
}

// y = (x - mean) * factor + bias [+ other] [rectified]
template <typename T, bool kAdd, bool kRelu>
CNN_INLINE void write_rows(const T* x, const T* other, int64_t rows, int64_t width, const float* mean,
                           const float* factor, const float* bias, T* y) {
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC ivdep
    for (int64_t c = 0; c < width; ++c) {
      int64_t i = r * width + c;
      float value = (load(x + i) - mean[c]) * factor[c] + bias[c];
      if (kAdd) value += load(other + i);
      if (kRelu) value = value < 0 ? 0 : value;  // a NaN stays one
      store(y + i, value);
    }
}

// The slope behind the ReLU, in front of it.
template <typename T, bool kRelu>
CNN_INLINE float through(const T* slope, const T* y, int64_t i) {
  float value = load(slope + i);
  if (kRelu) value = load(y + i) > 0 ? value : 0;
  return value;
}

// sums[c] += slope, products[c] += slope * (x - mean); the slope in front of the ReLU is that of `other` as well.
template <typename T, bool kAdd, bool kRelu>
CNN_INLINE void product_rows(const T* x, const T* y, const T* slope, int64_t rows, int64_t width, const float* mean,
                             float* sums, float* products, T* into_other) {
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC ivdep
    for (int64_t c = 0; c < width; ++c) {
      int64_t i = r * width + c;
      float value = through<T, kRelu>(slope, y, i);
      if (kAdd) store(into_other + i, value);
      sums[c] += value;
      products[c] += value * (load(x + i) - mean[c]);
    }
}

// into_x = factor * (slope - shift - (x - mean) * tilt)
template <typename T, bool kRelu>
CNN_INLINE void slope_rows(const T* x, const T* y, const T* slope, int64_t rows, int64_t width, const float* mean,
                           const float* factor, const float* shift, const float* tilt, T* into_x) {
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC ivdep
    for (int64_t c = 0; c < width; ++c) {
      int64_t i = r * width + c;
      float value = through<T, kRelu>(slope, y, i);
      store(into_x + i, factor[c] * (value - shift[c] - (load(x + i) - mean[c]) * tilt[c]));
    }
}

#define CNN_FOR(T)                                                                                                    \
  CNN_CLONES void sums(const T* x, int64_t rows, int64_t width, float* out) { sum_rows(x, rows, width, out); }        \
  CNN_CLONES void squares(const T* x, int64_t rows, int64_t width, const float* mean, float* rests, float* out) {     \
    square_rows(x, rows, width, mean, rests, out);                                                                    \
  }                                                                                                                   \
  CNN_CLONES void write(const T* x, const T* other, bool relu, int64_t rows, int64_t width, const float* mean,        \
                        const float* factor, const float* bias, T* y) {                                               \
    if (other && relu) write_rows<T, true, true>(x, other, rows, width, mean, factor, bias, y);                       \
    if (other && !relu) write_rows<T, true, false>(x, other, rows, width, mean, factor, bias, y);                     \
    if (!other && relu) write_rows<T, false, true>(x, other, rows, width, mean, factor, bias, y);                     \
    if (!other && !relu) write_rows<T, false, false>(x, other, rows, width, mean, factor, bias, y);                   \
  }                                                                                                                   \
  CNN_CLONES void products(const T* x, const T* y, const T* slope, bool relu, int64_t rows, int64_t width,            \
                           const float* mean, float* sums, float* out, T* into_other) {                               \
    if (into_other && relu) product_rows<T, true, true>(x, y, slope, rows, width, mean, sums, out, into_other);       \
    if (into_other && !relu) product_rows<T, true, false>(x, y, slope, rows, width, mean, sums, out, into_other);     \
    if (!into_other && relu) product_rows<T, false, true>(x, y, slope, rows, width, mean, sums, out, into_other);     \
    if (!into_other && !relu) product_rows<T, false, false>(x, y, slope, rows, width, mean, sums, out, into_other);   \
  }                                                                                                                   \
  CNN_CLONES void slopes(const T* x, const T* y, const T* slope, bool relu, int64_t rows, int64_t width,              \
                         const float* mean, const float* factor, const float* shift, const float* tilt, T* into_x) {  \
    if (relu) slope_rows<T, true>(x, y, slope, rows, width, mean, factor, shift, tilt, into_x);                       \
    if (!relu) slope_rows<T, false>(x, y, slope, rows, width, mean, factor, shift, tilt, into_x);                     \
  }
CNN_FOR(float)
CNN_FOR(Half)
#undef CNN_FOR

// Rows of few channels are read several at a time, so that the inner loops are long: `fold` rows make a wide one.
struct Rows {
  int64_t count, channels, fold;
  Rows(int64_t count, int64_t channels) : count(count), channels(channels), fold(std::max<int64_t>(1, 128 / channels)) {}
  int64_t width() const { return fold * channels; }
  int64_t block() const { return std::max<int64_t>(1, 32768 / width()) * fold; }  // 128 KiB in float32: in the L2 cache

  // f(first row, wide rows, their width) over `range`, block by block; in each, wide rows first, then what is left.
  // A second pass over a map goes backwards: what the first one read last is still in the cache.
  template <typename F>
  void blocks(Range range, bool backwards, const F& f) const {
    int64_t number = (range.size + block() - 1) / block(), end = range.begin + range.size;
    for (int64_t i = 0; i < number; ++i) {
      int64_t row = range.begin + (backwards ? number - 1 - i : i) * block(), stop = std::min(row + block(), end);
      int64_t wide = (stop - row) / fold;
      if (wide) f(row, wide, width());
      row += wide * fold;
      if (row < stop) f(row, stop - row, channels);
    }
  }
};

// `values` of the channels, or zeros, for each of the rows that make a wide one.
std::vector<float> repeated(const float* values, const Rows& rows) {
  std::vector<float> out(rows.width());
  for (int64_t start = 0; values && start < rows.width(); start += rows.channels)
    std::copy(values, values + rows.channels, out.begin() + start);
  return out;
}

// Adds the copies that wide rows make of each channel.
void gather(const float* wide, int64_t width, int64_t channels, double* out) {
  for (int64_t start = 0; start < width; start += channels)
    for (int64_t c = 0; c < channels; ++c) out[c] += wide[start + c];
}

// Count, mean and sum of squared differences from it, of each channel.
struct Moments {
  double count = 0;
  std::vector<double> mean, squares;
  explicit Moments(int64_t channels) : mean(channels), squares(channels) {}

  void join(double other, const double* means, const double* sums) {
    double total = count + other, share = other / total, weight = count * share;
    for (size_t c = 0; c < mean.size(); ++c) {
      double delta = means[c] - mean[c];
      mean[c] += delta * share;
      squares[c] += sums[c] + delta * delta * weight;
    }
    count = total;
  }
};

template <typename T>
Moments moments(const T* x, const Rows& rows, Range range) {
  Moments found(rows.channels);
  std::vector<float> wide(rows.width()), rest(rows.width()), mean(rows.width());
  std::vector<double> means(rows.channels), rests(rows.channels), deviations(rows.channels);
  rows.blocks(range, false, [&](int64_t row, int64_t count, int64_t width) {
    const T* block = x + row * rows.channels;
    double examples = static_cast<double>(count) * width / rows.channels;
    std::fill(wide.begin(), wide.end(), 0.f);
    std::fill(means.begin(), means.end(), 0.);
    std::fill(rests.begin(), rests.end(), 0.);
    std::fill(deviations.begin(), deviations.end(), 0.);
    sums(block, count, width, wide.data());
    gather(wide.data(), width, rows.channels, means.data());
    for (int64_t c = 0; c < rows.channels; ++c) means[c] /= examples;
    for (int64_t start = 0; start < width; start += rows.channels)
      for (int64_t c = 0; c < rows.channels; ++c) mean[start + c] = static_cast<float>(means[c]);
    std::fill(wide.begin(), wide.end(), 0.f);
    std::fill(rest.begin(), rest.end(), 0.f);
    squares(block, count, width, mean.data(), rest.data(), wide.data());
    gather(rest.data(), width, rows.channels, rests.data());
    gather(wide.data(), width, rows.channels, deviations.data());
    for (int64_t c = 0; c < rows.channels; ++c) {
      means[c] = mean[c] + rests[c] / examples;
      deviations[c] -= rests[c] * rests[c] / examples;
    }
    found.join(examples, means.data(), deviations.data());
  });
  return found;
}

struct Normalization {
  int64_t rows, channels;
  float epsilon;
  bool relu;
};

template <typename T>
void forward(ffi::ThreadPool& pool, const Normalization& n, const T* x, const float* scale, const float* bias,
             const T* other, T* y, float* mean, float* var, float* rest) {
  Rows rows(n.rows, n.channels);
  int64_t parts = split(pool, n.rows, 4.0 * n.rows * n.channels);
  std::vector<Moments> found(parts, Moments(n.channels));
  parallel(pool, parts, [&](int64_t part) { found[part] = moments(x, rows, part_of(n.rows, parts, part)); });
  for (int64_t part = 1; part < parts; ++part)
    found[0].join(found[part].count, found[part].mean.data(), found[part].squares.data());
  std::vector<float> factor(n.channels), shift(n.channels);
  for (int64_t c = 0; c < n.channels; ++c) {
    double variance = found[0].squares[c] / n.rows;
    mean[c] = static_cast<float>(found[0].mean[c]);
    var[c] = static_cast<float>(variance);
    factor[c] = static_cast<float>((scale ? scale[c] : 1.) / std::sqrt(variance + n.epsilon));
    rest[c] = static_cast<float>(found[0].mean[c] - mean[c]);
    shift[c] = (bias ? bias[c] : 0.f) - rest[c] * factor[c];
  }
  auto means = repeated(mean, rows), factors = repeated(factor.data(), rows), biases = repeated(shift.data(), rows);
  parallel(pool, parts, [&](int64_t part) {
    rows.blocks(part_of(n.rows, parts, part), true, [&](int64_t row, int64_t count, int64_t width) {
      int64_t at = row * n.channels;
      write(x + at, other ? other + at : nullptr, n.relu, count, width, means.data(), factors.data(), biases.data(),
            y + at);
    });
  });
}

template <typename T>
void gradient(ffi::ThreadPool& pool, const Normalization& n, const T* x, const T* y, const T* slope, const float* scale,
              const float* mean, const float* var, const float* rest, T* into_x, T* into_other, float* into_scale, float* into_bias) {
  Rows rows(n.rows, n.channels);
  int64_t parts = split(pool, n.rows, 8.0 * n.rows * n.channels);
  auto means = repeated(mean, rows);
  std::vector<std::vector<double>> totals(parts, std::vector<double>(2 * n.channels));
  parallel(pool, parts, [&](int64_t part) {
    std::vector<float> wide(2 * rows.width());
    float *first = wide.data(), *second = first + rows.width();
    double* total = totals[part].data();
    rows.blocks(part_of(n.rows, parts, part), false, [&](int64_t row, int64_t count, int64_t width) {
      int64_t at = row * n.channels;
      std::fill(wide.begin(), wide.end(), 0.f);
      products(x + at, y + at, slope + at, n.relu, count, width, means.data(), first, second,
               into_other ? into_other + at : nullptr);
      gather(first, width, n.channels, total);
      gather(second, width, n.channels, total + n.channels);
    });
  });
  std::vector<float> factor(n.channels), shift(n.channels), tilt(n.channels);
  for (int64_t c = 0; c < n.channels; ++c) {
    double sum = 0, product = 0, inverse = 1 / std::sqrt(static_cast<double>(var[c]) + n.epsilon);
    for (auto& total : totals) sum += total[c], product += total[n.channels + c];
    product -= rest[c] * sum;
    if (into_scale) into_scale[c] = static_cast<float>(product * inverse);
    if (into_bias) into_bias[c] = static_cast<float>(sum);
    factor[c] = static_cast<float>((scale ? scale[c] : 1.) * inverse);
    tilt[c] = static_cast<float>(product * inverse * inverse / n.rows);
    shift[c] = static_cast<float>(sum / n.rows - static_cast<double>(rest[c]) * tilt[c]);
  }
  auto factors = repeated(factor.data(), rows), shifts = repeated(shift.data(), rows),
       tilts = repeated(tilt.data(), rows);
  parallel(pool, parts, [&](int64_t part) {
    rows.blocks(part_of(n.rows, parts, part), true, [&](int64_t row, int64_t count, int64_t width) {
      int64_t at = row * n.channels;
      slopes(x + at, y + at, slope + at, n.relu, count, width, means.data(), factors.data(), shifts.data(),
             tilts.data(), into_x + at);
    });
  });
}

using F32 = ffi::Buffer<ffi::DataType::F32>;
using OutF32 = ffi::Result<F32>;
using Out = ffi::Result<ffi::AnyBuffer>;

Normalization describe(const ffi::AnyBuffer& x, float epsilon, bool relu) {
  auto sides = x.dimensions();
  if (sides.size() < 2 || x.element_count() == 0) throw std::invalid_argument("expected a map (..., C) with something in it");
  int64_t channels = sides.back(), values = static_cast<int64_t>(x.element_count());
  return {values / channels, channels, epsilon, relu};
}

// x (..., C), scale and bias (C,) or (0,), other like x or (0,) -> y like x, mean and biased var (C,), and the rest
// (C,) that the mean lost when it was rounded
ffi::Error BatchNorm(ffi::ThreadPool pool, ffi::AnyBuffer x, F32 scale, F32 bias, ffi::AnyBuffer other, Out y,
                     OutF32 mean, OutF32 var, OutF32 rest, float epsilon, bool relu) {
  return guarded("batch normalisation", [&] {
    auto n = describe(x, epsilon, relu);
    with_type(type_of(x), [&](auto value) {
      using T = decltype(value);
      forward<T>(pool, n, data<T>(x), data(scale), data(bias), data<T>(other), data<T>(*y), data(*mean), data(*var),
                 data(*rest));
    });
  });
}

// slope of y -> slopes of x, of other (like x or (0,)), of scale and bias ((C,) or (0,))
ffi::Error BatchNormGradient(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer y, ffi::AnyBuffer slope, F32 scale,
                             F32 mean, F32 var, F32 rest, Out into_x, Out into_other, OutF32 into_scale, OutF32 into_bias,
                             float epsilon, bool relu) {
  return guarded("batch normalisation's gradient", [&] {
    auto n = describe(x, epsilon, relu);
    with_type(type_of(x), [&](auto value) {
      using T = decltype(value);
      gradient<T>(pool, n, data<T>(x), data<T>(y), data<T>(slope), data(scale), data(mean), data(var), data(rest), data<T>(*into_x),
                  data<T>(*into_other), data(*into_scale), data(*into_bias));
    });
  });
}

}  // namespace
}  // namespace cnn

using cnn::ffi::AnyBuffer;
using cnn::ffi::Ffi;
using Plain = cnn::ffi::Buffer<cnn::ffi::DataType::F32>;

XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_batch_norm, cnn::BatchNorm,
                              Ffi::Bind()
                                  .Ctx<cnn::ffi::ThreadPool>()
                                  .Arg<AnyBuffer>()
                                  .Arg<Plain>()
                                  .Arg<Plain>()
                                  .Arg<AnyBuffer>()
                                  .Ret<AnyBuffer>()
                                  .Ret<Plain>()
                                  .Ret<Plain>()
                                  .Ret<Plain>()
                                  .Attr<float>("epsilon")
                                  .Attr<bool>("relu"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_batch_norm_gradient, cnn::BatchNormGradient,
                              Ffi::Bind()
                                  .Ctx<cnn::ffi::ThreadPool>()
                                  .Arg<AnyBuffer>()
                                  .Arg<AnyBuffer>()
                                  .Arg<AnyBuffer>()
                                  .Arg<Plain>()
                                  .Arg<Plain>()
                                  .Arg<Plain>()
                                  .Arg<Plain>()
                                  .Ret<AnyBuffer>()
                                  .Ret<AnyBuffer>()
                                  .Ret<Plain>()
                                  .Ret<Plain>()
                                  .Attr<float>("epsilon")
                                  .Attr<bool>("relu"));

// Batch normalization in training and its gradient, with an addition and a ReLU behind it where asked for.
//
// A map is rows of channels, and each thread takes a part of the rows. The statistics of a block that fits the cache
// take two passes; blocks are joined in double precision and in a fixed order (Chan, Golub and LeVeque 1983).
#include <cmath>

#include "common.h"
#include "values.h"

namespace cnn {
namespace {

// Columns do not depend on each other, so the inner loops have `ivdep`.
//
// Over `rows` rows of `width` values: sums[c] += x; then rests[c] += x - mean, which is not zero because the mean is
// rounded, and squares[c] += (x - mean)^2.
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

// y = (x - mean) * factor + bias, plus `add`, then a ReLU
template <typename T, bool kAdd, bool kRelu>
CNN_INLINE void write_rows(const T* x, const T* add, int64_t rows, int64_t width, const float* mean,
                           const float* factor, const float* bias, T* y) {
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC ivdep
    for (int64_t c = 0; c < width; ++c) {
      int64_t i = r * width + c;
      float value = (load(x + i) - mean[c]) * factor[c] + bias[c];
      if (kAdd) value += load(add + i);
      if (kRelu) value = value < 0 ? 0 : value;  // a NaN stays one
      store(y + i, value);
    }
}

// The gradient before the ReLU, from the one behind it.
template <typename T, bool kRelu>
CNN_INLINE float through(const T* grad_output, const T* y, int64_t i) {
  float value = load(grad_output + i);
  if (kRelu) value = load(y + i) > 0 ? value : 0;
  return value;
}

// sums[c] += g, products[c] += g * (x - mean), with g the gradient before the ReLU, which is that of `add` too.
template <typename T, bool kAdd, bool kRelu>
CNN_INLINE void product_rows(const T* x, const T* y, const T* grad_output, int64_t rows, int64_t width,
                             const float* mean, float* sums, float* products, T* grad_add) {
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC ivdep
    for (int64_t c = 0; c < width; ++c) {
      int64_t i = r * width + c;
      float value = through<T, kRelu>(grad_output, y, i);
      if (kAdd) store(grad_add + i, value);
      sums[c] += value;
      products[c] += value * (load(x + i) - mean[c]);
    }
}

// grad_input = factor * (grad_output - shift - (x - mean) * tilt)
template <typename T, bool kRelu>
CNN_INLINE void grad_input_rows(const T* x, const T* y, const T* grad_output, int64_t rows, int64_t width,
                                const float* mean, const float* factor, const float* shift, const float* tilt,
                                T* grad_input) {
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC ivdep
    for (int64_t c = 0; c < width; ++c) {
      int64_t i = r * width + c;
      float value = through<T, kRelu>(grad_output, y, i);
      store(grad_input + i, factor[c] * (value - shift[c] - (load(x + i) - mean[c]) * tilt[c]));
    }
}

#define CNN_FOR(T)                                                                                                    \
  CNN_CLONES void sums(const T* x, int64_t rows, int64_t width, float* out) { sum_rows(x, rows, width, out); }        \
  CNN_CLONES void squares(const T* x, int64_t rows, int64_t width, const float* mean, float* rests, float* out) {     \
    square_rows(x, rows, width, mean, rests, out);                                                                    \
  }                                                                                                                   \
  CNN_CLONES void write(const T* x, const T* add, bool relu, int64_t rows, int64_t width, const float* mean,          \
                        const float* factor, const float* bias, T* y) {                                               \
    if (add && relu) write_rows<T, true, true>(x, add, rows, width, mean, factor, bias, y);                           \
    if (add && !relu) write_rows<T, true, false>(x, add, rows, width, mean, factor, bias, y);                         \
    if (!add && relu) write_rows<T, false, true>(x, add, rows, width, mean, factor, bias, y);                         \
    if (!add && !relu) write_rows<T, false, false>(x, add, rows, width, mean, factor, bias, y);                       \
  }                                                                                                                   \
  CNN_CLONES void products(const T* x, const T* y, const T* grad_output, bool relu, int64_t rows, int64_t width,      \
                           const float* mean, float* sums, float* out, T* grad_add) {                                 \
    if (grad_add && relu) product_rows<T, true, true>(x, y, grad_output, rows, width, mean, sums, out, grad_add);     \
    if (grad_add && !relu) product_rows<T, true, false>(x, y, grad_output, rows, width, mean, sums, out, grad_add);   \
    if (!grad_add && relu) product_rows<T, false, true>(x, y, grad_output, rows, width, mean, sums, out, grad_add);   \
    if (!grad_add && !relu) product_rows<T, false, false>(x, y, grad_output, rows, width, mean, sums, out, grad_add); \
  }                                                                                                                   \
  CNN_CLONES void grads(const T* x, const T* y, const T* grad_output, bool relu, int64_t rows, int64_t width,         \
                        const float* mean, const float* factor, const float* shift, const float* tilt,                \
                        T* grad_input) {                                                                              \
    if (relu) grad_input_rows<T, true>(x, y, grad_output, rows, width, mean, factor, shift, tilt, grad_input);        \
    if (!relu) grad_input_rows<T, false>(x, y, grad_output, rows, width, mean, factor, shift, tilt, grad_input);      \
  }
CNN_FOR(float)
CNN_FOR(Half)
#undef CNN_FOR

// Where channels are few, `fold` rows are read as one wide row, so that the inner loops are long.
struct Rows {
  int64_t count, channels, fold;
  Rows(int64_t count, int64_t channels)
      : count(count), channels(channels), fold(std::max<int64_t>(1, 128 / channels)) {}
  int64_t width() const { return fold * channels; }
  int64_t block() const { return std::max<int64_t>(1, 32768 / width()) * fold; }  // 128 KiB in float32: in the L2 cache

  // f(first row, number of wide rows, their width) for each block of `range`: first wide rows, then the rest. A second
  // pass goes backwards, since the end of the map is still in the cache.
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

// `values` of the channels, or zeros, repeated for a wide row.
std::vector<float> repeated(const float* values, const Rows& rows) {
  std::vector<float> out(rows.width());
  for (int64_t start = 0; values && start < rows.width(); start += rows.channels)
    std::copy(values, values + rows.channels, out.begin() + start);
  return out;
}

// Adds up the values that a wide row has for each channel.
void gather(const float* wide, int64_t width, int64_t channels, double* out) {
  for (int64_t start = 0; start < width; start += channels)
    for (int64_t c = 0; c < channels; ++c) out[c] += wide[start + c];
}

// Count, mean and sum of squared differences from it, of each channel.
struct Moments {
  double count = 0;
  std::vector<double> mean, squares;
  explicit Moments(int64_t channels) : mean(channels), squares(channels) {}

  void join(double more, const double* means, const double* sums) {
    double total = count + more, share = more / total, weight = count * share;
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
             const T* add, T* y, float* mean, float* var, float* rest) {
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
      write(x + at, add ? add + at : nullptr, n.relu, count, width, means.data(), factors.data(), biases.data(),
            y + at);
    });
  });
}

template <typename T>
void gradient(ffi::ThreadPool& pool, const Normalization& n, const T* x, const T* y, const T* grad_output,
              const float* scale, const float* mean, const float* var, const float* rest, T* grad_input, T* grad_add,
              float* grad_scale, float* grad_bias) {
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
      products(x + at, y + at, grad_output + at, n.relu, count, width, means.data(), first, second,
               grad_add ? grad_add + at : nullptr);
      gather(first, width, n.channels, total);
      gather(second, width, n.channels, total + n.channels);
    });
  });
  std::vector<float> factor(n.channels), shift(n.channels), tilt(n.channels);
  for (int64_t c = 0; c < n.channels; ++c) {
    double sum = 0, product = 0, inverse = 1 / std::sqrt(static_cast<double>(var[c]) + n.epsilon);
    for (auto& total : totals) sum += total[c], product += total[n.channels + c];
    product -= rest[c] * sum;
    if (grad_scale) grad_scale[c] = static_cast<float>(product * inverse);
    if (grad_bias) grad_bias[c] = static_cast<float>(sum);
    factor[c] = static_cast<float>((scale ? scale[c] : 1.) * inverse);
    tilt[c] = static_cast<float>(product * inverse * inverse / n.rows);
    shift[c] = static_cast<float>(sum / n.rows - static_cast<double>(rest[c]) * tilt[c]);
  }
  auto factors = repeated(factor.data(), rows), shifts = repeated(shift.data(), rows),
       tilts = repeated(tilt.data(), rows);
  parallel(pool, parts, [&](int64_t part) {
    rows.blocks(part_of(n.rows, parts, part), true, [&](int64_t row, int64_t count, int64_t width) {
      int64_t at = row * n.channels;
      grads(x + at, y + at, grad_output + at, n.relu, count, width, means.data(), factors.data(), shifts.data(),
            tilts.data(), grad_input + at);
    });
  });
}

using F32 = ffi::Buffer<ffi::DataType::F32>;
using OutF32 = ffi::Result<F32>;
using Out = ffi::Result<ffi::AnyBuffer>;

Normalization describe(const ffi::AnyBuffer& x, float epsilon, bool relu) {
  auto sides = x.dimensions();
  if (sides.size() < 2 || x.element_count() == 0)
    throw std::invalid_argument("expected a map (..., C) with something in it");
  int64_t channels = sides.back(), values = static_cast<int64_t>(x.element_count());
  return {values / channels, channels, epsilon, relu};
}

// x (..., C), scale and bias (C,) or (0,), add like x or (0,) -> y like x, mean and biased var (C,), and what rounding
// took from the mean (C,)
ffi::Error BatchNorm(ffi::ThreadPool pool, ffi::AnyBuffer x, F32 scale, F32 bias, ffi::AnyBuffer add, Out y,
                     OutF32 mean, OutF32 var, OutF32 rest, float epsilon, bool relu) {
  return guarded("batch normalization", [&] {
    auto n = describe(x, epsilon, relu);
    with_type(type_of(x), [&](auto value) {
      using T = decltype(value);
      forward<T>(pool, n, data<T>(x), data(scale), data(bias), data<T>(add), data<T>(*y), data(*mean), data(*var),
                 data(*rest));
    });
  });
}

// grad_output like y -> gradients of x, of add (like x or (0,)), of scale and bias ((C,) or (0,))
ffi::Error BatchNormGradient(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer y, ffi::AnyBuffer grad_output,
                             F32 scale, F32 mean, F32 var, F32 rest, Out grad_input, Out grad_add, OutF32 grad_scale,
                             OutF32 grad_bias, float epsilon, bool relu) {
  return guarded("batch normalization's gradient", [&] {
    auto n = describe(x, epsilon, relu);
    with_type(type_of(x), [&](auto value) {
      using T = decltype(value);
      gradient<T>(pool, n, data<T>(x), data<T>(y), data<T>(grad_output), data(scale), data(mean), data(var), data(rest),
                  data<T>(*grad_input), data<T>(*grad_add), data(*grad_scale), data(*grad_bias));
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

// Maximum pooling and its gradient. Maps are NHWC; each thread takes whole images.
//
// Forward notes which tap of the window won, so that the gradient is a walk over the outputs. The first of equal
// values wins, and a NaN wins over everything, as in ops/pooling.py and PyTorch.
#include "common.h"
#include "vectors.h"

namespace cnn {
namespace {

// geometry: taps (2), stride (2), padding top, left.
struct Pooling {
  int64_t batch, height, width, channels, out_h, out_w;
  int64_t taps_h, taps_w, stride_h, stride_w, top, left;

  double operations() const { return 2.0 * batch * out_h * out_w * channels * taps_h * taps_w; }
  int64_t in_values() const { return height * width * channels; }
  int64_t out_values() const { return out_h * out_w * channels; }
};

// Those taps of the window at (row, column) of the output that lie on the map: rows [top, bottom), columns [left, right).
struct Window {
  int64_t top, bottom, left, right;

  CNN_INLINE Window(const Pooling& p, int64_t row, int64_t column)
      : p_(p), y_(row * p.stride_h - p.top), x_(column * p.stride_w - p.left) {
    top = std::max<int64_t>(0, -y_), bottom = std::min(p.taps_h, p.height - y_);
    left = std::max<int64_t>(0, -x_), right = std::min(p.taps_w, p.width - x_);
  }
  CNN_INLINE int tap(int64_t i, int64_t j) const { return static_cast<int>(i * p_.taps_w + j); }
  CNN_INLINE int64_t at(int64_t i, int64_t j) const { return ((y_ + i) * p_.width + x_ + j) * p_.channels; }

  // f(tap, where its first channel is), in reading order.
  template <typename F>
  CNN_INLINE void taps(const F& f) const {
    for (int64_t i = top; i < bottom; ++i)
      for (int64_t j = left; j < right; ++j) f(tap(i, j), at(i, j));
  }

 private:
  const Pooling& p_;
  int64_t y_, x_;
};

// As many channels as are worked on at a time, in registers.
constexpr int64_t kBlock = 64;

// `count` channels of one window, at most kBlock.
template <typename T>
CNN_INLINE void pool_window(const Pooling& p, int64_t row, int64_t column, int64_t count, const T* x, T* y,
                            uint8_t* winner) {
  float best[kBlock];
  int32_t wins[kBlock];
  bool first = true;
  Window(p, row, column).taps([&](int32_t tap, int64_t in) {
    if (first) {
      for (int64_t c = 0; c < count; ++c) best[c] = load(x + in + c), wins[c] = tap;
      first = false;
      return;
    }
    for (int64_t c = 0; c < count; ++c) {
      float value = load(x + in + c);
      bool better = (value > best[c]) | (value != value);
      best[c] = better ? value : best[c];
      wins[c] = better ? tap : wins[c];
    }
  });
  for (int64_t c = 0; c < count; ++c) store(y + c, best[c]);
  for (int64_t c = 0; c < count; ++c) winner[c] = static_cast<uint8_t>(wins[c]);
}

template <typename T>
CNN_INLINE void pool_image(const Pooling& p, const T* x, T* y, uint8_t* winner) {
  for (int64_t row = 0; row < p.out_h; ++row)
    for (int64_t column = 0; column < p.out_w; ++column) {
      int64_t out = (row * p.out_w + column) * p.channels, c = 0;
      for (; c + kBlock <= p.channels; c += kBlock)
        pool_window(p, row, column, kBlock, x + c, y + out + c, winner + out + c);
      if (c < p.channels) pool_window(p, row, column, p.channels - c, x + c, y + out + c, winner + out + c);
    }
}

// The sums of an image's slopes, in float32, then stored.
template <typename T>
CNN_INLINE void unpool_image(const Pooling& p, const T* slope, const uint8_t* winner, float* sums) {
  for (int64_t row = 0; row < p.out_h; ++row)
    for (int64_t column = 0; column < p.out_w; ++column) {
      int64_t out = (row * p.out_w + column) * p.channels;
      Window(p, row, column).taps([&](int32_t tap, int64_t in) {
#pragma GCC ivdep
        for (int64_t c = 0; c < p.channels; ++c) sums[in + c] += winner[out + c] == tap ? load(slope + out + c) : 0.f;
      });
    }
}

// The same for AVX-512 and few channels, which do not fill a block.
bool few_channels(const Pooling& p) { return avx512() && p.channels < kBlock; }

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,fma")
template <typename T>
void pool_image_512(const Pooling& p, const T* x, T* y, uint8_t* winner) {
  for (int64_t row = 0; row < p.out_h; ++row)
    for (int64_t column = 0; column < p.out_w; ++column, y += p.channels, winner += p.channels) {
      Window window(p, row, column);
      for (int64_t c = 0; c < p.channels; c += kLanes) {
        Mask mask = first_lanes(p.channels - c);
        Vector best = load(mask, x + window.at(window.top, window.left) + c);
        __m512i wins = _mm512_set1_epi32(window.tap(window.top, window.left));
        for (int64_t i = window.top; i < window.bottom; ++i)
          for (int64_t j = window.left; j < window.right; ++j) {
            Vector value = load(mask, x + window.at(i, j) + c);
            Mask better = _mm512_cmp_ps_mask(value, best, _CMP_GT_OQ) | _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
            best = _mm512_mask_mov_ps(best, better, value);
            wins = _mm512_mask_mov_epi32(wins, better, _mm512_set1_epi32(window.tap(i, j)));
          }
        store(mask, y + c, best);
        _mm512_mask_cvtepi32_storeu_epi8(winner + c, mask, wins);
      }
    }
}

template <typename T>
void unpool_image_512(const Pooling& p, const T* slope, const uint8_t* winner, float* sums) {
  for (int64_t row = 0; row < p.out_h; ++row)
    for (int64_t column = 0; column < p.out_w; ++column, slope += p.channels, winner += p.channels) {
      Window window(p, row, column);
      for (int64_t c = 0; c < p.channels; c += kLanes) {
        Mask mask = first_lanes(p.channels - c);
        Vector value = load(mask, slope + c);
        __m512i wins = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, winner + c));
        for (int64_t i = window.top; i < window.bottom; ++i)
          for (int64_t j = window.left; j < window.right; ++j) {
            Mask won = _mm512_mask_cmpeq_epi32_mask(mask, wins, _mm512_set1_epi32(window.tap(i, j)));
            float* into = sums + window.at(i, j) + c;
            store(mask, into, load(mask, into) + _mm512_maskz_mov_ps(won, value));
          }
      }
    }
}
#pragma GCC pop_options

CNN_CLONES void pool(const Pooling& p, const float* x, float* y, uint8_t* winner) { pool_image(p, x, y, winner); }
CNN_CLONES void pool(const Pooling& p, const Half* x, Half* y, uint8_t* winner) { pool_image(p, x, y, winner); }
CNN_CLONES void unpool(const Pooling& p, const float* slope, const uint8_t* winner, float* sums) {
  unpool_image(p, slope, winner, sums);
}
CNN_CLONES void unpool(const Pooling& p, const Half* slope, const uint8_t* winner, float* sums) {
  unpool_image(p, slope, winner, sums);
}

using Geometry = ffi::Span<const int64_t>;
using Winner = ffi::Buffer<ffi::DataType::U8>;
using Out = ffi::Result<ffi::AnyBuffer>;

Pooling describe(ffi::AnyBuffer::Dimensions in, ffi::AnyBuffer::Dimensions out, Geometry geometry) {
  if (in.size() != 4 || out.size() != 4 || geometry.size() != 6 || geometry[0] * geometry[1] > 255)
    throw std::invalid_argument("expected maps (B, H, W, C), 6 numbers of geometry and at most 255 taps");
  return {in[0],       in[1],       in[2],       in[3],       out[1],      out[2],
          geometry[0], geometry[1], geometry[2], geometry[3], geometry[4], geometry[5]};
}

template <typename F>
void over_images(ffi::ThreadPool& pool, const Pooling& p, const F& f) {
  int64_t parts = split(pool, p.batch, p.operations());
  parallel(pool, parts, [&](int64_t part) {
    Range range = part_of(p.batch, parts, part);
    for (int64_t image = range.begin; image < range.begin + range.size; ++image) f(image);
  });
}

// x (B, H, W, C) -> y (B, H', W', C) and the taps that won
ffi::Error MaxPool(ffi::ThreadPool threads, ffi::AnyBuffer x, Out y, ffi::Result<Winner> winner, Geometry geometry) {
  return guarded("max pooling", [&] {
    Pooling p = describe(x.dimensions(), y->dimensions(), geometry);
    auto run = [&](auto* in, auto* out) {
      over_images(threads, p, [&](int64_t image) {
        int64_t at = image * p.out_values();
        if (few_channels(p))
          pool_image_512(p, in + image * p.in_values(), out + at, winner->typed_data() + at);
        else
          pool(p, in + image * p.in_values(), out + at, winner->typed_data() + at);
      });
    };
    if (type_of(x) == Type::f32) run(static_cast<const float*>(x.untyped_data()), static_cast<float*>(y->untyped_data()));
    else run(static_cast<const Half*>(x.untyped_data()), static_cast<Half*>(y->untyped_data()));
  });
}

// slope (B, H', W', C) of y and the taps that won -> slope of x
ffi::Error MaxPoolGradient(ffi::ThreadPool threads, ffi::AnyBuffer slope, Winner winner, Out into_x, Geometry geometry) {
  return guarded("max pooling's gradient", [&] {
    Pooling p = describe(into_x->dimensions(), slope.dimensions(), geometry);
    auto add_up = [&](const auto* slopes, const uint8_t* winners, float* sums) {
      std::memset(sums, 0, p.in_values() * sizeof(float));
      if (few_channels(p))
        unpool_image_512(p, slopes, winners, sums);
      else
        unpool(p, slopes, winners, sums);
    };
    over_images(threads, p, [&](int64_t image) {
      int64_t from = image * p.out_values(), to = image * p.in_values();
      const uint8_t* winners = winner.typed_data() + from;
      if (type_of(slope) == Type::f32) {
        add_up(static_cast<const float*>(slope.untyped_data()) + from, winners,
               static_cast<float*>(into_x->untyped_data()) + to);
        return;
      }
      float* sums = static_cast<float*>(scratch(kPartial, p.in_values() * sizeof(float)));
      add_up(static_cast<const Half*>(slope.untyped_data()) + from, winners, sums);
      Half* out = static_cast<Half*>(into_x->untyped_data()) + to;
      for (int64_t i = 0; i < p.in_values(); ++i) store(out + i, sums[i]);
    });
  });
}

}  // namespace
}  // namespace cnn

using cnn::ffi::AnyBuffer;
using cnn::ffi::Ffi;

XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_max_pool, cnn::MaxPool,
                              Ffi::Bind()
                                  .Ctx<cnn::ffi::ThreadPool>()
                                  .Arg<AnyBuffer>()
                                  .Ret<AnyBuffer>()
                                  .Ret<cnn::Winner>()
                                  .Attr<cnn::Geometry>("geometry"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_max_pool_gradient, cnn::MaxPoolGradient,
                              Ffi::Bind()
                                  .Ctx<cnn::ffi::ThreadPool>()
                                  .Arg<AnyBuffer>()
                                  .Arg<cnn::Winner>()
                                  .Ret<AnyBuffer>()
                                  .Attr<cnn::Geometry>("geometry"));

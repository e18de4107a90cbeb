// Maximum pooling and its gradient. Maps are NHWC; each thread takes whole images.
//
// The forward pass stores which tap of the window won, and the gradient reads that. The first of equal values wins, and
// a NaN wins over everything, as in ops/pooling.py and PyTorch.
#include "common.h"
#include "vectors.h"

namespace cnn {

// How the window slides: what Python gives by name.
struct PoolingAttributes {
  Numbers size, stride, padding_before;
};

}  // namespace cnn

XLA_FFI_REGISTER_STRUCT_ATTR_DECODING(cnn::PoolingAttributes, StructMember<cnn::Numbers>("size"),
                                      StructMember<cnn::Numbers>("stride"),
                                      StructMember<cnn::Numbers>("padding_before"));

namespace cnn {
namespace {

// `top` and `left` are the padding.
struct Pooling {
  int64_t batch, height, width, channels, out_h, out_w;
  int64_t taps_h, taps_w, stride_h, stride_w, top, left;

  double operations() const { return 2.0 * batch * out_h * out_w * channels * taps_h * taps_w; }
  int64_t in_values() const { return height * width * channels; }
  int64_t out_values() const { return out_h * out_w * channels; }
};

// The taps of the window for output (row, column) that lie on the map: rows [top, bottom), columns [left, right).
struct Window {
  int64_t top, bottom, left, right;

  CNN_INLINE Window(const Pooling& p, int64_t row, int64_t column)
      : p_(p), y_(row * p.stride_h - p.top), x_(column * p.stride_w - p.left) {
    top = std::max<int64_t>(0, -y_), bottom = std::min(p.taps_h, p.height - y_);
    left = std::max<int64_t>(0, -x_), right = std::min(p.taps_w, p.width - x_);
  }
  CNN_INLINE int tap(int64_t i, int64_t j) const { return static_cast<int>(i * p_.taps_w + j); }
  CNN_INLINE int64_t at(int64_t i, int64_t j) const { return ((y_ + i) * p_.width + x_ + j) * p_.channels; }

  // f(tap, offset of its first channel), in reading order.
  template <typename F>
  CNN_INLINE void taps(const F& f) const {
    for (int64_t i = top; i < bottom; ++i)
      for (int64_t j = left; j < right; ++j) f(tap(i, j), at(i, j));
  }

 private:
  const Pooling& p_;
  int64_t y_, x_;
};

// Channels at a time: as many as registers hold.
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

// Adds the gradients of an image's outputs to `sums`, in float32.
template <typename T>
CNN_INLINE void unpool_image(const Pooling& p, const T* grad_output, const uint8_t* winner, float* sums) {
  for (int64_t row = 0; row < p.out_h; ++row)
    for (int64_t column = 0; column < p.out_w; ++column) {
      int64_t out = (row * p.out_w + column) * p.channels;
      Window(p, row, column).taps([&](int32_t tap, int64_t in) {
#pragma GCC ivdep
        for (int64_t c = 0; c < p.channels; ++c)
          sums[in + c] += winner[out + c] == tap ? load(grad_output + out + c) : 0.f;
      });
    }
}

// The same with AVX-512's masks, for channels too few to fill a block.
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
void unpool_image_512(const Pooling& p, const T* grad_output, const uint8_t* winner, float* sums) {
  for (int64_t row = 0; row < p.out_h; ++row)
    for (int64_t column = 0; column < p.out_w; ++column, grad_output += p.channels, winner += p.channels) {
      Window window(p, row, column);
      for (int64_t c = 0; c < p.channels; c += kLanes) {
        Mask mask = first_lanes(p.channels - c);
        Vector value = load(mask, grad_output + c);
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
CNN_CLONES void unpool(const Pooling& p, const float* grad_output, const uint8_t* winner, float* sums) {
  unpool_image(p, grad_output, winner, sums);
}
CNN_CLONES void unpool(const Pooling& p, const Half* grad_output, const uint8_t* winner, float* sums) {
  unpool_image(p, grad_output, winner, sums);
}

using Winner = ffi::Buffer<ffi::DataType::U8>;
using Out = ffi::Result<ffi::AnyBuffer>;

Pooling describe(ffi::AnyBuffer::Dimensions in, ffi::AnyBuffer::Dimensions out, const PoolingAttributes& a) {
  Pair size(a.size), stride(a.stride), before(a.padding_before);
  if (in.size() != 4 || out.size() != 4 || size.h * size.w > 255)
    throw std::invalid_argument("expected maps (B, H, W, C) and at most 255 taps");
  Pooling p;
  p.batch = in[0], p.height = in[1], p.width = in[2], p.channels = in[3], p.out_h = out[1], p.out_w = out[2];
  p.taps_h = size.h, p.taps_w = size.w, p.stride_h = stride.h, p.stride_w = stride.w;
  p.top = before.h, p.left = before.w;
  return p;
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
ffi::Error MaxPool(ffi::ThreadPool threads, ffi::AnyBuffer x, Out y, ffi::Result<Winner> winner,
                   PoolingAttributes attributes) {
  return guarded("max pooling", [&] {
    Pooling p = describe(x.dimensions(), y->dimensions(), attributes);
    auto run = [&](auto* in, auto* out) {
      over_images(threads, p, [&](int64_t image) {
        int64_t at = image * p.out_values();
        if (few_channels(p))
          pool_image_512(p, in + image * p.in_values(), out + at, winner->typed_data() + at);
        else
          pool(p, in + image * p.in_values(), out + at, winner->typed_data() + at);
      });
    };
    if (type_of(x) == Type::f32)
      run(static_cast<const float*>(x.untyped_data()), static_cast<float*>(y->untyped_data()));
    else
      run(static_cast<const Half*>(x.untyped_data()), static_cast<Half*>(y->untyped_data()));
  });
}

// grad_output (B, H', W', C) and the taps that won -> grad_input (B, H, W, C)
ffi::Error MaxPoolGradient(ffi::ThreadPool threads, ffi::AnyBuffer grad_output, Winner winner, Out grad_input,
                           PoolingAttributes attributes) {
  return guarded("max pooling's gradient", [&] {
    Pooling p = describe(grad_input->dimensions(), grad_output.dimensions(), attributes);
    auto add_up = [&](const auto* grads, const uint8_t* winners, float* sums) {
      std::memset(sums, 0, p.in_values() * sizeof(float));
      if (few_channels(p))
        unpool_image_512(p, grads, winners, sums);
      else
        unpool(p, grads, winners, sums);
    };
    over_images(threads, p, [&](int64_t image) {
      int64_t from = image * p.out_values(), to = image * p.in_values();
      const uint8_t* winners = winner.typed_data() + from;
      if (type_of(grad_output) == Type::f32) {
        add_up(static_cast<const float*>(grad_output.untyped_data()) + from, winners,
               static_cast<float*>(grad_input->untyped_data()) + to);
        return;
      }
      float* sums = static_cast<float*>(scratch(kPartial, p.in_values() * sizeof(float)));
      add_up(static_cast<const Half*>(grad_output.untyped_data()) + from, winners, sums);
      Half* out = static_cast<Half*>(grad_input->untyped_data()) + to;
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
                                  .Attrs<cnn::PoolingAttributes>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_max_pool_gradient, cnn::MaxPoolGradient,
                              Ffi::Bind()
                                  .Ctx<cnn::ffi::ThreadPool>()
                                  .Arg<AnyBuffer>()
                                  .Arg<cnn::Winner>()
                                  .Ret<AnyBuffer>()
                                  .Attrs<cnn::PoolingAttributes>());

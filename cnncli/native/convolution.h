// A convolution: maps are NHWC, kernels HWIO with I = channels / groups. Kernels, biases and their gradients are
// float32 whatever the maps are.
#pragma once

#include "common.h"

namespace cnn {

// geometry: stride (2), dilation (2), padding top, bottom, left, right, groups.
struct Convolution {
  int64_t batch, height, width, channels, filters, taps_h, taps_w, out_h, out_w;
  Shape geometry;
  Type type;

  int64_t groups() const { return geometry[8]; }
  double operations() const {
    return 2.0 * batch * out_h * out_w * filters * taps_h * taps_w * (channels / groups());
  }
  int64_t in_bytes() const { return height * width * channels * bytes_of(type); }
  int64_t out_bytes() const { return out_h * out_w * filters * bytes_of(type); }
  int64_t weights() const { return taps_h * taps_w * (channels / groups()) * filters; }

  Convolution with_batch(int64_t size) const {
    Convolution other = *this;
    other.batch = size;
    return other;
  }

  Shape key(int64_t kind, bool bias) const {
    Shape key{kind,    bias,   static_cast<int64_t>(type), batch, height, width, channels,
              filters, taps_h, taps_w,                     out_h, out_w};
    key.insert(key.end(), geometry.begin(), geometry.end());
    return key;
  }
};

// `bias`, and its gradient, may be null.
void convolve(ffi::ThreadPool& pool, const Convolution& c, const void* x, const float* kernel, const float* bias,
              void* y);
void input_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* slope, const float* kernel, void* into_x);
void weight_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* x, const void* slope, float* into_kernel,
                     float* into_bias);

}  // namespace cnn

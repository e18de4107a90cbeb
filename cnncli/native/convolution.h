// A convolution: maps are NHWC, kernels HWIO with I = channels / groups. Kernels, biases and their gradients are
// float32 whatever the maps are.
#pragma once

#include "common.h"

namespace cnn {

// `top`, `bottom`, `left` and `right` are the padding.
struct Convolution {
  int64_t batch, height, width, channels, filters, taps_h, taps_w, out_h, out_w;
  int64_t stride_h, stride_w, dilation_h, dilation_w, top, bottom, left, right, groups;
  Type type;

  double operations() const { return 2.0 * batch * out_h * out_w * filters * taps_h * taps_w * (channels / groups); }
  bool dense() const { return stride_h == 1 && stride_w == 1 && dilation_h == 1 && dilation_w == 1; }
  int64_t in_bytes() const { return height * width * channels * bytes_of(type); }
  int64_t out_bytes() const { return out_h * out_w * filters * bytes_of(type); }
  int64_t weights() const { return taps_h * taps_w * (channels / groups) * filters; }

  Convolution with_batch(int64_t size) const {
    Convolution other = *this;
    other.batch = size;
    return other;
  }

  Shape key(int64_t kind, bool bias) const {
    return {kind,       bias,     static_cast<int64_t>(type),
            batch,      height,   width,
            channels,   filters,  taps_h,
            taps_w,     out_h,    out_w,
            stride_h,   stride_w, dilation_h,
            dilation_w, top,      bottom,
            left,       right,    groups};
  }
};

// `bias` and `grad_bias` may be null.
void convolve(ffi::ThreadPool& pool, const Convolution& c, const void* x, const float* kernel, const float* bias,
              void* y);
void input_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* grad_output, const float* kernel,
                    void* grad_input);
void weight_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* x, const void* grad_output,
                     float* grad_weight, float* grad_bias);

}  // namespace cnn

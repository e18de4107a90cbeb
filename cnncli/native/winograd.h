// 3x3 convolutions of stride 1 with 16 multiplications for 2x2 outputs where the definition has 36.
#pragma once

#include "convolution.h"

namespace cnn {

// Whether this processor and this convolution gain by it.
bool winograd_fits(const Convolution& c);

// As the convolution and its gradients; `bias` may be null.
void winograd_forward(ffi::ThreadPool& pool, const Convolution& c, const void* x, const float* kernel,
                      const float* bias, void* y);
void winograd_input_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* slope, const float* kernel,
                             void* into_x);
void winograd_weight_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* x, const void* slope,
                              float* into_kernel);

}  // namespace cnn

// 3x3 convolutions of stride 1 with 16 multiplications for 2x2 outputs where the definition has 36.
#pragma once

#include "convolution.h"

namespace cnn {

// Whether it is faster for this convolution on this processor.
bool winograd_fits(const Convolution& c);

// `bias` may be null.
void winograd_forward(ffi::ThreadPool& pool, const Convolution& c, const void* x, const float* kernel,
                      const float* bias, void* y);
void winograd_input_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* grad_output, const float* kernel,
                             void* grad_input);
void winograd_weight_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* x, const void* grad_output,
                              float* grad_weight);

}  // namespace cnn

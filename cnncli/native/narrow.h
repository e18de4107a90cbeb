// Gradients of convolutions with few channels or filters, where vectors of them would be mostly empty.
#pragma once

#include "convolution.h"

namespace cnn {

bool narrow_input_fits(const Convolution& c);
bool narrow_weight_fits(const Convolution& c);

// slope (B, H', W', F) of the outputs, kernel (h, w, C, F) -> (B, H, W, C)
void narrow_input_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* slope, const float* kernel,
                           void* into_x);

// x (B, H, W, C), slope -> (h, w, C, F)
void narrow_weight_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* x, const void* slope,
                            float* into_kernel);

}  // namespace cnn

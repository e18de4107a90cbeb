// Gradients of convolutions with few channels or filters, which do not fill a vector.
#pragma once

#include "convolution.h"

namespace cnn {

bool narrow_input_fits(const Convolution& c);
bool narrow_weight_fits(const Convolution& c);

// grad_output (B, H', W', F), kernel (h, w, C, F) -> grad_input (B, H, W, C)
void narrow_input_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* grad_output, const float* kernel,
                           void* grad_input);

// x (B, H, W, C), grad_output (B, H', W', F) -> grad_weight (h, w, C, F)
void narrow_weight_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* x, const void* grad_output,
                            float* grad_weight);

}  // namespace cnn

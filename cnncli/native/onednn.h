// Any convolution, by oneDNN.
#pragma once

#include "convolution.h"

namespace cnn {

// `bias` and `grad_bias` may be null.
void onednn_forward(ffi::ThreadPool& pool, const Convolution& c, const void* x, const float* kernel, const float* bias,
                    void* y);
void onednn_input_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* grad_output, const float* kernel,
                           void* grad_input);
void onednn_weight_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* x, const void* grad_output,
                            float* grad_weight, float* grad_bias);

}  // namespace cnn

// Any convolution, by oneDNN.
#pragma once

#include "convolution.h"

namespace cnn {

// As the convolution and its gradients; `bias`, and its gradient, may be null.
void onednn_forward(ffi::ThreadPool& pool, const Convolution& c, const void* x, const float* kernel, const float* bias,
                    void* y);
void onednn_input_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* slope, const float* kernel,
                           void* into_x);
void onednn_weight_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* x, const void* slope,
                            float* into_kernel, float* into_bias);

}  // namespace cnn

// Convolution and its two gradients: the choice of the fastest algorithm, and the functions that XLA calls.
#include "convolution.h"

#include "narrow.h"
#include "onednn.h"
#include "vectors.h"
#include "winograd.h"

namespace cnn {

// How the kernel slides: what Python gives by name.
struct ConvolutionAttributes {
  Numbers stride, dilation, padding_before, padding_after;
  int64_t groups;
};

}  // namespace cnn

XLA_FFI_REGISTER_STRUCT_ATTR_DECODING(cnn::ConvolutionAttributes, StructMember<cnn::Numbers>("stride"),
                                      StructMember<cnn::Numbers>("dilation"),
                                      StructMember<cnn::Numbers>("padding_before"),
                                      StructMember<cnn::Numbers>("padding_after"), StructMember<int64_t>("groups"));

namespace cnn {
namespace {

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,fma")
// sums[f] += x[row][f], rows a block at a time in float32.
template <typename T>
void add_rows(const T* x, int64_t rows, int64_t filters, double* sums) {
  constexpr int64_t kBlock = 512;
  for (int64_t f = 0; f < filters; f += kLanes)
    for (int64_t block = 0; block < rows; block += kBlock) {
      Mask mask = first_lanes(filters - f);
      Vector even = _mm512_setzero_ps(), odd = even;
      int64_t row = block, end = std::min(rows, block + kBlock);
      for (; row + 1 < end; row += 2) {
        even += load(mask, x + row * filters + f);
        odd += load(mask, x + (row + 1) * filters + f);
      }
      if (row < end) even += load(mask, x + row * filters + f);
      alignas(64) float total[kLanes];
      _mm512_store_ps(total, even + odd);
      for (int64_t i = 0; i < std::min(kLanes, filters - f); ++i) sums[f + i] += total[i];
    }
}
#pragma GCC pop_options

// The gradient of the bias, where oneDNN does not compute it: the sum over all pixels.
void bias_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* grad_output, float* out) {
  int64_t rows = c.batch * c.out_h * c.out_w, parts = split(pool, rows, 1.0 * rows * c.filters);
  std::vector<std::vector<double>> sums(parts, std::vector<double>(c.filters));
  parallel(pool, parts, [&](int64_t part) {
    Range range = part_of(rows, parts, part);
    const void* from = offset(grad_output, range.begin * c.filters * bytes_of(c.type));
    with_type(c.type, [&](auto value) {
      add_rows(static_cast<const decltype(value)*>(from), range.size, c.filters, sums[part].data());
    });
  });
  for (int64_t f = 0; f < c.filters; ++f) {
    double total = 0;
    for (auto& sum : sums) total += sum[f];
    out[f] = static_cast<float>(total);
  }
}

// Winograd's products are in float32: not where products of bfloat16 are faster.
bool winograd_pays(const Convolution& c) { return winograd_fits(c) && (c.type == Type::f32 || !fast_bfloat16()); }

}  // namespace

void convolve(ffi::ThreadPool& pool, const Convolution& c, const void* x, const float* kernel, const float* bias,
              void* y) {
  auto* run = winograd_pays(c) ? winograd_forward : onednn_forward;
  run(pool, c, x, kernel, bias, y);
}

void input_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* grad_output, const float* kernel,
                    void* grad_input) {
  auto* run = winograd_pays(c)       ? winograd_input_gradient
              : narrow_input_fits(c) ? narrow_input_gradient
                                     : onednn_input_gradient;
  run(pool, c, grad_output, kernel, grad_input);
}

void weight_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* x, const void* grad_output,
                     float* grad_weight, float* grad_bias) {
  bool winograd = winograd_fits(c), narrow = narrow_weight_fits(c);
  if (!winograd && !narrow) return onednn_weight_gradient(pool, c, x, grad_output, grad_weight, grad_bias);
  auto* run = winograd ? winograd_weight_gradient : narrow_weight_gradient;
  run(pool, c, x, grad_output, grad_weight);
  if (grad_bias) bias_gradient(pool, c, grad_output, grad_bias);
}

namespace {

using Out = ffi::Result<ffi::AnyBuffer>;
using OutF32 = ffi::Result<ffi::Buffer<ffi::DataType::F32>>;
using F32 = ffi::Buffer<ffi::DataType::F32>;

Convolution describe(ffi::AnyBuffer::Dimensions in, ffi::AnyBuffer::Dimensions kernel, ffi::AnyBuffer::Dimensions out,
                     const ConvolutionAttributes& a, Type type) {
  if (in.size() != 4 || kernel.size() != 4 || out.size() != 4)
    throw std::invalid_argument("expected maps (B, H, W, C) and a kernel (H, W, I, O)");
  Pair stride(a.stride), dilation(a.dilation), before(a.padding_before), after(a.padding_after);
  Convolution c;
  c.batch = in[0], c.height = in[1], c.width = in[2], c.channels = in[3];
  c.taps_h = kernel[0], c.taps_w = kernel[1], c.filters = kernel[3];
  c.out_h = out[1], c.out_w = out[2];
  c.stride_h = stride.h, c.stride_w = stride.w, c.dilation_h = dilation.h, c.dilation_w = dilation.w;
  c.top = before.h, c.left = before.w, c.bottom = after.h, c.right = after.w;
  c.groups = a.groups, c.type = type;
  return c;
}

// x (B, H, W, C), kernel (h, w, C / groups, F), bias (F,) or (0,) -> y (B, H', W', F)
ffi::Error Forward(ffi::ThreadPool pool, ffi::AnyBuffer x, F32 kernel, F32 bias, Out y,
                   ConvolutionAttributes attributes) {
  return guarded("convolution", [&] {
    auto c = describe(x.dimensions(), kernel.dimensions(), y->dimensions(), attributes, type_of(x));
    const float* biases = bias.element_count() ? bias.typed_data() : nullptr;
    convolve(pool, c, x.untyped_data(), kernel.typed_data(), biases, y->untyped_data());
  });
}

// grad_output (B, H', W', F), kernel -> grad_input (B, H, W, C)
ffi::Error InputGradient(ffi::ThreadPool pool, ffi::AnyBuffer grad_output, F32 kernel, Out grad_input,
                         ConvolutionAttributes attributes) {
  return guarded("convolution's input gradient", [&] {
    auto c = describe(grad_input->dimensions(), kernel.dimensions(), grad_output.dimensions(), attributes,
                      type_of(grad_output));
    input_gradient(pool, c, grad_output.untyped_data(), kernel.typed_data(), grad_input->untyped_data());
  });
}

// x (B, H, W, C), grad_output (B, H', W', F) -> gradients of the kernel and, where it is not (0,), of the bias
ffi::Error WeightGradient(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer grad_output, OutF32 kernel,
                          OutF32 bias, ConvolutionAttributes attributes) {
  return guarded("convolution's weight gradient", [&] {
    auto c = describe(x.dimensions(), kernel->dimensions(), grad_output.dimensions(), attributes, type_of(x));
    float* biases = bias->element_count() ? bias->typed_data() : nullptr;
    weight_gradient(pool, c, x.untyped_data(), grad_output.untyped_data(), kernel->typed_data(), biases);
  });
}

}  // namespace
}  // namespace cnn

using cnn::ffi::AnyBuffer;
using cnn::ffi::Ffi;
using Plain = cnn::ffi::Buffer<cnn::ffi::DataType::F32>;

XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_convolution, cnn::Forward,
                              Ffi::Bind()
                                  .Ctx<cnn::ffi::ThreadPool>()
                                  .Arg<AnyBuffer>()
                                  .Arg<Plain>()
                                  .Arg<Plain>()
                                  .Ret<AnyBuffer>()
                                  .Attrs<cnn::ConvolutionAttributes>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_convolution_input_gradient, cnn::InputGradient,
                              Ffi::Bind()
                                  .Ctx<cnn::ffi::ThreadPool>()
                                  .Arg<AnyBuffer>()
                                  .Arg<Plain>()
                                  .Ret<AnyBuffer>()
                                  .Attrs<cnn::ConvolutionAttributes>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_convolution_weight_gradient, cnn::WeightGradient,
                              Ffi::Bind()
                                  .Ctx<cnn::ffi::ThreadPool>()
                                  .Arg<AnyBuffer>()
                                  .Arg<AnyBuffer>()
                                  .Ret<Plain>()
                                  .Ret<Plain>()
                                  .Attrs<cnn::ConvolutionAttributes>());

// The version of XLA's FFI that this was compiled for.
extern "C" int cnn_ffi_major() { return XLA_FFI_API_MAJOR; }
extern "C" int cnn_ffi_minor() { return XLA_FFI_API_MINOR; }

// bfloat16 convolutions: 0 none, 1 by AVX-512, 2 by matrix units (AMX), several times as fast.
extern "C" int cnn_bfloat16() {
  if (cnn::matrix_units_for_bfloat16()) return 2;
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::avx512_core:
    case dnnl::cpu_isa::avx512_core_vnni:
    case dnnl::cpu_isa::avx512_core_bf16:
    case dnnl::cpu_isa::avx512_core_fp16:
      return 1;
    default:
      return 0;
  }
}

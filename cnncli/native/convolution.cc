// Convolution and its two gradients: which of the ways to compute them is the fastest here, and XLA's calls.
#include "convolution.h"

#include "narrow.h"
#include "onednn.h"
#include "vectors.h"
#include "winograd.h"

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

// The bias' share of a weight gradient that is not oneDNN's: the sum over all pixels.
void bias_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* slope, float* out) {
  int64_t rows = c.batch * c.out_h * c.out_w, parts = split(pool, rows, 1.0 * rows * c.filters);
  std::vector<std::vector<double>> sums(parts, std::vector<double>(c.filters));
  parallel(pool, parts, [&](int64_t part) {
    Range range = part_of(rows, parts, part);
    const void* from = offset(slope, range.begin * c.filters * bytes_of(c.type));
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

// Winograd's sums are in float32: where products of bfloat16 are faster than those, the definition's are.
bool winograd_pays(const Convolution& c) { return winograd_fits(c) && (c.type == Type::f32 || !fast_bfloat16()); }

}  // namespace

void convolve(ffi::ThreadPool& pool, const Convolution& c, const void* x, const float* kernel, const float* bias,
              void* y) {
  auto* run = winograd_pays(c) ? winograd_forward : onednn_forward;
  run(pool, c, x, kernel, bias, y);
}

void input_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* slope, const float* kernel, void* into_x) {
  auto* run = winograd_pays(c)       ? winograd_input_gradient
              : narrow_input_fits(c) ? narrow_input_gradient
                                     : onednn_input_gradient;
  run(pool, c, slope, kernel, into_x);
}

void weight_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* x, const void* slope, float* into_kernel,
                     float* into_bias) {
  bool winograd = winograd_fits(c), narrow = narrow_weight_fits(c);
  if (!winograd && !narrow) return onednn_weight_gradient(pool, c, x, slope, into_kernel, into_bias);
  auto* run = winograd ? winograd_weight_gradient : narrow_weight_gradient;
  run(pool, c, x, slope, into_kernel);
  if (into_bias) bias_gradient(pool, c, slope, into_bias);
}

namespace {

using Geometry = ffi::Span<const int64_t>;
using Out = ffi::Result<ffi::AnyBuffer>;
using OutF32 = ffi::Result<ffi::Buffer<ffi::DataType::F32>>;
using F32 = ffi::Buffer<ffi::DataType::F32>;

Convolution describe(ffi::AnyBuffer::Dimensions in, ffi::AnyBuffer::Dimensions kernel, ffi::AnyBuffer::Dimensions out,
                     ffi::Span<const int64_t> geometry, Type type) {
  if (in.size() != 4 || kernel.size() != 4 || out.size() != 4 || geometry.size() != 9)
    throw std::invalid_argument("expected maps (B, H, W, C), a kernel (H, W, I, O) and 9 numbers of geometry");
  return {in[0],     in[1],  in[2],  in[3], kernel[3], kernel[0], kernel[1], out[1], out[2],
          Shape(geometry.begin(), geometry.end()), type};
}

// x (B, H, W, C), kernel (h, w, C / groups, F), bias (F,) or (0,) -> y (B, H', W', F)
ffi::Error Forward(ffi::ThreadPool pool, ffi::AnyBuffer x, F32 kernel, F32 bias, Out y, Geometry geometry) {
  return guarded("convolution", [&] {
    auto c = describe(x.dimensions(), kernel.dimensions(), y->dimensions(), geometry, type_of(x));
    const float* biases = bias.element_count() ? bias.typed_data() : nullptr;
    convolve(pool, c, x.untyped_data(), kernel.typed_data(), biases, y->untyped_data());
  });
}

// slope (B, H', W', F) of y, kernel -> slope (B, H, W, C) of x
ffi::Error InputGradient(ffi::ThreadPool pool, ffi::AnyBuffer slope, F32 kernel, Out into_x, Geometry geometry) {
  return guarded("convolution's input gradient", [&] {
    auto c = describe(into_x->dimensions(), kernel.dimensions(), slope.dimensions(), geometry, type_of(slope));
    input_gradient(pool, c, slope.untyped_data(), kernel.typed_data(), into_x->untyped_data());
  });
}

// x (B, H, W, C), slope (B, H', W', F) of y -> slopes of the kernel and, where it is not (0,), of the bias
ffi::Error WeightGradient(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer slope, OutF32 kernel, OutF32 bias,
                          Geometry geometry) {
  return guarded("convolution's weight gradient", [&] {
    auto c = describe(x.dimensions(), kernel->dimensions(), slope.dimensions(), geometry, type_of(x));
    float* biases = bias->element_count() ? bias->typed_data() : nullptr;
    weight_gradient(pool, c, x.untyped_data(), slope.untyped_data(), kernel->typed_data(), biases);
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
                                  .Attr<cnn::Geometry>("geometry"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_convolution_input_gradient, cnn::InputGradient,
                              Ffi::Bind()
                                  .Ctx<cnn::ffi::ThreadPool>()
                                  .Arg<AnyBuffer>()
                                  .Arg<Plain>()
                                  .Ret<AnyBuffer>()
                                  .Attr<cnn::Geometry>("geometry"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_convolution_weight_gradient, cnn::WeightGradient,
                              Ffi::Bind()
                                  .Ctx<cnn::ffi::ThreadPool>()
                                  .Arg<AnyBuffer>()
                                  .Arg<AnyBuffer>()
                                  .Ret<Plain>()
                                  .Ret<Plain>()
                                  .Attr<cnn::Geometry>("geometry"));

// The version of XLA's FFI that this was compiled for.
extern "C" int cnn_ffi_major() { return XLA_FFI_API_MAJOR; }
extern "C" int cnn_ffi_minor() { return XLA_FFI_API_MINOR; }

// 0: no bfloat16 convolutions, 1: there (AVX-512), 2: by matrix units (AMX), where they are several times faster.
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

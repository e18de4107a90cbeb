// Convolution and its two gradients by oneDNN. Maps are NHWC, kernels HWIO with I = channels / groups.
//
// The batch is split into parts, one for each of XLA's threads. Weight gradients of the parts are added in the order
// of the parts, so that the sum depends on the number of threads but not on their timing. Kernels, biases and their
// gradients are float32 whatever the maps are.
#include "convolution.h"
#include "narrow.h"
#include "vectors.h"
#include "winograd.h"

namespace cnn {
namespace {

enum Kind { kForward, kInputGradient, kWeightGradient };

// A primitive and the layouts it wants.
struct Op {
  dnnl::primitive primitive;
  memory::desc in, out, bias, weights, plain_weights, scratchpad;
  dnnl::reorder reorder;  // of the plain weights to what the primitive wants, or of its gradient back
  bool reorders = false;
};

Convolution describe(ffi::AnyBuffer::Dimensions in, ffi::AnyBuffer::Dimensions kernel, ffi::AnyBuffer::Dimensions out,
                     ffi::Span<const int64_t> geometry, Type type) {
  if (in.size() != 4 || kernel.size() != 4 || out.size() != 4 || geometry.size() != 9)
    throw std::invalid_argument("expected maps (B, H, W, C), a kernel (H, W, I, O) and 9 numbers of geometry");
  return {in[0],     in[1],  in[2],  in[3], kernel[3], kernel[0], kernel[1], out[1], out[2],
          Shape(geometry.begin(), geometry.end()), type};
}

// HWIO in memory, in the order of dimensions that oneDNN wants: ([G,] O, I, H, W).
memory::desc plain_weights(const Convolution& c) {
  int64_t g = c.groups(), o = c.filters / g, i = c.channels / g, row = i * c.filters;
  if (g == 1) return memory::desc({o, i, c.taps_h, c.taps_w}, Type::f32, {1, o, c.taps_w * row, row});
  return memory::desc({g, o, i, c.taps_h, c.taps_w}, Type::f32, {o, 1, c.filters, c.taps_w * row, row});
}

std::shared_ptr<const Op> make(Kind kind, const Convolution& c, bool bias) {
  using dnnl::algorithm;
  const auto& e = engine();
  auto op = std::make_shared<Op>();
  op->in = memory::desc({c.batch, c.channels, c.height, c.width}, c.type, memory::format_tag::nhwc);
  op->out = memory::desc({c.batch, c.filters, c.out_h, c.out_w}, c.type, memory::format_tag::nhwc);
  op->plain_weights = plain_weights(c);
  // A weight gradient is summed in float32 whatever the maps are.
  Type weight_type = kind == kWeightGradient ? Type::f32 : c.type;
  memory::desc any(op->plain_weights.get_dims(), weight_type, memory::format_tag::any);
  memory::desc forward_any(op->plain_weights.get_dims(), c.type, memory::format_tag::any);
  op->bias = bias ? memory::desc({c.filters}, Type::f32, memory::format_tag::x) : memory::desc();
  const Shape& geo = c.geometry;
  memory::dims stride{geo[0], geo[1]}, dilation{geo[2] - 1, geo[3] - 1}, before{geo[4], geo[6]}, after{geo[5], geo[7]};
  auto attr = attributes();
  dnnl::convolution_forward::primitive_desc forward(
      e, dnnl::prop_kind::forward_training, algorithm::convolution_direct, op->in, kind == kForward ? any : forward_any,
      kind == kForward ? op->bias : memory::desc(), op->out, stride, dilation, before, after, attr);
  auto finish = [&](const auto& desc, const memory::desc& weights) {
    op->scratchpad = desc.scratchpad_desc();
    op->weights = weights;
    op->reorders = weights != op->plain_weights;
  };
  if (kind == kForward) {
    finish(forward, forward.weights_desc());
    op->primitive = dnnl::convolution_forward(forward);
  } else if (kind == kInputGradient) {
    dnnl::convolution_backward_data::primitive_desc desc(e, algorithm::convolution_direct, op->in, any, op->out, stride,
                                                         dilation, before, after, forward, attr);
    finish(desc, desc.weights_desc());
    op->primitive = dnnl::convolution_backward_data(desc);
  } else {
    dnnl::convolution_backward_weights::primitive_desc desc(e, algorithm::convolution_direct, op->in, any, op->bias,
                                                            op->out, stride, dilation, before, after, forward, attr);
    finish(desc, desc.diff_weights_desc());
    op->primitive = dnnl::convolution_backward_weights(desc);
  }
  if (op->reorders) {
    bool back = kind == kWeightGradient;
    op->reorder = dnnl::reorder(dnnl::reorder::primitive_desc(e, back ? op->weights : op->plain_weights, e,
                                                              back ? op->plain_weights : op->weights));
  }
  return op;
}

std::shared_ptr<const Op> find(Kind kind, const Convolution& c, bool bias) {
  return cached<Op>(c.key(kind, bias), [&] { return make(kind, c, bias); });
}

// `plain` as `op` wants it, in memory of the calling thread.
memory arranged(const Op& op, const void* plain) {
  if (!op.reorders) return at(op.plain_weights, plain);
  OneThread one;
  memory from = at(op.plain_weights, plain), to = at(op.weights, scratch(kWeights, op.weights.get_size()));
  dnnl::stream stream(engine());
  op.reorder.execute(stream, from, to);
  stream.wait();
  return to;
}

// The parts of a batch, and the primitives of the larger ones and of the smaller ones.
struct Parts {
  int64_t count, batch;
  std::shared_ptr<const Op> larger, smaller;

  Parts(ffi::ThreadPool& pool, Kind kind, const Convolution& c, bool bias)
      : count(split(pool, c.batch, c.operations())), batch(c.batch) {
    larger = find(kind, c.with_batch(part_of(batch, count, 0).size), bias);
    smaller = batch % count ? find(kind, c.with_batch(part_of(batch, count, count - 1).size), bias) : larger;
  }
  Range range(int64_t part) const { return part_of(batch, count, part); }
  const Op& op(int64_t part) const { return part < batch % count || batch % count == 0 ? *larger : *smaller; }
};

// What runs forward and for the input gradient: maps in, weights arranged once, maps out.
template <typename Execute>
void over_parts(ffi::ThreadPool& pool, const Parts& parts, const void* kernel, const Execute& execute) {
  memory larger = arranged(*parts.larger, kernel), smaller = larger;
  std::vector<char> own;  // a part of another size may want another layout
  if (parts.smaller != parts.larger && parts.smaller->weights != parts.larger->weights) {
    own.resize(parts.larger->weights.get_size() + 64);
    void* data = own.data();
    size_t space = own.size();
    data = std::align(64, own.size() - 64, data, space);
    std::memcpy(data, larger.get_data_handle(), parts.larger->weights.get_size());
    if (parts.larger->reorders) larger = at(parts.larger->weights, data);
    smaller = arranged(*parts.smaller, kernel);
  }
  parallel(pool, parts.count, [&](int64_t part) {
    const Op& op = parts.op(part);
    dnnl::stream stream(engine());
    execute(stream, op, parts.range(part).begin, &op == parts.larger.get() ? larger : smaller);
    stream.wait();
  });
}

void forward(ffi::ThreadPool& pool, const Convolution& c, const ffi::AnyBuffer& x, const void* kernel,
             const void* bias, const ffi::AnyBuffer& y) {
  Parts parts(pool, kForward, c, bias != nullptr);
  over_parts(pool, parts, kernel, [&](auto& stream, const Op& op, int64_t begin, const memory& weights) {
    std::unordered_map<int, memory> args{{DNNL_ARG_SRC, at(op.in, offset(x, begin * c.in_bytes()))},
                                         {DNNL_ARG_WEIGHTS, weights},
                                         {DNNL_ARG_DST, at(op.out, offset(y, begin * c.out_bytes()))},
                                         {DNNL_ARG_SCRATCHPAD, scratchpad(op.scratchpad)}};
    if (bias) args.emplace(DNNL_ARG_BIAS, at(op.bias, bias));
    op.primitive.execute(stream, args);
  });
}

void input_gradient(ffi::ThreadPool& pool, const Convolution& c, const ffi::AnyBuffer& slope,
                    const void* kernel, const ffi::AnyBuffer& out) {
  Parts parts(pool, kInputGradient, c, false);
  over_parts(pool, parts, kernel, [&](auto& stream, const Op& op, int64_t begin, const memory& weights) {
    op.primitive.execute(stream, {{DNNL_ARG_DIFF_DST, at(op.out, offset(slope, begin * c.out_bytes()))},
                                  {DNNL_ARG_WEIGHTS, weights},
                                  {DNNL_ARG_DIFF_SRC, at(op.in, offset(out, begin * c.in_bytes()))},
                                  {DNNL_ARG_SCRATCHPAD, scratchpad(op.scratchpad)}});
  });
}

// sums[i] = partials[0][i] + partials[1][i] + ..., the partials one after the other in memory.
void add_up(ffi::ThreadPool& pool, const float* partials, int64_t count, int64_t size, float* sums) {
  int64_t pieces = split(pool, size, 1.0 * count * size);
  parallel(pool, pieces, [&](int64_t piece) {
    Range range = part_of(size, pieces, piece);
    for (int64_t i = range.begin; i < range.begin + range.size; ++i) {
      float sum = partials[i];
      for (int64_t part = 1; part < count; ++part) sum += partials[part * size + i];
      sums[i] = sum;
    }
  });
}

void weight_gradient(ffi::ThreadPool& pool, const Convolution& c, const ffi::AnyBuffer& x, const ffi::AnyBuffer& slope,
                     float* out, float* bias) {
  Parts parts(pool, kWeightGradient, c, bias != nullptr);
  int64_t size = c.weights(), each = size + (bias ? c.filters : 0);
  bool alone = parts.count == 1;
  float* partials = alone ? nullptr : static_cast<float*>(scratch(kPartial, parts.count * each * sizeof(float)));
  // Partials lie as all kernels, then all biases, so that each is added up in one go.
  auto kernel_at = [&](int64_t part) { return alone ? out : partials + part * size; };
  auto bias_at = [&](int64_t part) { return alone ? bias : partials + parts.count * size + part * c.filters; };
  parallel(pool, parts.count, [&](int64_t part) {
    const Op& op = parts.op(part);
    int64_t begin = parts.range(part).begin;
    dnnl::stream stream(engine());
    void* own = op.reorders ? scratch(kWeights, op.weights.get_size()) : kernel_at(part);
    std::unordered_map<int, memory> args{{DNNL_ARG_SRC, at(op.in, offset(x, begin * c.in_bytes()))},
                                         {DNNL_ARG_DIFF_DST, at(op.out, offset(slope, begin * c.out_bytes()))},
                                         {DNNL_ARG_DIFF_WEIGHTS, at(op.weights, own)},
                                         {DNNL_ARG_SCRATCHPAD, scratchpad(op.scratchpad)}};
    if (bias) args.emplace(DNNL_ARG_DIFF_BIAS, at(op.bias, bias_at(part)));
    op.primitive.execute(stream, args);
    if (op.reorders) {
      memory from = at(op.weights, own), to = at(op.plain_weights, kernel_at(part));
      op.reorder.execute(stream, from, to);
    }
    stream.wait();
  });
  if (alone) return;
  add_up(pool, partials, parts.count, size, out);
  if (bias) add_up(pool, partials + parts.count * size, parts.count, c.filters, bias);
}

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
void bias_gradient(ffi::ThreadPool& pool, const Convolution& c, const ffi::AnyBuffer& slope, float* out) {
  int64_t rows = c.batch * c.out_h * c.out_w, parts = split(pool, rows, 1.0 * rows * c.filters);
  std::vector<std::vector<double>> sums(parts, std::vector<double>(c.filters));
  parallel(pool, parts, [&](int64_t part) {
    Range range = part_of(rows, parts, part);
    const char* from = offset(slope, range.begin * c.filters * bytes_of(c.type));
    if (c.type == Type::f32)
      add_rows(reinterpret_cast<const float*>(from), range.size, c.filters, sums[part].data());
    else
      add_rows(reinterpret_cast<const Half*>(from), range.size, c.filters, sums[part].data());
  });
  for (int64_t f = 0; f < c.filters; ++f) {
    double total = 0;
    for (auto& sum : sums) total += sum[f];
    out[f] = static_cast<float>(total);
  }
}

using Geometry = ffi::Span<const int64_t>;
using Out = ffi::Result<ffi::AnyBuffer>;
using OutF32 = ffi::Result<ffi::Buffer<ffi::DataType::F32>>;
using F32 = ffi::Buffer<ffi::DataType::F32>;

// x (B, H, W, C), kernel (h, w, C / groups, F), bias (F,) or (0,) -> y (B, H', W', F)
ffi::Error Forward(ffi::ThreadPool pool, ffi::AnyBuffer x, F32 kernel, F32 bias, Out y, Geometry geometry) {
  return guarded("convolution", [&] {
    auto c = describe(x.dimensions(), kernel.dimensions(), y->dimensions(), geometry, type_of(x));
    const float* biases = bias.element_count() ? bias.typed_data() : nullptr;
    if (winograd_fits(c)) return winograd_forward(pool, c, x.untyped_data(), kernel.typed_data(), biases, y->untyped_data());
    forward(pool, c, x, kernel.typed_data(), biases, *y);
  });
}

// slope (B, H', W', F) of y, kernel -> slope (B, H, W, C) of x
ffi::Error InputGradient(ffi::ThreadPool pool, ffi::AnyBuffer slope, F32 kernel, Out out,
                         Geometry geometry) {
  return guarded("convolution's input gradient", [&] {
    auto c = describe(out->dimensions(), kernel.dimensions(), slope.dimensions(), geometry, type_of(slope));
    if (winograd_fits(c)) return winograd_input_gradient(pool, c, slope.untyped_data(), kernel.typed_data(), out->untyped_data());
    if (narrow_input_fits(c)) return narrow_input_gradient(pool, c, slope.untyped_data(), kernel.typed_data(), out->untyped_data());
    input_gradient(pool, c, slope, kernel.typed_data(), *out);
  });
}

// x (B, H, W, C), slope (B, H', W', F) of y -> slopes of the kernel and, where it is not (0,), of the bias
ffi::Error WeightGradient(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer slope, OutF32 kernel, OutF32 bias,
                          Geometry geometry) {
  return guarded("convolution's weight gradient", [&] {
    auto c = describe(x.dimensions(), kernel->dimensions(), slope.dimensions(), geometry, type_of(x));
    float *into_kernel = kernel->typed_data(), *into_bias = bias->element_count() ? bias->typed_data() : nullptr;
    bool winograd = winograd_fits(c), narrow = narrow_weight_fits(c);
    if (winograd) winograd_weight_gradient(pool, c, x.untyped_data(), slope.untyped_data(), into_kernel);
    if (narrow) narrow_weight_gradient(pool, c, x.untyped_data(), slope.untyped_data(), into_kernel);
    if ((winograd || narrow) && into_bias) bias_gradient(pool, c, slope, into_bias);
    if (!winograd && !narrow) weight_gradient(pool, c, x, slope, into_kernel, into_bias);
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

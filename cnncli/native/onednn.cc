// Convolution and its two gradients by oneDNN.
//
// The batch is split into parts, one for each of XLA's threads. Weight gradients of the parts are added in the order
// of the parts, so that the sum depends on the number of threads but not on their timing.
#include "onednn.h"

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

// HWIO in memory, in the order of dimensions that oneDNN wants: ([G,] O, I, H, W).
memory::desc plain_weights(const Convolution& c) {
  int64_t g = c.groups, o = c.filters / g, i = c.channels / g, row = i * c.filters;
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
  // oneDNN counts the pixels between taps.
  memory::dims stride{c.stride_h, c.stride_w}, dilation{c.dilation_h - 1, c.dilation_w - 1};
  memory::dims before{c.top, c.left}, after{c.bottom, c.right};
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

}  // namespace

void onednn_forward(ffi::ThreadPool& pool, const Convolution& c, const void* x, const float* kernel, const float* bias,
                    void* y) {
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

void onednn_input_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* grad_output, const float* kernel,
                           void* grad_input) {
  Parts parts(pool, kInputGradient, c, false);
  over_parts(pool, parts, kernel, [&](auto& stream, const Op& op, int64_t begin, const memory& weights) {
    op.primitive.execute(stream, {{DNNL_ARG_DIFF_DST, at(op.out, offset(grad_output, begin * c.out_bytes()))},
                                  {DNNL_ARG_WEIGHTS, weights},
                                  {DNNL_ARG_DIFF_SRC, at(op.in, offset(grad_input, begin * c.in_bytes()))},
                                  {DNNL_ARG_SCRATCHPAD, scratchpad(op.scratchpad)}});
  });
}

void onednn_weight_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* x, const void* grad_output,
                            float* grad_weight, float* grad_bias) {
  Parts parts(pool, kWeightGradient, c, grad_bias != nullptr);
  int64_t size = c.weights(), each = size + (grad_bias ? c.filters : 0);
  bool alone = parts.count == 1;
  float* partials = alone ? nullptr : static_cast<float*>(scratch(kPartial, parts.count * each * sizeof(float)));
  // Partials lie as all kernels, then all biases, so that each is added up in one go.
  auto kernel_at = [&](int64_t part) { return alone ? grad_weight : partials + part * size; };
  auto bias_at = [&](int64_t part) { return alone ? grad_bias : partials + parts.count * size + part * c.filters; };
  parallel(pool, parts.count, [&](int64_t part) {
    const Op& op = parts.op(part);
    int64_t begin = parts.range(part).begin;
    dnnl::stream stream(engine());
    void* own = op.reorders ? scratch(kWeights, op.weights.get_size()) : kernel_at(part);
    std::unordered_map<int, memory> args{{DNNL_ARG_SRC, at(op.in, offset(x, begin * c.in_bytes()))},
                                         {DNNL_ARG_DIFF_DST, at(op.out, offset(grad_output, begin * c.out_bytes()))},
                                         {DNNL_ARG_DIFF_WEIGHTS, at(op.weights, own)},
                                         {DNNL_ARG_SCRATCHPAD, scratchpad(op.scratchpad)}};
    if (grad_bias) args.emplace(DNNL_ARG_DIFF_BIAS, at(op.bias, bias_at(part)));
    // oneDNN sorts bfloat16 columns by their place in the stride. It does not write those of a place that no column
    // has, but reads them.
    size_t bytes = op.scratchpad.get_size();
    if (bytes && c.type == Type::bf16 && c.width < c.stride_w) std::memset(scratch(kScratchpad, bytes), 0, bytes);
    op.primitive.execute(stream, args);
    if (op.reorders) {
      memory from = at(op.weights, own), to = at(op.plain_weights, kernel_at(part));
      op.reorder.execute(stream, from, to);
    }
    stream.wait();
  });
  if (alone) return;
  add_up(pool, partials, parts.count, size, grad_weight);
  if (grad_bias) add_up(pool, partials + parts.count * size, parts.count, c.filters, grad_bias);
}

}  // namespace cnn

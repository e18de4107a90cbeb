// Input gradient: one output pixel adds a run of taps x channels values, contiguous in memory, to one line of the
// input's gradient. Vectors go along taps and channels, so they are full where channels alone would fill a part of one
// (5 x 6 values fill 30 of 32 lanes, 6 values 6 of 16). Several images go together, because each addition waits for the
// last.
//
// Weight gradient: one pixel adds such a run of the input, times one value of the output's gradient, to a line of a
// filter's taps. Two lines of at most 8 values share a vector.
#include "narrow.h"

#include "vectors.h"

namespace cnn {
namespace {

// Vectors of a run at most, and images at a time: 28 registers of sums.
constexpr int64_t kMostVectors = 4, kTogether = 7;

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,fma")

// lines[i] + x * channels += sum over f of grad_output[i][x][f] * factors[f], for IMAGES lines of `width` pixels.
template <int VECTORS, int IMAGES, typename T>
void add_line(const T* grad_output, int64_t grad_stride, int64_t width, int64_t filters, const float* factors,
              float* line, int64_t line_stride, int64_t channels, Mask last) {
  for (int64_t x = 0; x < width; ++x, grad_output += filters, line += channels) {
    Vector sums[IMAGES][VECTORS];
    CNN_UNROLL for (int i = 0; i < IMAGES; ++i) CNN_UNROLL for (int v = 0; v < VECTORS; ++v) sums[i][v] =
        _mm512_setzero_ps();
    for (int64_t f = 0; f < filters; ++f) {
      Vector row[VECTORS];
      CNN_UNROLL for (int v = 0; v < VECTORS; ++v) row[v] = _mm512_loadu_ps(factors + (f * VECTORS + v) * kLanes);
      CNN_UNROLL for (int i = 0; i < IMAGES; ++i) {
        Vector value = _mm512_set1_ps(load(grad_output + i * grad_stride + f));
        CNN_UNROLL for (int v = 0; v < VECTORS; ++v) sums[i][v] = _mm512_fmadd_ps(value, row[v], sums[i][v]);
      }
    }
    CNN_UNROLL for (int i = 0; i < IMAGES; ++i) CNN_UNROLL for (int v = 0; v < VECTORS; ++v) {
      float* at = line + i * line_stride + v * kLanes;
      Mask mask = v == VECTORS - 1 ? last : first_lanes(kLanes);
      store(mask, at, load(mask, at) + sums[i][v]);
    }
  }
}

// sums[line][f] += sum over the pixels of an image of runs[line] * grad_output[f], for LINES vectors of one or,
// `PAIRED`, two lines of the padded image and FILTERS filters. Sums lie as [line][f][16].
template <int LINES, int FILTERS, bool PAIRED>
void add_pixels(const Convolution& c, const float* padded, int64_t width, const float* grad_output, float* sums,
                int64_t sums_stride) {
  Vector totals[LINES][FILTERS];
  CNN_UNROLL for (int l = 0; l < LINES; ++l) CNN_UNROLL for (int f = 0; f < FILTERS; ++f) totals[l][f] =
      _mm512_loadu_ps(sums + l * sums_stride + f * kLanes);
  for (int64_t y = 0; y < c.out_h; ++y)
    for (int64_t x = 0; x < c.out_w; ++x) {
      const float *pixel = padded + y * width + x * c.channels, *value = grad_output + (y * c.out_w + x) * c.filters;
      Vector run[LINES];
      CNN_UNROLL for (int l = 0; l < LINES; ++l) {
        const float* at = pixel + (PAIRED ? 2 * l : l) * width;
        run[l] =
            PAIRED ? _mm512_castpd_ps(_mm512_insertf64x4(_mm512_castps_pd(_mm512_castps256_ps512(_mm256_loadu_ps(at))),
                                                         _mm256_castps_pd(_mm256_loadu_ps(at + width)), 1))
                   : _mm512_loadu_ps(at);
      }
      CNN_UNROLL for (int f = 0; f < FILTERS; ++f) {
        Vector factor = _mm512_set1_ps(value[f]);
        CNN_UNROLL for (int l = 0; l < LINES; ++l) totals[l][f] = _mm512_fmadd_ps(factor, run[l], totals[l][f]);
      }
    }
  CNN_UNROLL for (int l = 0; l < LINES; ++l) CNN_UNROLL for (int f = 0; f < FILTERS; ++f)
      _mm512_storeu_ps(sums + l * sums_stride + f * kLanes, totals[l][f]);
}
#pragma GCC pop_options

// As many lines and filters at a time as registers hold.
template <bool PAIRED>
void add_image(const Convolution& c, const float* padded, int64_t width, const float* grad_output, float* sums) {
  int64_t lines = PAIRED ? (c.taps_h + 1) / 2 : c.taps_h, stride = c.filters * kLanes;
  for (int64_t f = 0, many; f < c.filters; f += many) {
    many = c.filters - f >= 6 ? 6 : c.filters - f >= 4 ? 4 : 1;
    for (int64_t line = 0, height; line < lines; line += height) {
      height = lines - line >= 3 ? 3 : 1;
      const float* from = padded + line * width * (PAIRED ? 2 : 1);
      float* into = sums + line * stride + f * kLanes;
      if (height == 3 && many == 6) add_pixels<3, 6, PAIRED>(c, from, width, grad_output + f, into, stride);
      if (height == 3 && many == 4) add_pixels<3, 4, PAIRED>(c, from, width, grad_output + f, into, stride);
      if (height == 3 && many == 1) add_pixels<3, 1, PAIRED>(c, from, width, grad_output + f, into, stride);
      if (height == 1 && many == 6) add_pixels<1, 6, PAIRED>(c, from, width, grad_output + f, into, stride);
      if (height == 1 && many == 4) add_pixels<1, 4, PAIRED>(c, from, width, grad_output + f, into, stride);
      if (height == 1 && many == 1) add_pixels<1, 1, PAIRED>(c, from, width, grad_output + f, into, stride);
    }
  }
}

template <typename T>
void narrow_weights(ffi::ThreadPool& pool, const Convolution& c, const T* x, const T* grad_output, float* grad_weight) {
  int64_t run = c.taps_w * c.channels;
  bool paired = run <= kLanes / 2;
  int64_t line = (c.out_w + c.taps_w - 1) * c.channels, lines = c.out_h + c.taps_h;  // one more: a pair's second
  int64_t room = lines * line + kLanes, pixels = c.out_h * c.out_w * c.filters;
  int64_t size = (c.taps_h + 1) * c.filters * kLanes, parts = split(pool, c.batch, c.operations());
  float* sums = static_cast<float*>(scratch(kPartial, parts * size * sizeof(float)));
  parallel(pool, parts, [&](int64_t part) {
    Range range = part_of(c.batch, parts, part);
    float* padded = static_cast<float*>(scratch(kScratchpad, (room + pixels) * sizeof(float)));
    float *grads = padded + room, *into = sums + part * size;
    std::fill(padded, padded + room, 0.f);
    std::fill(into, into + size, 0.f);
    for (int64_t image = range.begin; image < range.begin + range.size; ++image) {
      // The part of the image that the kernel reads, with zeros around it.
      for (int64_t y = 0, end = std::min(c.height, lines - 1 - c.top); y < end; ++y) {
        const T* from = x + (image * c.height + y) * c.width * c.channels;
        float* to = padded + (y + c.top) * line + c.left * c.channels;
        for (int64_t i = 0, wide = std::min(c.width, line / c.channels - c.left) * c.channels; i < wide; ++i)
          to[i] = load(from + i);
      }
      for (int64_t i = 0; i < pixels; ++i) grads[i] = load(grad_output + image * pixels + i);
      if (paired)
        add_image<true>(c, padded, line, grads, into);
      else
        add_image<false>(c, padded, line, grads, into);
    }
  });
  add_up(pool, sums, parts, size, sums);
  for (int64_t tap = 0; tap < c.taps_h; ++tap)
    for (int64_t i = 0; i < run; ++i)
      for (int64_t f = 0; f < c.filters; ++f) {
        int64_t line = paired ? tap / 2 : tap, lane = paired ? tap % 2 * (kLanes / 2) + i : i;
        grad_weight[(tap * run + i) * c.filters + f] = sums[(line * c.filters + f) * kLanes + lane];
      }
}

// Adds the gradients of IMAGES padded inputs to `padded`, an image every `size` values.
template <int VECTORS, int IMAGES, typename T>
void add_images(const Convolution& c, const T* grad_output, const float* factors, float* padded, int64_t size) {
  int64_t line = (c.out_w + c.taps_w - 1) * c.channels, run = c.taps_w * c.channels;
  Mask last = first_lanes(run - (VECTORS - 1) * kLanes);
  for (int64_t y = 0; y < c.out_h; ++y)
    for (int64_t tap = 0; tap < c.taps_h; ++tap)
      add_line<VECTORS, IMAGES>(grad_output + y * c.out_w * c.filters, c.out_h * c.out_w * c.filters, c.out_w,
                                c.filters, factors + tap * c.filters * VECTORS * kLanes, padded + (y + tap) * line,
                                size, c.channels, last);
}

// One part of the batch: the gradients of padded images, then a copy without the padding.
template <int VECTORS, typename T>
void add_part(const Convolution& c, Range range, const T* grad_output, const float* factors, T* grad_input) {
  int64_t line = (c.out_w + c.taps_w - 1) * c.channels, size = (c.out_h + c.taps_h - 1) * line;
  float* padded = static_cast<float*>(scratch(kScratchpad, kTogether * size * sizeof(float)));
  for (int64_t image = range.begin, end = range.begin + range.size; image < end;) {
    int64_t together = end - image >= kTogether ? kTogether : 1;
    std::fill(padded, padded + together * size, 0.f);
    const T* grads = grad_output + image * c.out_h * c.out_w * c.filters;
    if (together == kTogether)
      add_images<VECTORS, kTogether>(c, grads, factors, padded, size);
    else
      add_images<VECTORS, 1>(c, grads, factors, padded, size);
    for (int64_t i = 0; i < together; ++i, ++image)
      for (int64_t y = 0; y < c.height; ++y) {
        const float* from = padded + i * size + (y + c.top) * line + c.left * c.channels;
        T* to = grad_input + (image * c.height + y) * c.width * c.channels;
        for (int64_t j = 0; j < c.width * c.channels; ++j) store(to + j, from[j]);
      }
  }
}

template <typename T>
void narrow_input(ffi::ThreadPool& pool, const Convolution& c, const T* grad_output, const float* kernel,
                  T* grad_input) {
  int64_t run = c.taps_w * c.channels, vectors = (run + kLanes - 1) / kLanes, width = vectors * kLanes;
  float* factors = static_cast<float*>(scratch(kWeights, c.taps_h * c.filters * width * sizeof(float)));  // (h, F, run)
  for (int64_t tap = 0; tap < c.taps_h; ++tap)
    for (int64_t f = 0; f < c.filters; ++f)
      for (int64_t i = 0; i < width; ++i) {
        T rounded;
        store(&rounded, i < run ? kernel[(tap * run + i) * c.filters + f] : 0.f);
        factors[(tap * c.filters + f) * width + i] = load(&rounded);
      }
  int64_t parts = split(pool, c.batch, c.operations());
  parallel(pool, parts, [&](int64_t part) {
    Range range = part_of(c.batch, parts, part);
    if (vectors == 1) add_part<1>(c, range, grad_output, factors, grad_input);
    if (vectors == 2) add_part<2>(c, range, grad_output, factors, grad_input);
    if (vectors == 3) add_part<3>(c, range, grad_output, factors, grad_input);
    if (vectors == 4) add_part<4>(c, range, grad_output, factors, grad_input);
  });
}

// Whether these loops can compute the convolution on this processor, if its channels are few enough.
bool plain(const Convolution& c) {
  return avx512() && c.dense() && c.groups == 1 && (c.type == Type::f32 || !matrix_units_for_bfloat16());
}

}  // namespace

bool narrow_input_fits(const Convolution& c) {
  return plain(c) && c.channels < kLanes && c.taps_w * c.channels <= kMostVectors * kLanes;
}

bool narrow_weight_fits(const Convolution& c) {
  return plain(c) && c.filters < kLanes && c.taps_w * c.channels <= kLanes;
}

void narrow_input_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* grad_output, const float* kernel,
                           void* grad_input) {
  with_type(c.type, [&](auto value) {
    using T = decltype(value);
    narrow_input(pool, c, static_cast<const T*>(grad_output), kernel, static_cast<T*>(grad_input));
  });
}

void narrow_weight_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* x, const void* grad_output,
                            float* grad_weight) {
  with_type(c.type, [&](auto value) {
    using T = decltype(value);
    narrow_weights(pool, c, static_cast<const T*>(x), static_cast<const T*>(grad_output), grad_weight);
  });
}

}  // namespace cnn

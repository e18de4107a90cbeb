// Input gradient: what one output pixel adds to one line of the input's slope is a run of taps x channels values, one
// behind the other in memory: vectors go along both, and are full where channels alone would fill a part (5 x 6 values:
// 30 of 32 lanes, not 6 of 16). Several images go together, so that each has sums of its own to wait for.
//
// Weight gradient: the same runs of the input, times one slope, are what one pixel adds to a filter's line of taps.
// Two lines of at most 8 values share a vector.
#include "narrow.h"

#include "vectors.h"

namespace cnn {
namespace {

constexpr int64_t kMostVectors = 4, kTogether = 7;  // of a run; images: 28 registers of sums

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,fma")

// lines[i] + x * channels += sum over f of slope[i][x][f] * factors[f], for IMAGES lines of `width` pixels.
template <int VECTORS, int IMAGES, typename T>
void add_line(const T* slope, int64_t slope_stride, int64_t width, int64_t filters, const float* factors, float* line,
              int64_t line_stride, int64_t channels, Mask last) {
  for (int64_t x = 0; x < width; ++x, slope += filters, line += channels) {
    Vector sums[IMAGES][VECTORS];
    CNN_UNROLL for (int i = 0; i < IMAGES; ++i) CNN_UNROLL for (int v = 0; v < VECTORS; ++v)
      sums[i][v] = _mm512_setzero_ps();
    for (int64_t f = 0; f < filters; ++f) {
      Vector row[VECTORS];
      CNN_UNROLL for (int v = 0; v < VECTORS; ++v) row[v] = _mm512_loadu_ps(factors + (f * VECTORS + v) * kLanes);
      CNN_UNROLL for (int i = 0; i < IMAGES; ++i) {
        Vector value = _mm512_set1_ps(load(slope + i * slope_stride + f));
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

// sums[line][f] += sum over the pixels of an image of runs[line] * slope[f], for LINES vectors of one or, `PAIRED`, two
// lines of the padded image and FILTERS filters. Sums lie as [line][f][16].
template <int LINES, int FILTERS, bool PAIRED>
void add_pixels(const Convolution& c, const float* padded, int64_t width, const float* slope, float* sums,
                int64_t sums_stride) {
  Vector totals[LINES][FILTERS];
  CNN_UNROLL for (int l = 0; l < LINES; ++l) CNN_UNROLL for (int f = 0; f < FILTERS; ++f)
    totals[l][f] = _mm512_loadu_ps(sums + l * sums_stride + f * kLanes);
  for (int64_t y = 0; y < c.out_h; ++y)
    for (int64_t x = 0; x < c.out_w; ++x) {
      const float *pixel = padded + y * width + x * c.channels, *value = slope + (y * c.out_w + x) * c.filters;
      Vector run[LINES];
      CNN_UNROLL for (int l = 0; l < LINES; ++l) {
        const float* at = pixel + (PAIRED ? 2 * l : l) * width;
        run[l] = PAIRED ? _mm512_castpd_ps(_mm512_insertf64x4(
                              _mm512_castps_pd(_mm512_castps256_ps512(_mm256_loadu_ps(at))),
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

// As many lines and filters at a time as there are registers for.
template <bool PAIRED>
void add_image(const Convolution& c, const float* padded, int64_t width, const float* slope, float* sums) {
  int64_t lines = PAIRED ? (c.taps_h + 1) / 2 : c.taps_h, stride = c.filters * kLanes;
  for (int64_t f = 0, many; f < c.filters; f += many) {
    many = c.filters - f >= 6 ? 6 : c.filters - f >= 4 ? 4 : 1;
    for (int64_t line = 0, height; line < lines; line += height) {
      height = lines - line >= 3 ? 3 : 1;
      const float* from = padded + line * width * (PAIRED ? 2 : 1);
      float* into = sums + line * stride + f * kLanes;
      if (height == 3 && many == 6) add_pixels<3, 6, PAIRED>(c, from, width, slope + f, into, stride);
      if (height == 3 && many == 4) add_pixels<3, 4, PAIRED>(c, from, width, slope + f, into, stride);
      if (height == 3 && many == 1) add_pixels<3, 1, PAIRED>(c, from, width, slope + f, into, stride);
      if (height == 1 && many == 6) add_pixels<1, 6, PAIRED>(c, from, width, slope + f, into, stride);
      if (height == 1 && many == 4) add_pixels<1, 4, PAIRED>(c, from, width, slope + f, into, stride);
      if (height == 1 && many == 1) add_pixels<1, 1, PAIRED>(c, from, width, slope + f, into, stride);
    }
  }
}

template <typename T>
void narrow_weights(ffi::ThreadPool& pool, const Convolution& c, const T* x, const T* slope, float* into_kernel) {
  int64_t run = c.taps_w * c.channels;
  bool paired = run <= kLanes / 2;
  int64_t line = (c.out_w + c.taps_w - 1) * c.channels, lines = c.out_h + c.taps_h;  // one more: a pair's second
  int64_t room = lines * line + kLanes, pixels = c.out_h * c.out_w * c.filters;
  int64_t size = (c.taps_h + 1) * c.filters * kLanes, parts = split(pool, c.batch, c.operations());
  float* sums = static_cast<float*>(scratch(kPartial, parts * size * sizeof(float)));
  parallel(pool, parts, [&](int64_t part) {
    Range range = part_of(c.batch, parts, part);
    float* padded = static_cast<float*>(scratch(kScratchpad, (room + pixels) * sizeof(float)));
    float *slopes = padded + room, *into = sums + part * size;
    std::fill(padded, padded + room, 0.f);
    std::fill(into, into + size, 0.f);
    for (int64_t image = range.begin; image < range.begin + range.size; ++image) {
      // What the kernel reads of the image, between zeros; the rest of it is never read.
      for (int64_t y = 0, end = std::min(c.height, lines - 1 - c.geometry[4]); y < end; ++y) {
        const T* from = x + (image * c.height + y) * c.width * c.channels;
        float* to = padded + (y + c.geometry[4]) * line + c.geometry[6] * c.channels;
        for (int64_t i = 0, wide = std::min(c.width, line / c.channels - c.geometry[6]) * c.channels; i < wide; ++i)
          to[i] = load(from + i);
      }
      for (int64_t i = 0; i < pixels; ++i) slopes[i] = load(slope + image * pixels + i);
      if (paired)
        add_image<true>(c, padded, line, slopes, into);
      else
        add_image<false>(c, padded, line, slopes, into);
    }
  });
  add_up(pool, sums, parts, size, sums);
  for (int64_t tap = 0; tap < c.taps_h; ++tap)
    for (int64_t i = 0; i < run; ++i)
      for (int64_t f = 0; f < c.filters; ++f) {
        int64_t line = paired ? tap / 2 : tap, lane = paired ? tap % 2 * (kLanes / 2) + i : i;
        into_kernel[(tap * run + i) * c.filters + f] = sums[(line * c.filters + f) * kLanes + lane];
      }
}

// The slope of the padded input of IMAGES images, added to `padded`, an image every `size` values.
template <int VECTORS, int IMAGES, typename T>
void add_images(const Convolution& c, const T* slope, const float* factors, float* padded, int64_t size) {
  int64_t line = (c.out_w + c.taps_w - 1) * c.channels, run = c.taps_w * c.channels;
  Mask last = first_lanes(run - (VECTORS - 1) * kLanes);
  for (int64_t y = 0; y < c.out_h; ++y)
    for (int64_t tap = 0; tap < c.taps_h; ++tap)
      add_line<VECTORS, IMAGES>(slope + y * c.out_w * c.filters, c.out_h * c.out_w * c.filters, c.out_w, c.filters,
                                factors + tap * c.filters * VECTORS * kLanes, padded + (y + tap) * line, size,
                                c.channels, last);
}

// One part of the batch: images in padded memory, then what lies inside is copied out.
template <int VECTORS, typename T>
void add_part(const Convolution& c, Range range, const T* slope, const float* factors, T* into_x) {
  int64_t line = (c.out_w + c.taps_w - 1) * c.channels, size = (c.out_h + c.taps_h - 1) * line;
  float* padded = static_cast<float*>(scratch(kScratchpad, kTogether * size * sizeof(float)));
  for (int64_t image = range.begin, end = range.begin + range.size; image < end;) {
    int64_t together = end - image >= kTogether ? kTogether : 1;
    std::fill(padded, padded + together * size, 0.f);
    const T* slopes = slope + image * c.out_h * c.out_w * c.filters;
    if (together == kTogether)
      add_images<VECTORS, kTogether>(c, slopes, factors, padded, size);
    else
      add_images<VECTORS, 1>(c, slopes, factors, padded, size);
    for (int64_t i = 0; i < together; ++i, ++image)
      for (int64_t y = 0; y < c.height; ++y) {
        const float* from = padded + i * size + (y + c.geometry[4]) * line + c.geometry[6] * c.channels;
        T* to = into_x + (image * c.height + y) * c.width * c.channels;
        for (int64_t j = 0; j < c.width * c.channels; ++j) store(to + j, from[j]);
      }
  }
}

template <typename T>
void narrow_input(ffi::ThreadPool& pool, const Convolution& c, const T* slope, const float* kernel, T* into_x) {
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
    if (vectors == 1) add_part<1>(c, range, slope, factors, into_x);
    if (vectors == 2) add_part<2>(c, range, slope, factors, into_x);
    if (vectors == 3) add_part<3>(c, range, slope, factors, into_x);
    if (vectors == 4) add_part<4>(c, range, slope, factors, into_x);
  });
}

// Whether this processor and this convolution, but for its channels, are for these loops.
bool plain(const Convolution& c) {
  const Shape& g = c.geometry;
  return avx512() && g[0] == 1 && g[1] == 1 && g[2] == 1 && g[3] == 1 && g[8] == 1 &&
         (c.type == Type::f32 || !matrix_units_for_bfloat16());
}

}  // namespace

bool narrow_input_fits(const Convolution& c) {
  return plain(c) && c.channels < kLanes && c.taps_w * c.channels <= kMostVectors * kLanes;
}

bool narrow_weight_fits(const Convolution& c) {
  return plain(c) && c.filters < kLanes && c.taps_w * c.channels <= kLanes;
}

void narrow_input_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* slope, const float* kernel,
                           void* into_x) {
  with_type(c.type, [&](auto value) {
    using T = decltype(value);
    narrow_input(pool, c, static_cast<const T*>(slope), kernel, static_cast<T*>(into_x));
  });
}

void narrow_weight_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* x, const void* slope,
                            float* into_kernel) {
  with_type(c.type, [&](auto value) {
    using T = decltype(value);
    narrow_weights(pool, c, static_cast<const T*>(x), static_cast<const T*>(slope), into_kernel);
  });
}

}  // namespace cnn

// Winograd's minimal filtering F(2x2, 3x3), by Lavin and Gray (2016), "Fast Algorithms for Convolutional Neural
// Networks", with AVX-512 and in float32 whatever the maps are. A, B and G are those of section 4.1. A 2x2 tile y is
//
//   y = A^T [sum over channels of (G g G^T) * (B^T d B)] A
//
// for 3x3 kernels g and 4x4 patches d of the input. The gradient of g is G^T [sum over tiles of (A dy A^T) * (B^T d B)]
// G. The sums are 16 matrix products, one for each place of a 4x4 patch. The input gradient is the convolution of the
// output's gradient with the kernel rotated by 180 degrees.
#include "winograd.h"

#include "vectors.h"

namespace cnn {
namespace {

constexpr int64_t kPlaces = 16;  // of a 4x4 patch
constexpr uint16_t kAll = 0xffff;

// A map (B, H, W, C) cut into 2x2 tiles, or read as the 4x4 patches that give the tiles of another map.
template <typename T>
struct Map {
  T* data;
  int64_t height, width, channels, top, left;  // where the first patch begins: `top` rows above the map
  int64_t depth;                               // how many of the channels are a group's, from `data` on
};

// The 2x2 tiles of a map, numbered through all images.
struct Tiles {
  int64_t batch, down, across;
  Tiles(int64_t batch, int64_t height, int64_t width) : batch(batch), down((height + 1) / 2), across((width + 1) / 2) {}
  int64_t count() const { return batch * down * across; }
};

constexpr int64_t kBlock = 28;  // tiles at once: 28 rows of 1 vector, or twice 14 of 2, fill the registers

// Where a block's tiles are: the image, and the first pixel of the 2x2 tile (not of its patch).
struct Place {
  int64_t image, row, column;
};
struct Block {
  int64_t size;
  Place places[kBlock];

  Block(const Tiles& tiles, int64_t first, int64_t end) : size(std::min(kBlock, end - first)) {
    int64_t line = first / tiles.across;
    Place at{line / tiles.down, 2 * (line % tiles.down), 2 * (first % tiles.across)};
    for (int64_t i = 0; i < size; ++i) {
      places[i] = at;
      if ((at.column += 2) < 2 * tiles.across) continue;
      at.column = 0;
      if ((at.row += 2) < 2 * tiles.down) continue;
      at.row = 0, ++at.image;
    }
  }
};

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,fma")

// 16 channels of the pixels of a SIZE x SIZE patch, zero outside the map.
template <int SIZE, typename T>
inline void read_patch(const Map<T>& map, int64_t image, int64_t row, int64_t column, int64_t channel,
                       Vector (&out)[SIZE][SIZE]) {
  const T* first = map.data + ((image * map.height + row) * map.width + column) * map.channels + channel;
  if (row >= 0 && column >= 0 && row + SIZE <= map.height && column + SIZE <= map.width) {
    CNN_UNROLL for (int i = 0; i < SIZE; ++i) CNN_UNROLL for (int j = 0; j < SIZE; ++j) out[i][j] =
        load(kAll, first + (i * map.width + j) * map.channels);
    return;
  }
  CNN_UNROLL for (int i = 0; i < SIZE; ++i) CNN_UNROLL for (int j = 0; j < SIZE; ++j) {
    bool inside = (row + i >= 0) & (row + i < map.height) & (column + j >= 0) & (column + j < map.width);
    out[i][j] = load(static_cast<Mask>(-inside), first + (i * map.width + j) * map.channels);
  }
}

// B^T d B of a patch, place p at out + p * stride.
inline void transform_patch(const Vector (&d)[4][4], float* out, int64_t stride) {
  Vector t[4][4];
  CNN_UNROLL for (int j = 0; j < 4; ++j) {
    t[0][j] = d[0][j] - d[2][j], t[1][j] = d[1][j] + d[2][j];
    t[2][j] = d[2][j] - d[1][j], t[3][j] = d[1][j] - d[3][j];
  }
  CNN_UNROLL for (int i = 0; i < 4; ++i) {
    float* at = out + 4 * i * stride;
    _mm512_storeu_ps(at, t[i][0] - t[i][2]);
    _mm512_storeu_ps(at + stride, t[i][1] + t[i][2]);
    _mm512_storeu_ps(at + 2 * stride, t[i][2] - t[i][1]);
    _mm512_storeu_ps(at + 3 * stride, t[i][1] - t[i][3]);
  }
}

// A dy A^T, dy the gradient of a tile.
inline void transform_grad(const Vector (&d)[2][2], float* out, int64_t stride) {
  Vector t[4][2];
  CNN_UNROLL for (int j = 0; j < 2; ++j) {
    t[0][j] = d[0][j], t[1][j] = d[0][j] + d[1][j], t[2][j] = d[0][j] - d[1][j];
    t[3][j] = _mm512_setzero_ps() - d[1][j];
  }
  CNN_UNROLL for (int i = 0; i < 4; ++i) {
    float* at = out + 4 * i * stride;
    _mm512_storeu_ps(at, t[i][0]);
    _mm512_storeu_ps(at + stride, t[i][0] + t[i][1]);
    _mm512_storeu_ps(at + 2 * stride, t[i][0] - t[i][1]);
    _mm512_storeu_ps(at + 3 * stride, _mm512_setzero_ps() - t[i][1]);
  }
}

// A^T m A + bias of 16 filters, where the tile lies within the map.
template <typename T>
inline void write_tile(const float* m, int64_t stride, Vector bias, const Map<T>& map, const Place& place,
                       int64_t filter) {
  Vector t[2][4];
  CNN_UNROLL for (int j = 0; j < 4; ++j) {
    Vector rows[4];
    CNN_UNROLL for (int i = 0; i < 4; ++i) rows[i] = _mm512_loadu_ps(m + (4 * i + j) * stride);
    t[0][j] = rows[0] + rows[1] + rows[2], t[1][j] = rows[1] - rows[2] - rows[3];
  }
  T* first = map.data + ((place.image * map.height + place.row) * map.width + place.column) * map.channels + filter;
  bool right = place.column + 1 < map.width;
  for (int i = 0; i < 2 && place.row + i < map.height; ++i) {
    T* at = first + i * map.width * map.channels;
    store(kAll, at, t[i][0] + t[i][1] + t[i][2] + bias);
    if (right) store(kAll, at + map.channels, t[i][1] - t[i][2] - t[i][3] + bias);
  }
}

// G g G^T of a kernel's taps, 16 outputs at once.
inline void transform_kernel(const Vector (&g)[3][3], float* out, int64_t stride) {
  const Vector half = _mm512_set1_ps(0.5f);
  Vector t[4][3];
  CNN_UNROLL for (int j = 0; j < 3; ++j) {
    t[0][j] = g[0][j], t[1][j] = half * (g[0][j] + g[1][j] + g[2][j]);
    t[2][j] = half * (g[0][j] - g[1][j] + g[2][j]), t[3][j] = g[2][j];
  }
  CNN_UNROLL for (int i = 0; i < 4; ++i) {
    float* at = out + 4 * i * stride;
    _mm512_storeu_ps(at, t[i][0]);
    _mm512_storeu_ps(at + stride, half * (t[i][0] + t[i][1] + t[i][2]));
    _mm512_storeu_ps(at + 2 * stride, half * (t[i][0] - t[i][1] + t[i][2]));
    _mm512_storeu_ps(at + 3 * stride, t[i][2]);
  }
}

// G^T v G: the gradient of 3x3 kernels from that of their transforms, place p at v + p * stride.
inline void gradient_of_kernel(const float* v, int64_t stride, float* out, int64_t tap_stride) {
  const Vector half = _mm512_set1_ps(0.5f);
  Vector t[3][4];
  CNN_UNROLL for (int j = 0; j < 4; ++j) {
    Vector rows[4];
    CNN_UNROLL for (int i = 0; i < 4; ++i) rows[i] = _mm512_loadu_ps(v + (4 * i + j) * stride);
    Vector sum = half * (rows[1] + rows[2]);
    t[0][j] = rows[0] + sum, t[1][j] = half * (rows[1] - rows[2]), t[2][j] = rows[3] + sum;
  }
  CNN_UNROLL for (int i = 0; i < 3; ++i) {
    Vector sum = half * (t[i][1] + t[i][2]);
    float* at = out + 3 * i * tap_stride;
    _mm512_storeu_ps(at, t[i][0] + sum);
    _mm512_storeu_ps(at + tap_stride, half * (t[i][1] - t[i][2]));
    _mm512_storeu_ps(at + 2 * tap_stride, t[i][3] + sum);
  }
}

// out[m][n] = (kAdd: out[m][n]) + sum over groups and k of a[group * 16 kBlock + m * kRow + k * kStep] * b[...][n],
// ROWS x 16 COLUMNS of them, lines of b and out one behind the other.
template <int ROWS, int COLUMNS, int kRow, int kStep, bool kAdd>
inline void multiply(const float* a, const float* b, int64_t groups, int64_t count, float* out) {
  Vector sums[ROWS][COLUMNS];
  CNN_UNROLL for (int m = 0; m < ROWS; ++m) CNN_UNROLL for (int n = 0; n < COLUMNS; ++n) sums[m][n] =
      kAdd ? _mm512_loadu_ps(out + (m * COLUMNS + n) * kLanes) : _mm512_setzero_ps();
  for (int64_t group = 0; group < groups; ++group, a += kLanes * kBlock) {
    const float* factors = a;
    for (int64_t k = 0; k < count; ++k, factors += kStep, b += COLUMNS * kLanes) {
      Vector line[COLUMNS];
      CNN_UNROLL for (int n = 0; n < COLUMNS; ++n) line[n] = _mm512_loadu_ps(b + n * kLanes);
      CNN_UNROLL for (int m = 0; m < ROWS; ++m) {
        Vector factor = _mm512_set1_ps(factors[m * kRow]);
        CNN_UNROLL for (int n = 0; n < COLUMNS; ++n) sums[m][n] = _mm512_fmadd_ps(factor, line[n], sums[m][n]);
      }
    }
  }
  CNN_UNROLL for (int m = 0; m < ROWS; ++m) CNN_UNROLL for (int n = 0; n < COLUMNS; ++n)
      _mm512_storeu_ps(out + (m * COLUMNS + n) * kLanes, sums[m][n]);
}

// Kernels (3, 3, C, F), lines of filters `line` apart, rounded to T, as panels [F / panel][place][C][panel]: those of
// inputs [begin, end). `turned`: rotated by 180 degrees, filters as inputs and channels as outputs.
template <typename T>
void transform_kernels(const float* kernel, int64_t channels, int64_t filters, int64_t line, bool turned, int64_t panel,
                       int64_t begin, int64_t end, float* out) {
  int64_t inputs = turned ? filters : channels, outputs = turned ? channels : filters;
  const __m512i lines = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                           _mm512_set1_epi32(static_cast<int>(line)));
  for (int64_t to = 0; to < outputs; to += kLanes)
    for (int64_t from = begin; from < end; ++from) {
      Vector taps[3][3];
      CNN_UNROLL for (int i = 0; i < 3; ++i) CNN_UNROLL for (int j = 0; j < 3; ++j) {
        const float* straight = kernel + ((3 * i + j) * channels + from) * line + to;
        const float* rotated = kernel + ((8 - 3 * i - j) * channels + to) * line + from;
        taps[i][j] = turned ? _mm512_i32gather_ps(lines, rotated, 4) : _mm512_loadu_ps(straight);
        if (sizeof(T) == sizeof(Half)) taps[i][j] = _mm512_castsi512_ps(_mm512_slli_epi32(to_half(taps[i][j]), 16));
      }
      transform_kernel(taps, out + (to / panel * kPlaces * inputs + from) * panel + to % panel, inputs * panel);
    }
}

// The patches of a block transformed, (place, C / 16, tile, 16).
template <typename T>
void transform_patches(const Map<T>& map, const Block& block, float* out) {
  for (int64_t tile = 0; tile < block.size; ++tile) {
    const Place& at = block.places[tile];
    for (int64_t c = 0; c < map.depth; c += kLanes) {
      Vector d[4][4];
      read_patch(map, at.image, at.row - map.top, at.column - map.left, c, d);
      transform_patch(d, out + c * kBlock + tile * kLanes, kBlock * map.depth);
    }
  }
}

// Multiplies one block's patches by the kernels and writes its tiles. `room`: memory for the transformed patches and
// the products (place, tile, panel).
template <int COLUMNS, typename T>
void convolve_block(const Map<T>& in, const Map<T>& out, const Block& block, const float* kernels, const float* bias,
                    float* room) {
  constexpr int kRows = 28 / COLUMNS, kPanel = COLUMNS * kLanes;
  int64_t patch = kBlock * in.depth;
  float* products = room + kPlaces * patch;
  transform_patches(in, block, room);
  for (int64_t panel = 0; panel < out.depth; panel += kPanel) {
    const float* factors = kernels + panel * kPlaces * in.depth;
    for (int64_t p = 0; p < kPlaces; ++p)
      for (int64_t tile = 0; tile < block.size; tile += kRows)
        multiply<kRows, COLUMNS, kLanes, 1, false>(room + p * patch + tile * kLanes, factors + p * in.depth * kPanel,
                                                   in.depth / kLanes, kLanes, products + (p * kBlock + tile) * kPanel);
    for (int64_t n = 0; n < kPanel; n += kLanes) {
      Vector biases = bias ? _mm512_loadu_ps(bias + panel + n) : _mm512_setzero_ps();
      for (int64_t tile = 0; tile < block.size; ++tile)
        write_tile(products + tile * kPanel + n, kBlock * kPanel, biases, out, block.places[tile], panel + n);
    }
  }
}

// Adds one block's part of the transformed kernels' gradient to sums (F / panel, place, C, panel).
template <int COLUMNS, typename T>
void gradient_block(const Map<T>& in, const Map<T>& grad_output, const Block& block, float* sums, float* room) {
  constexpr int kRows = 16 / COLUMNS, kPanel = COLUMNS * kLanes;
  int64_t patch = kBlock * in.depth;
  float* grads = room + kPlaces * patch;  // (place, tile, panel)
  transform_patches(in, block, room);
  for (int64_t panel = 0; panel < grad_output.depth; panel += kPanel) {
    for (int64_t tile = 0; tile < block.size; ++tile)
      for (int64_t n = 0; n < kPanel; n += kLanes) {
        const Place& at = block.places[tile];
        Vector d[2][2];
        read_patch(grad_output, at.image, at.row, at.column, panel + n, d);
        transform_grad(d, grads + tile * kPanel + n, kBlock * kPanel);
      }
    float* into = sums + panel * kPlaces * in.depth;
    for (int64_t p = 0; p < kPlaces; ++p)
      for (int64_t m = 0; m < in.depth; m += kRows)
        multiply<kRows, COLUMNS, 1, kLanes, true>(room + p * patch + m / kLanes * kLanes * kBlock + m % kLanes,
                                                  grads + p * kBlock * kPanel, 1, block.size,
                                                  into + (p * in.depth + m) * kPanel);
  }
}

// (3, 3, C, F) from sums (F / panel, place, C, panel), of channels [begin, end).
void gradient_of_kernels(const float* sums, int64_t channels, int64_t filters, int64_t line, int64_t panel,
                         int64_t begin, int64_t end, float* out) {
  for (int64_t f = 0; f < filters; f += kLanes)
    for (int64_t c = begin; c < end; ++c)
      gradient_of_kernel(sums + (f / panel * kPlaces * channels + c) * panel + f % panel, channels * panel,
                         out + c * line + f, channels * line);
}
#pragma GCC pop_options

int64_t panel_of(int64_t filters) { return filters % (2 * kLanes) == 0 ? 2 * kLanes : kLanes; }

// One group. `kernel` begins at its first filter; its lines are `line` filters apart.
template <typename T>
void convolve_group(ffi::ThreadPool& pool, int64_t batch, const Map<T>& in, const Map<T>& out, const float* kernel,
                    int64_t line, bool turned, const float* bias) {
  int64_t panel = panel_of(out.depth), channels = turned ? out.depth : in.depth,
          filters = turned ? in.depth : out.depth;
  float* kernels = static_cast<float*>(scratch(kWeights, kPlaces * channels * filters * sizeof(float)));
  int64_t pieces = split(pool, in.depth, 50.0 * channels * filters);
  parallel(pool, pieces, [&](int64_t piece) {
    Range range = part_of(in.depth, pieces, piece);
    transform_kernels<T>(kernel, channels, filters, line, turned, panel, range.begin, range.begin + range.size,
                         kernels);
  });
  Tiles tiles(batch, out.height, out.width);
  // Several parts for each thread, so that a slow thread delays the others less.
  int64_t shares = split(pool, tiles.count(), 72.0 * tiles.count() * channels * filters);
  int64_t parts = shares > 1 ? 4 * shares : 1;
  parallel(pool, parts, [&](int64_t part) {
    float* room = static_cast<float*>(scratch(kScratchpad, kPlaces * kBlock * (in.depth + panel) * sizeof(float)));
    Range range = part_of(tiles.count(), parts, part);
    int64_t end = range.begin + range.size;
    for (int64_t first = range.begin; first < end; first += kBlock) {
      Block block(tiles, first, end);
      if (panel == 2 * kLanes)
        convolve_block<2>(in, out, block, kernels, bias, room);
      else
        convolve_block<1>(in, out, block, kernels, bias, room);
    }
  });
}

// A group's channels of the input or output map; patches begin `top` rows above and `left` columns before it.
template <typename T>
Map<T> map_in(const Convolution& c, const void* x, int64_t group, int64_t top = 0, int64_t left = 0) {
  int64_t depth = c.channels / c.groups;
  return {static_cast<T*>(const_cast<void*>(x)) + group * depth, c.height, c.width, c.channels, top, left, depth};
}
template <typename T>
Map<T> map_out(const Convolution& c, const void* y, int64_t group, int64_t top = 0, int64_t left = 0) {
  int64_t depth = c.filters / c.groups;
  return {static_cast<T*>(const_cast<void*>(y)) + group * depth, c.out_h, c.out_w, c.filters, top, left, depth};
}

// One group. `into` begins at its first filter; its lines are `line` filters apart.
template <typename T>
void weight_gradient_of_group(ffi::ThreadPool& pool, int64_t batch, const Map<T>& in, const Map<T>& grad_output,
                              float* into, int64_t line) {
  Tiles tiles(batch, grad_output.height, grad_output.width);
  int64_t channels = in.depth, filters = grad_output.depth, size = kPlaces * channels * filters,
          panel = panel_of(filters);
  int64_t parts = split(pool, tiles.count(), 72.0 * tiles.count() * channels * filters);
  float* sums = static_cast<float*>(scratch(kPartial, parts * size * sizeof(float)));
  parallel(pool, parts, [&](int64_t part) {
    float* room = static_cast<float*>(scratch(kScratchpad, kPlaces * kBlock * (channels + panel) * sizeof(float)));
    std::fill(sums + part * size, sums + (part + 1) * size, 0.f);
    Range range = part_of(tiles.count(), parts, part);
    int64_t end = range.begin + range.size;
    for (int64_t first = range.begin; first < end; first += kBlock) {
      Block block(tiles, first, end);
      if (panel == 2 * kLanes)
        gradient_block<2>(in, grad_output, block, sums + part * size, room);
      else
        gradient_block<1>(in, grad_output, block, sums + part * size, room);
    }
  });
  add_up(pool, sums, parts, size, sums);
  int64_t pieces = split(pool, channels, 60.0 * channels * filters);
  parallel(pool, pieces, [&](int64_t piece) {
    Range range = part_of(channels, pieces, piece);
    gradient_of_kernels(sums, channels, filters, line, panel, range.begin, range.begin + range.size, into);
  });
}

}  // namespace

bool winograd_fits(const Convolution& c) {
  bool plain = c.taps_h == 3 && c.taps_w == 3 && c.dense();
  bool vectors = c.channels / c.groups % kLanes == 0 && c.filters / c.groups % kLanes == 0;
  bool many = Tiles(c.batch, c.out_h, c.out_w).count() >= 2 * kBlock;
  return avx512() && plain && vectors && many && (c.type == Type::f32 || !matrix_units_for_bfloat16());
}

void winograd_forward(ffi::ThreadPool& pool, const Convolution& c, const void* x, const float* kernel,
                      const float* bias, void* y) {
  with_type(c.type, [&](auto value) {
    using T = decltype(value);
    for (int64_t group = 0; group < c.groups; ++group) {
      int64_t first = group * (c.filters / c.groups);
      convolve_group(pool, c.batch, map_in<T>(c, x, group, c.top, c.left), map_out<T>(c, y, group), kernel + first,
                     c.filters, false, bias ? bias + first : nullptr);
    }
  });
}

void winograd_input_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* grad_output, const float* kernel,
                             void* grad_input) {
  with_type(c.type, [&](auto value) {
    using T = decltype(value);
    for (int64_t group = 0; group < c.groups; ++group)
      convolve_group(pool, c.batch, map_out<T>(c, grad_output, group, 2 - c.top, 2 - c.left),
                     map_in<T>(c, grad_input, group), kernel + group * (c.filters / c.groups), c.filters, true,
                     nullptr);
  });
}

void winograd_weight_gradient(ffi::ThreadPool& pool, const Convolution& c, const void* x, const void* grad_output,
                              float* grad_weight) {
  with_type(c.type, [&](auto value) {
    using T = decltype(value);
    for (int64_t group = 0; group < c.groups; ++group)
      weight_gradient_of_group(pool, c.batch, map_in<T>(c, x, group, c.top, c.left), map_out<T>(c, grad_output, group),
                               grad_weight + group * (c.filters / c.groups), c.filters);
  });
}

}  // namespace cnn

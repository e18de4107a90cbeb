// Vectors of 16 values for AVX-512, with masks for a part of a vector. To be called only where `avx512()`.
#pragma once

#include <immintrin.h>

#include "values.h"

#define CNN_UNROLL _Pragma("GCC unroll 32")

namespace cnn {

constexpr int64_t kLanes = 16;

inline bool avx512() {
  static const bool there = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
  return there;
}

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,fma")

using Vector = __m512;
using Mask = __mmask16;

// The first `count` lanes, at most all.
inline Mask first_lanes(int64_t count) { return static_cast<Mask>(count < kLanes ? (1u << count) - 1 : 0xffff); }

// The values of the lanes of `mask`, the others zero.
inline Vector load(Mask mask, const float* x) { return _mm512_maskz_loadu_ps(mask, x); }
inline Vector load(Mask mask, const Half* x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, x)), 16));
}

// As bfloat16, to nearest, ties to even; a NaN stays one.
inline __m512i to_half(Vector value) {
  __m512i bits = _mm512_castps_si512(value), one = _mm512_set1_epi32(1);
  __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);
  __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  return _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc0));
}

inline void store(Mask mask, float* y, Vector value) { _mm512_mask_storeu_ps(y, mask, value); }
inline void store(Mask mask, Half* y, Vector value) {
  _mm256_mask_storeu_epi16(y, mask, _mm512_cvtepi32_epi16(to_half(value)));
}

#pragma GCC pop_options

}  // namespace cnn

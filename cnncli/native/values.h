// Values in memory, float32 or bfloat16, as float32; and loops over them for whatever vectors the processor has.
#pragma once

#include <cstdint>
#include <cstring>

// The loops below are compiled for several processors; the fitting one is chosen when the library is loaded.
#define CNN_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define CNN_INLINE inline __attribute__((always_inline))

namespace cnn {

using Half = uint16_t;  // bfloat16

CNN_INLINE float load(const float* x) { return *x; }
CNN_INLINE float load(const Half* x) {
  uint32_t bits = static_cast<uint32_t>(*x) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
CNN_INLINE void store(float* y, float value) { *y = value; }
CNN_INLINE void store(Half* y, float value) {  // to nearest, ties to even; a NaN stays one
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  *y = static_cast<Half>(value != value ? 0x7fc0 : rounded);
}

}  // namespace cnn

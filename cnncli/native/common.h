// Shared by all kernels: one oneDNN engine, primitives cached by shape, work split over XLA's threads.
#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <oneapi/dnnl/dnnl.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "values.h"
#include "xla/ffi/api/ffi.h"

namespace cnn {

namespace ffi = xla::ffi;
using Shape = std::vector<int64_t>;
using dnnl::memory;
using Type = memory::data_type;

using Numbers = ffi::Span<const int64_t>;

// A number for the height and one for the width.
struct Pair {
  int64_t h, w;
  explicit Pair(const Numbers& numbers) {
    if (numbers.size() != 2) throw std::invalid_argument("expected two numbers, for height and width");
    h = numbers[0], w = numbers[1];
  }
};

inline const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

// Calls oneDNN on one thread: its own threads (OpenMP) would compete with XLA's for the cores.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

// Runs f(0) ... f(parts - 1) on XLA's threads and the caller's; each thread takes the next part when it is done. The
// caller takes parts too and waits only for parts that have begun, so nested calls cannot deadlock the pool. The first
// exception is thrown again in the caller.
template <typename F>
void parallel(ffi::ThreadPool& pool, int64_t parts, const F& f) {
  if (parts == 1) {
    OneThread one;
    f(0);
    return;
  }
  struct Shared {
    std::atomic<int64_t> next{0}, done{0};
    std::mutex lock;
    std::exception_ptr error;
  };
  auto shared = std::make_shared<Shared>();
  // `f` belongs to the caller, who waits until all parts are done. A thread that starts later finds no part left.
  auto work = [shared, parts, &f] {
    int64_t part = shared->next.fetch_add(1);
    if (part >= parts) return;
    OneThread one;
    for (; part < parts; part = shared->next.fetch_add(1)) {
      try {
        f(part);
      } catch (...) {
        std::lock_guard<std::mutex> hold(shared->lock);
        if (!shared->error) shared->error = std::current_exception();
      }
      shared->done.fetch_add(1, std::memory_order_release);
    }
  };
  for (int64_t helper = 1; helper < std::min(parts, pool.num_threads()); ++helper) {
    auto copy = work;
    pool.Schedule(std::move(copy));
  }
  work();
  while (shared->done.load(std::memory_order_acquire) < parts) std::this_thread::yield();
  if (shared->error) std::rethrow_exception(shared->error);
}

// The number of parts for `count` examples that take `operations` together: at most one per thread, none too small.
inline int64_t split(const ffi::ThreadPool& pool, int64_t count, double operations) {
  constexpr double kWorthAThread = 2e5;
  int64_t most = std::min<int64_t>(count, static_cast<int64_t>(operations / kWorthAThread));
  return std::max<int64_t>(1, std::min<int64_t>(most, pool.num_threads()));
}

// The examples of one part. Where `count` does not divide, the first parts have one more.
struct Range {
  int64_t begin, size;
};
inline Range part_of(int64_t count, int64_t parts, int64_t part) {
  int64_t each = count / parts, more = count % parts;
  return {part * each + std::min(part, more), each + (part < more ? 1 : 0)};
}

// Memory of this thread, kept between calls, aligned to a cache line. Each use has its own.
enum Use { kScratchpad, kWeights, kPartial, kUses };
inline void* scratch(Use use, size_t bytes) {
  struct Block {
    void* data = nullptr;
    size_t size = 0;
    ~Block() { std::free(data); }
  };
  thread_local Block blocks[kUses];
  Block& block = blocks[use];
  if (block.size < bytes) {
    std::free(block.data);
    block.data = nullptr;
    block.size = 0;
    size_t rounded = (bytes + 63) / 64 * 64;
    block.data = std::aligned_alloc(64, rounded);
    if (!block.data) throw std::bad_alloc();
    block.size = rounded;
  }
  return block.data;
}

inline memory scratchpad(const memory::desc& desc) {
  size_t bytes = desc.get_size();
  return memory(desc, engine(), bytes ? scratch(kScratchpad, bytes) : nullptr);
}

inline memory at(const memory::desc& desc, const void* data) { return memory(desc, engine(), const_cast<void*>(data)); }

// sums[i] = partials[0][i] + partials[1][i] + ..., in this order. `sums` may be the first of the partials.
inline void add_up(ffi::ThreadPool& pool, const float* partials, int64_t count, int64_t size, float* sums) {
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

// The primitive for `key`, made once: `make` runs under the lock.
template <typename Op, typename Make>
std::shared_ptr<const Op> cached(const Shape& key, const Make& make) {
  static std::mutex lock;
  static std::map<Shape, std::shared_ptr<const Op>> known;
  std::lock_guard<std::mutex> hold(lock);
  auto found = known.find(key);
  if (found == known.end()) {
    OneThread one;
    found = known.emplace(key, make()).first;
  }
  return found->second;
}

inline dnnl::primitive_attr attributes() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // the library's own would be shared by all threads
  return attr;
}

inline Type type_of(const ffi::AnyBuffer& buffer) {
  if (buffer.element_type() == ffi::DataType::F32) return Type::f32;
  if (buffer.element_type() == ffi::DataType::BF16) return Type::bf16;
  throw std::invalid_argument("expected float32 or bfloat16");
}

// f(a value of this type)
template <typename F>
void with_type(Type type, const F& f) {
  if (type == Type::f32)
    f(float());
  else
    f(Half());
}

inline int64_t bytes_of(Type type) { return type == Type::bf16 ? 2 : 4; }

// The buffer's values; null where it is empty.
template <typename T>
T* data(const ffi::AnyBuffer& buffer) {
  return buffer.element_count() ? static_cast<T*>(buffer.untyped_data()) : nullptr;
}

inline float* data(const ffi::Buffer<ffi::DataType::F32>& buffer) {
  return buffer.element_count() ? buffer.typed_data() : nullptr;
}

inline char* offset(const void* data, int64_t bytes) { return static_cast<char*>(const_cast<void*>(data)) + bytes; }

// Whether the processor multiplies bfloat16 by matrix units (AMX), several times faster than float32.
inline bool matrix_units_for_bfloat16() {
  auto isa = dnnl::get_effective_cpu_isa();
  return isa == dnnl::cpu_isa::avx512_core_amx || isa == dnnl::cpu_isa::avx512_core_amx_fp16;
}

// Whether oneDNN's products of bfloat16 are faster than those of float32: with matrix units, and with AVX512_BF16 on
// AMD (on Intel that is slower).
inline bool fast_bfloat16() {
  static const bool fast =
      matrix_units_for_bfloat16() || (__builtin_cpu_is("amd") && __builtin_cpu_supports("avx512bf16"));
  return fast;
}

// Runs a kernel and turns any exception into an error of the FFI.
template <typename F>
ffi::Error guarded(const char* name, const F& f) {
  try {
    f();
    return ffi::Error::Success();
  } catch (const dnnl::error& error) {
    return ffi::Error::Internal(std::string(name) + ": oneDNN: " + error.what());
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, std::string(name) + ": out of memory");
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string(name) + ": " + error.what());
  }
}

}  // namespace cnn

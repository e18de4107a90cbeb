// The convolution kernels on a thread pool of this program's own, for builds with sanitizers (test_sanitizers.py):
// Python and jaxlib are not built with them. Several callers at once, every way of computing, the same bytes each time.
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <functional>

#include "convolution.h"
#include "values.h"

namespace {

using namespace cnn;

class Threads {
 public:
  explicit Threads(int count) {
    for (int i = 0; i < count; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Threads() {
    {
      std::lock_guard<std::mutex> hold(lock_);
      ended_ = true;
    }
    some_.notify_all();
    for (auto& thread : threads_) thread.join();
  }
  void schedule(std::function<void()> task) {
    {
      std::lock_guard<std::mutex> hold(lock_);
      tasks_.push_back(std::move(task));
    }
    some_.notify_one();
  }

 private:
  void work() {
    for (;;) {
      std::unique_lock<std::mutex> hold(lock_);
      some_.wait(hold, [this] { return ended_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      hold.unlock();
      task();
    }
  }

  std::mutex lock_;
  std::condition_variable some_;
  std::deque<std::function<void()>> tasks_;
  bool ended_ = false;
  std::vector<std::thread> threads_;
};

constexpr int kThreads = 3;
Threads* threads;

// XLA's interface to a pool, as far as ffi::ThreadPool uses it.
ffi::ThreadPool pool() {
  static const XLA_FFI_Api api = [] {
    XLA_FFI_Api some{};
    some.XLA_FFI_ThreadPool_Schedule = [](XLA_FFI_ThreadPool_Schedule_Args* args) -> XLA_FFI_Error* {
      threads->schedule([task = args->task, data = args->data] { task(data); });
      return nullptr;
    };
    some.XLA_FFI_ThreadPool_NumThreads = [](XLA_FFI_ThreadPool_NumThreads_Args* args) -> XLA_FFI_Error* {
      *args->num_threads = kThreads;
      return nullptr;
    };
    return some;
  }();
  thread_local ffi::DiagnosticEngine diagnostic;
  return *ffi::CtxDecoding<ffi::ThreadPool>::Decode(&api, nullptr, diagnostic);
}

// Values in memory of exactly their size, so that a step too far is seen.
struct Array {
  std::vector<int64_t> dims;
  Type type;
  std::vector<char> bytes;

  Array(std::vector<int64_t> shape, Type kind, int seed) : dims(std::move(shape)), type(kind) {
    int64_t count = 1;
    for (int64_t side : dims) count *= side;
    bytes.resize(count * bytes_of(type));
    for (int64_t i = 0; i < count; ++i) {
      float value = static_cast<float>((i * 7 + seed) % 13 - 6) / 8;
      if (type == Type::f32)
        store(reinterpret_cast<float*>(bytes.data()) + i, value);
      else
        store(reinterpret_cast<Half*>(bytes.data()) + i, value);
    }
  }
  float* floats() { return reinterpret_cast<float*>(bytes.data()); }
};

struct Given {
  Array array;
  XLA_FFI_Buffer buffer{};
  explicit Given(Array some) : array(std::move(some)) {
    buffer.dtype = array.type == Type::f32 ? XLA_FFI_DataType_F32 : XLA_FFI_DataType_BF16;
    buffer.data = array.bytes.data();
    buffer.rank = static_cast<int64_t>(array.dims.size());
    buffer.dims = array.dims.data();
  }
  Given(const Given&) = delete;
  ffi::AnyBuffer any() const { return ffi::AnyBuffer(&buffer); }
};

// All three passes of one convolution, their results one behind the other.
std::vector<char> passes(const Convolution& c) {
  ffi::ThreadPool pool = ::pool();
  auto map = [&](int64_t h, int64_t w, int64_t d, int seed) { return Array({c.batch, h, w, d}, c.type, seed); };
  Given x(map(c.height, c.width, c.channels, 1)), grad_output(map(c.out_h, c.out_w, c.filters, 2));
  Given y(map(c.out_h, c.out_w, c.filters, 3)), grad_input(map(c.height, c.width, c.channels, 4));
  Array kernel({c.taps_h, c.taps_w, c.channels / c.groups, c.filters}, Type::f32, 5), bias({c.filters}, Type::f32, 6);
  Array grad_weight = kernel, grad_bias = bias;
  cnn::convolve(pool, c, x.buffer.data, kernel.floats(), bias.floats(), y.buffer.data);
  cnn::input_gradient(pool, c, grad_output.buffer.data, kernel.floats(), grad_input.buffer.data);
  cnn::weight_gradient(pool, c, x.buffer.data, grad_output.buffer.data, grad_weight.floats(), grad_bias.floats());
  std::vector<char> all;
  for (auto* each : {&y.array, &grad_input.array, &grad_weight, &grad_bias})
    all.insert(all.end(), each->bytes.begin(), each->bytes.end());
  return all;
}

Convolution some(int64_t batch, int64_t side, int64_t channels, int64_t filters, int64_t taps, int64_t stride,
                 int64_t pad, int64_t groups, Type type) {
  int64_t out = (side + 2 * pad - taps) / stride + 1;
  return {batch,  side, side, channels, filters, taps, taps, out,    out, stride,
          stride, 1,    1,    pad,      pad,     pad,  pad,  groups, type};
}

}  // namespace

int main() {
  std::vector<Convolution> cases;
  for (Type type : {Type::f32, Type::bf16}) {
    cases.push_back(some(9, 12, 16, 32, 3, 1, 1, 1, type));  // Winograd
    cases.push_back(some(9, 11, 32, 64, 3, 1, 2, 2, type));  // in groups, odd sides
    cases.push_back(some(17, 14, 6, 16, 5, 1, 0, 1, type));  // narrow input
    cases.push_back(some(17, 14, 1, 6, 5, 1, 2, 1, type));   // and narrow weights
    cases.push_back(some(17, 9, 3, 7, 4, 1, 2, 1, type));
    cases.push_back(some(7, 9, 16, 24, 3, 2, 1, 1, type));  // oneDNN
    cases.push_back(some(7, 9, 8, 8, 3, 1, 1, 8, type));    // depthwise
  }
  Threads own(kThreads);
  threads = &own;
  std::vector<std::vector<char>> first;
  for (auto& c : cases) first.push_back(passes(c));
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([&, caller] {
      for (size_t turn = 0; turn < 3 * cases.size(); ++turn) {
        size_t at = (turn + caller) % cases.size();
        if (passes(cases[at]) != first[at]) ++wrong;
      }
    });
  for (auto& caller : callers) caller.join();
  std::printf("%zu cases, %d differ\n", cases.size(), wrong.load());
  return wrong ? 1 : 0;
}

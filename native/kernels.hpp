// The integer primitives. Images are N, H, W, C, contiguous. Each function below gives, integer for integer, what
// the function of the same purpose in spica/layers/arithmetic.py gives.
#pragma once

#include <cstdint>

// One copy of a hot loop for each instruction set, chosen when the program is loaded.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define SPICA_MULTIARCH __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define SPICA_MULTIARCH
#endif

namespace spica::wide {

struct Image {
  std::int64_t n, h, w, c;
  std::int64_t size() const { return n * h * w * c; }
};

struct Window {
  int kh, kw;              // size
  int stride_h, stride_w;  // step
  int top, left;           // padding before the first row and column
};

// acc[n, i, j, f] = sum of x * kernel over window (i, j); kernel is kh, kw, C, F; the border is filled with fill[C].
template <class Acc>
void convolve(const std::int32_t* x, Image in, const Acc* kernel, const std::int32_t* fill, Window window,
              Acc* acc, Image out, int threads);

// The same with one kernel for each channel (kh, kw, C) and a border of zeros.
template <class Acc>
void convolve_depthwise(const std::int32_t* x, Image in, const Acc* kernel, Window window, Acc* acc, Image out,
                        int threads);

// What follows an accumulator: see Stage in arithmetic.py. Null pointers leave a step out.
struct Stage {
  const std::int64_t *bias, *ceiling, *multiplier, *shift;  // one a channel
  Window pool;
  int value_bits, buffer_bits;
  bool relu, average;
  std::int64_t low, high;
};

template <class Acc, class Out>
void finish(const Acc* acc, Image in, const Stage& stage, Out* y, Image out, int threads);

}  // namespace spica::wide

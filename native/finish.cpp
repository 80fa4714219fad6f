// Bias, pooling, activation and the output stage, in 64-bit integers.
#include <algorithm>
#include <limits>
#include <vector>

#include "kernels.hpp"
#include "parallel.hpp"

namespace spica::wide {
namespace {

std::int64_t saturate(std::int64_t value, int bits) {
  const std::int64_t limit = std::int64_t{1} << bits;
  return std::clamp(value, -limit, limit - 1);
}

// floor(value * 2^-shift + 0.5); a negative shift multiplies. Both stay exact within the stage's buffers.
std::int64_t shift_round(std::int64_t value, std::int64_t shift) {
  if (shift <= 0) return value << std::min<std::int64_t>(-shift, 30);
  shift = std::min<std::int64_t>(shift, 62);
  return (value + (std::int64_t{1} << (shift - 1))) >> shift;
}

// Largest accumulator of every channel in window (i, j), after saturation and bias; writes out.c values.
template <class Acc>
void gather(const Acc* sample, Image in, const Stage& stage, std::int64_t i, std::int64_t j, std::int64_t* best) {
  std::fill(best, best + in.c, std::numeric_limits<std::int64_t>::min());
  const Window& pool = stage.pool;
  for (int ky = 0; ky < pool.kh; ++ky) {
    const std::int64_t y = i * pool.stride_h - pool.top + ky;
    if (y < 0 || y >= in.h) continue;
    for (int kx = 0; kx < pool.kw; ++kx) {
      const std::int64_t column = j * pool.stride_w - pool.left + kx;
      if (column < 0 || column >= in.w) continue;
      const Acc* pixel = sample + (y * in.w + column) * in.c;
      for (std::int64_t c = 0; c < in.c; ++c) best[c] = std::max<std::int64_t>(best[c], pixel[c]);
    }
  }
  for (std::int64_t c = 0; c < in.c; ++c) {  // saturation and bias keep the order of values, so they may come last
    best[c] = saturate(best[c], stage.value_bits);
    if (stage.bias) best[c] = saturate(best[c] + stage.bias[c], stage.value_bits);
    if (stage.relu) best[c] = std::max<std::int64_t>(best[c], 0);
    if (stage.ceiling) best[c] = std::min(best[c], stage.ceiling[c]);
  }
}

template <class Out>
void emit(const std::int64_t* values, const Stage& stage, std::int64_t channels, Out* y) {
  for (std::int64_t c = 0; c < channels; ++c) {
    std::int64_t v = values[c];
    if (stage.multiplier) {
      v = shift_round(saturate(v * stage.multiplier[c], stage.buffer_bits), stage.shift[c]);
      v = std::clamp(v, stage.low, stage.high);
    }
    y[c] = static_cast<Out>(v);
  }
}

}  // namespace

template <class Acc, class Out>
void finish(const Acc* acc, Image in, const Stage& stage, Out* y, Image out, int threads) {
  const std::int64_t sample_size = in.h * in.w * in.c;
  if (!stage.average) {
    parallel_for(out.n * out.h, threads, [&](std::int64_t task) {
      const std::int64_t n = task / out.h, i = task % out.h;
      std::vector<std::int64_t> values(in.c);
      for (std::int64_t j = 0; j < out.w; ++j) {
        gather(acc + n * sample_size, in, stage, i, j, values.data());
        emit(values.data(), stage, in.c, y + (task * out.w + j) * out.c);
      }
    });
    return;
  }
  parallel_for(out.n, threads, [&](std::int64_t n) {
    std::vector<std::int64_t> values(in.c), sums(in.c);
    for (std::int64_t i = 0; i < in.h; ++i)
      for (std::int64_t j = 0; j < in.w; ++j) {
        gather(acc + n * sample_size, in, stage, i, j, values.data());
        for (std::int64_t c = 0; c < in.c; ++c) sums[c] += values[c];
      }
    for (std::int64_t& sum : sums) sum = saturate(sum, 32);
    emit(sums.data(), stage, in.c, y + n * out.c);
  });
}

template void finish(const std::int32_t*, Image, const Stage&, std::int32_t*, Image, int);
template void finish(const std::int64_t*, Image, const Stage&, std::int32_t*, Image, int);
template void finish(const std::int32_t*, Image, const Stage&, std::int64_t*, Image, int);
template void finish(const std::int64_t*, Image, const Stage&, std::int64_t*, Image, int);

}  // namespace spica::wide

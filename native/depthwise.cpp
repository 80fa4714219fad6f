// Depthwise convolution: the channels of a pixel side by side in vector lanes.
#include <algorithm>

#include "kernels.hpp"
#include "parallel.hpp"

namespace spica::wide {
namespace {

// acc[c] += x[c] * weights[c]
SPICA_MULTIARCH void add_products(std::int32_t* __restrict acc, const std::int32_t* __restrict x,
                                  const std::int32_t* __restrict weights, std::int64_t channels) {
  for (std::int64_t c = 0; c < channels; ++c) acc[c] += x[c] * weights[c];
}

SPICA_MULTIARCH void add_products(std::int64_t* __restrict acc, const std::int32_t* __restrict x,
                                  const std::int64_t* __restrict weights, std::int64_t channels) {
  for (std::int64_t c = 0; c < channels; ++c) acc[c] += x[c] * weights[c];
}

}  // namespace

template <class Acc>
void convolve_depthwise(const std::int32_t* x, Image in, const Acc* kernel, Window window, Acc* acc, Image out,
                        int threads) {
  parallel_for(out.n * out.h, threads, [&](std::int64_t task) {
    const std::int64_t n = task / out.h, i = task % out.h;
    Acc* row = acc + task * out.w * out.c;
    std::fill(row, row + out.w * out.c, Acc{0});
    for (int ky = 0; ky < window.kh; ++ky) {
      const std::int64_t y = i * window.stride_h - window.top + ky;
      if (y < 0 || y >= in.h) continue;
      for (std::int64_t j = 0; j < out.w; ++j)
        for (int kx = 0; kx < window.kw; ++kx) {
          const std::int64_t column = j * window.stride_w - window.left + kx;
          if (column < 0 || column >= in.w) continue;
          add_products(row + j * out.c, x + ((n * in.h + y) * in.w + column) * in.c,
                       kernel + (ky * window.kw + kx) * in.c, in.c);
        }
    }
  });
}

template void convolve_depthwise(const std::int32_t*, Image, const std::int32_t*, Window, std::int32_t*, Image, int);
template void convolve_depthwise(const std::int32_t*, Image, const std::int64_t*, Window, std::int64_t*, Image, int);

}  // namespace spica::wide

// Convolution by events: every non-zero input adds its row of weights to the filters it reaches.
#include <algorithm>

#include "kernels.hpp"
#include "parallel.hpp"

namespace spica::wide {
namespace {

// acc[f] += value * weights[f]
SPICA_MULTIARCH void add_scaled(std::int32_t* __restrict acc, const std::int32_t* __restrict weights,
                                std::int32_t value, std::int64_t filters) {
  for (std::int64_t f = 0; f < filters; ++f) acc[f] += value * weights[f];
}

SPICA_MULTIARCH void add_scaled(std::int64_t* __restrict acc, const std::int64_t* __restrict weights,
                                std::int64_t value, std::int64_t filters) {
  for (std::int64_t f = 0; f < filters; ++f) acc[f] += value * weights[f];
}

}  // namespace

template <class Acc>
void convolve(const std::int32_t* x, Image in, const Acc* kernel, const std::int32_t* fill, Window window,
              Acc* acc, Image out, int threads) {
  const bool border = std::any_of(fill, fill + in.c, [](std::int32_t v) { return v != 0; });
  parallel_for(out.n * out.h, threads, [&](std::int64_t task) {
    const std::int64_t n = task / out.h, i = task % out.h;
    Acc* row = acc + task * out.w * out.c;
    std::fill(row, row + out.w * out.c, Acc{0});
    for (int ky = 0; ky < window.kh; ++ky) {
      const std::int64_t y = i * window.stride_h - window.top + ky;
      const bool row_outside = y < 0 || y >= in.h;
      if (row_outside && !border) continue;
      for (std::int64_t j = 0; j < out.w; ++j) {
        Acc* pixel = row + j * out.c;
        for (int kx = 0; kx < window.kw; ++kx) {
          const std::int64_t column = j * window.stride_w - window.left + kx;
          const bool outside = row_outside || column < 0 || column >= in.w;
          if (outside && !border) continue;
          const std::int32_t* values = outside ? fill : x + ((n * in.h + y) * in.w + column) * in.c;
          const Acc* weights = kernel + (ky * window.kw + kx) * in.c * out.c;
          for (std::int64_t c = 0; c < in.c; ++c)
            if (values[c] != 0) add_scaled(pixel, weights + c * out.c, static_cast<Acc>(values[c]), out.c);
        }
      }
    }
  });
}

template void convolve(const std::int32_t*, Image, const std::int32_t*, const std::int32_t*, Window, std::int32_t*,
                       Image, int);
template void convolve(const std::int32_t*, Image, const std::int64_t*, const std::int32_t*, Window, std::int64_t*,
                       Image, int);

}  // namespace spica::wide

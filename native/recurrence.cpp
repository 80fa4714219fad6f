#include "recurrence.hpp"

#include <algorithm>

namespace spica {
namespace {

std::int64_t saturate(std::int64_t value, int bits) {
  const std::int64_t limit = std::int64_t{1} << bits;
  return std::clamp(value, -limit, limit - 1);
}

}  // namespace

void recur(const Recurrence& r, const std::int64_t* x, const Stage& arrive, const Stage& leave, std::int64_t* states) {
  for (int stream = 0; stream < r.streams; ++stream) {
    const std::int64_t *real = r.real + std::ptrdiff_t{stream} * r.channels, *imaginary = r.imaginary + std::ptrdiff_t{stream} * r.channels;
    for (std::ptrdiff_t c = 0; c < r.channels; ++c) {
      const std::int64_t cosine = r.factor_real[c], sine = r.factor_imaginary[c];
      std::int64_t re = real[c], im = imaginary[c];
      for (std::ptrdiff_t t = 0; t < r.steps; ++t) {
        const std::ptrdiff_t at = (std::ptrdiff_t{stream} * r.steps + t) * r.channels + c;
        const auto product = [&](std::int64_t a, std::int64_t b) { return saturate(a * b, r.bits); };
        const std::int64_t kept = saturate(product(re, cosine) - product(im, sine), r.bits);
        const std::int64_t crossed = product(re, sine) + product(im, cosine);
        re = states[2 * at] = leave(saturate(kept + arrive(x[at], static_cast<int>(c)), r.bits), static_cast<int>(c));
        im = states[2 * at + 1] = leave(saturate(crossed, r.bits), static_cast<int>(c));
      }
    }
  }
}

}  // namespace spica

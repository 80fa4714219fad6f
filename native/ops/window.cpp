// Windows of convolutions: see window.hpp.
#include "window.hpp"

namespace spica {

void check_windows(const Tensor& x, const Tensor& y, const Window& w) {
  const auto inside = [](int out, int step, int size, int before, int in, int border_before, int border_after) {
    return step > 0 && size > 0 && before >= 0 && before <= border_before &&
           std::int64_t{out - 1} * step + size - before <= std::int64_t{in} + border_after;
  };
  require(x.planes > 0, "windows slide over byte planes only");
  require(inside(y.h, w.stride_h, w.kh, w.top, x.h, x.top, x.bottom) &&
              inside(y.w, w.stride_w, w.kw, w.left, x.w, x.left, x.right),
          "a window reaches beyond its tensor");
}

std::vector<Term> horner(const Tensor& x, int weight_planes, std::ptrdiff_t weight_plane_bytes) {
  std::vector<Term> terms;
  int last = x.planes + weight_planes - 2;
  for (int power = last; power >= 0; --power)
    for (int wp = weight_planes; wp-- > 0;) {
      const int xp = power - wp;
      if (xp < 0 || xp >= x.planes) continue;
      // Shifts of more than a byte do not occur: every power has a term.
      terms.push_back({last - power, xp * x.plane(), wp * weight_plane_bytes});
      last = power;
    }
  return terms;
}

}  // namespace spica

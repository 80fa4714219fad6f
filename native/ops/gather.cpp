// Values in any order, each from anywhere in a sample, or zero.
#include <cstring>

#include "ops.hpp"

namespace spica {
namespace {

class Gather final : public Op {
 public:
  Gather(const Tensor& x, const Tensor& y, std::vector<std::int32_t> positions)
      : x_(x), y_(y), positions_(std::move(positions)) {
    const bool bytes = x.planes == 1 && y.planes == 1 && x.zero == y.zero && x.c == y.c;
    whole_.resize(std::size_t(y.h) * y.w, bytes);
    for (std::size_t pixel = 0; bytes && pixel < whole_.size(); ++pixel) {
      const std::int32_t* from = positions_.data() + pixel * y.c;
      bool follow = from[0] >= 0 && from[0] % x.c == 0;
      for (int c = 1; c < y.c; ++c) follow &= from[c] == from[0] + c;
      whole_[pixel] = follow;
    }
  }

  void run(const Frame& frame, Worker& worker, bool, int part, int parts) const override {
    fill_border(frame, y_, part, parts);
    for (std::int64_t unit = part; unit < std::int64_t{frame.samples} * y_.h; unit += parts) {
      const int n = static_cast<int>(unit / y_.h), row = static_cast<int>(unit % y_.h);
      std::uint8_t* const line = frame.origin(y_, n) + row * y_.row();
      for (int column = 0; column < y_.w; ++column)
        gather_pixel(frame, n, std::ptrdiff_t{row} * y_.w + column, line + column * y_.pixel());
      if (worker.counting && y_.counter >= 0) worker.counts[y_.counter] += count_events(y_, line, y_.w, 0, y_.c);
    }
  }

 private:
  void gather_pixel(const Frame& frame, int n, std::ptrdiff_t pixel, std::uint8_t* to) const {
    const std::int32_t* from = positions_.data() + pixel * y_.c;
    if (whole_[pixel]) {
      std::memcpy(to, place(frame, n, from[0] / x_.c), y_.c);
      return;
    }
    for (int c = 0; c < y_.c; ++c)
      encode(y_, to, c, from[c] < 0 ? 0 : decode(x_, place(frame, n, from[c] / x_.c), from[c] % x_.c));
  }

  // Returns pixel number `pixel` of a sample of x, counted without borders.
  const std::uint8_t* place(const Frame& frame, int n, int pixel) const {
    return frame.origin(x_, n) + pixel / x_.w * x_.row() + pixel % x_.w * x_.pixel();
  }

  const Tensor &x_, &y_;
  const std::vector<std::int32_t> positions_;
  std::vector<char> whole_;  // for each pixel, whether it is one of x as it is
};

}  // namespace

OpPointer make_gather(const Tensor& x, const Tensor& y, std::vector<std::int32_t> positions) {
  const std::int64_t size = std::int64_t{x.h} * x.w * x.c;
  require(static_cast<std::int64_t>(positions.size()) == std::int64_t{y.h} * y.w * y.c,
          "a gather needs a position for each value");
  for (std::int32_t position : positions) require(position >= -1 && position < size, "a gather reaches beyond x");
  return std::make_unique<Gather>(x, y, std::move(positions));
}

}  // namespace spica

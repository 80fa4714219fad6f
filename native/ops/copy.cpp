// Copies of values to other places: slices, transpositions, concatenations, upsampling.
#include <algorithm>
#include <cstring>

#include "ops.hpp"

namespace spica {
namespace {

class Copy final : public Op {
 public:
  Copy(const Tensor& x, const Tensor& y, Places places) : x_(x), y_(y), places_(places) {
    std::int64_t last = places.from_offset;
    bool inside = places.from_offset >= 0;
    const std::array<int, 3> size{y.h, y.w, y.c}, step{places.to_step[0], places.to_step[1], 1};
    for (int axis = 0; axis < 3; ++axis) {
      inside &= places.shape[axis] > 0 && places.from[axis] >= 0 && step[axis] > 0 && places.to_start[axis] >= 0 &&
                places.to_start[axis] + std::int64_t{places.shape[axis] - 1} * step[axis] < size[axis];
      last += (places.shape[axis] - 1) * places.from[axis];
    }
    require(inside && last < std::int64_t{x.h} * x.w * x.c, "a copy reaches beyond its tensors");
    const bool in_order =
        places.from[1] == x.c && places.from[2] == 1 && places.from_offset % x.c == 0 && places.from[0] % x.c == 0;
    whole_pixels_ = in_order && places.to_step[1] == 1 && places.shape[2] == x.c && x.c == y.c && x.planes == 1 &&
                    y.planes == 1 && x.zero == y.zero;
  }

  void run(const Frame& frame, Worker& worker, bool, int part, int parts) const override {
    fill_border(frame, y_, part, parts);
    const Places& p = places_;
    for (std::int64_t unit = part; unit < std::int64_t{frame.samples} * y_.h; unit += parts) {
      const int n = static_cast<int>(unit / y_.h), row = static_cast<int>(unit % y_.h);
      std::uint8_t* line = frame.origin(y_, n) + row * y_.row();
      if (p.clear)
        for (std::int64_t i = 0; i < std::int64_t{y_.w} * y_.c; ++i) encode(y_, line, i, 0);
      const int i = (row - p.to_start[0]) / p.to_step[0];
      if (row >= p.to_start[0] && (row - p.to_start[0]) % p.to_step[0] == 0 && i < p.shape[0])
        copy_row(frame, n, i, line);
      // Tensors that several copies fill are counted by the last of them.
      if (worker.counting && y_.counter >= 0 && p.last)
        worker.counts[y_.counter] += count_events(y_, line, y_.w, 0, y_.c);
    }
  }

 private:
  // Copies row i of those to copy into `line`, a row of y.
  void copy_row(const Frame& frame, int n, int i, std::uint8_t* line) const {
    const Places& p = places_;
    const std::ptrdiff_t values = std::ptrdiff_t{x_.w} * x_.c;  // of a row, without its border
    const bool bytes = x_.planes == 1 && y_.planes == 1 && x_.zero == y_.zero;
    for (int j = 0, run = 1; j < p.shape[1]; j += run) {
      std::uint8_t* to = line + (p.to_start[1] + j * p.to_step[1]) * y_.pixel();
      const std::int64_t from = p.from_offset + i * p.from[0] + j * p.from[1];
      if (whole_pixels_) {  // as many as follow each other in both
        run = static_cast<int>(std::min<std::int64_t>(p.shape[1] - j, (values - from % values) / x_.c));
        std::memcpy(to, place(frame, n, from, values), static_cast<std::size_t>(run) * x_.c);
      } else if (bytes && p.from[2] == 1 && from % x_.c + p.shape[2] <= x_.c) {
        std::memcpy(to + p.to_start[2], place(frame, n, from, values), p.shape[2]);
      } else {
        for (int c = 0; c < p.shape[2]; ++c) {
          const std::int64_t at = from + c * p.from[2];
          encode(y_, to, p.to_start[2] + c, decode(x_, place(frame, n, at - at % x_.c, values), at % x_.c));
        }
      }
    }
  }

  // Returns value number `at` of a sample, counted without borders.
  const std::uint8_t* place(const Frame& frame, int n, std::int64_t at, std::ptrdiff_t values) const {
    return frame.origin(x_, n) + at / values * x_.row() + at % values * x_.item();
  }

  const Tensor &x_, &y_;
  const Places places_;
  bool whole_pixels_;
};

}  // namespace

OpPointer make_copy(const Tensor& x, const Tensor& y, Places places) { return std::make_unique<Copy>(x, y, places); }

}  // namespace spica

// Steps that only move or compare values.
#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "steps.hpp"

namespace spica {
namespace {

class MaxPool final : public Step {
 public:
  MaxPool(const Tensor& x, const Tensor& y, Window window) : x_(x), y_(y), window_(window) {
    if (x.planes != y.planes || x.zero != y.zero || x.c != y.c) throw std::invalid_argument("pooling changes the format");
  }

  void run(const Frame& frame, Worker& worker, bool, int part, int parts) const override {
    fill_border(frame, y_, part, parts);
    for (std::int64_t unit = part; unit < std::int64_t{frame.samples} * y_.h; unit += parts) {
      const int n = static_cast<int>(unit / y_.h), row = static_cast<int>(unit % y_.h);
      std::uint8_t* line = frame.origin(y_, n) + row * y_.row();
      for (int column = 0; column < y_.w; ++column) pool(frame, n, row, column, line + column * y_.pixel());
      if (worker.counting && y_.counter >= 0) worker.counts[y_.counter] += count_events(y_, line, y_.w, 0, y_.c);
    }
  }

 private:
  // Places outside the image never win.
  void pool(const Frame& frame, int n, int row, int column, std::uint8_t* y) const {
    const int top = row * window_.stride_h - window_.top, left = column * window_.stride_w - window_.left;
    const int first_row = std::max(top, 0), last_row = std::min(top + window_.kh, x_.h);
    const int first_column = std::max(left, 0), last_column = std::min(left + window_.kw, x_.w);
    bool first = true;
    for (int i = first_row; i < last_row; ++i)
      for (int j = first_column; j < last_column; ++j) {
        const std::uint8_t* x = frame.origin(x_, n) + i * x_.row() + j * x_.pixel();
        if (x_.planes == 1) {  // bytes are in the order of their values
          if (first) std::memcpy(y, x, x_.c);
          else
            for (int c = 0; c < x_.c; ++c) y[c] = std::max(y[c], x[c]);
        } else {
          for (int c = 0; c < x_.c; ++c) {
            const std::int32_t v = decode(x_, x, c);
            if (first || v > decode(y_, y, c)) encode(y_, y, c, v);
          }
        }
        first = false;
      }
  }

  const Tensor &x_, &y_;
  const Window window_;
};

class Copy final : public Step {
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
    if (!inside || last >= std::int64_t{x.h} * x.w * x.c) throw std::invalid_argument("a copy reaches beyond its tensors");
    const bool in_order = places.from[1] == x.c && places.from[2] == 1 && places.from_offset % x.c == 0 && places.from[0] % x.c == 0;
    whole_pixels_ = in_order && places.to_step[1] == 1 && places.shape[2] == x.c && x.c == y.c && x.planes == 1 &&
                    y.planes == 1 && x.zero == y.zero;
  }

  void run(const Frame& frame, Worker& worker, bool, int part, int parts) const override {
    fill_border(frame, y_, part, parts);
    const Places& p = places_;
    const std::ptrdiff_t values = std::ptrdiff_t{x_.w} * x_.c;  // of a row, without its border
    for (std::int64_t unit = part; unit < std::int64_t{frame.samples} * y_.h; unit += parts) {
      const int n = static_cast<int>(unit / y_.h), row = static_cast<int>(unit % y_.h);
      std::uint8_t* line = frame.origin(y_, n) + row * y_.row();
      if (p.clear)
        for (std::int64_t i = 0; i < std::int64_t{y_.w} * y_.c; ++i) encode(y_, line, i, 0);
      const int i = (row - p.to_start[0]) / p.to_step[0];
      if (row >= p.to_start[0] && (row - p.to_start[0]) % p.to_step[0] == 0 && i < p.shape[0])
        for (int j = 0, run = 1; j < p.shape[1]; j += run) {
          std::uint8_t* to = line + (p.to_start[1] + j * p.to_step[1]) * y_.pixel();
          const std::int64_t from = p.from_offset + i * p.from[0] + j * p.from[1];
          if (whole_pixels_) {  // as many as follow each other in both
            run = static_cast<int>(std::min<std::int64_t>(p.shape[1] - j, (values - from % values) / x_.c));
            std::memcpy(to, place(frame, n, from, values), static_cast<std::size_t>(run) * x_.c);
            continue;
          }
          if (p.from[2] == 1 && from % x_.c + p.shape[2] <= x_.c && x_.planes == 1 && y_.planes == 1 && x_.zero == y_.zero) {
            std::memcpy(to + p.to_start[2], place(frame, n, from, values), p.shape[2]);
            continue;
          }
          for (int c = 0; c < p.shape[2]; ++c) {
            const std::int64_t at = from + c * p.from[2];
            encode(y_, to, p.to_start[2] + c, decode(x_, place(frame, n, at - at % x_.c, values), at % x_.c));
          }
        }
      // Tensors that several copies fill are counted by the last of them.
      if (worker.counting && y_.counter >= 0 && p.last) worker.counts[y_.counter] += count_events(y_, line, y_.w, 0, y_.c);
    }
  }

 private:
  // Value number `at` of a sample, counted without borders.
  const std::uint8_t* place(const Frame& frame, int n, std::int64_t at, std::ptrdiff_t values) const {
    return frame.origin(x_, n) + at / values * x_.row() + at % values * x_.item();
  }

  const Tensor &x_, &y_;
  const Places places_;
  bool whole_pixels_;
};

}  // namespace

StepPointer make_max_pool(const Tensor& x, const Tensor& y, Window window) { return std::make_unique<MaxPool>(x, y, window); }

StepPointer make_copy(const Tensor& x, const Tensor& y, Places places) { return std::make_unique<Copy>(x, y, places); }

}  // namespace spica

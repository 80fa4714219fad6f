// Maximum over windows of pixels.
#include <algorithm>
#include <cstring>

#include "ops.hpp"

namespace spica {
namespace {

class MaxPool final : public Op {
 public:
  MaxPool(const Tensor& x, const Tensor& y, Window window) : x_(x), y_(y), window_(window) {
    require(x.planes == y.planes && x.zero == y.zero && x.c == y.c, "pooling keeps the format and the channels");
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
  // Writes one output pixel. Places outside the image never win.
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

}  // namespace

OpPointer make_max_pool(const Tensor& x, const Tensor& y, Window window) {
  return std::make_unique<MaxPool>(x, y, window);
}

}  // namespace spica

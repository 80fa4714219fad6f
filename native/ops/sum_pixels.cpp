// Sum over all pixels, from which averages are made. It may pass 32 bits, and there are few of them: it takes 64.
#include <algorithm>

#include "ops.hpp"

namespace spica {
namespace {

class SumPixels final : public Op {
 public:
  SumPixels(const Tensor& x, Output output) : x_(x), y_(output.y), epilogue_(std::move(output.epilogue)) {}

  void run(const Frame& frame, Worker& worker, bool, int part, int parts) const override {
    fill_border(frame, y_, part, parts);
    for (int n = 0; n < frame.samples; ++n) {
      const int first = x_.c * part / parts, last = x_.c * (part + 1) / parts;
      std::uint8_t* y = frame.origin(y_, n);
      for (int c = first; c < last; c += chunk) sum(frame, n, y, c, std::min(chunk, last - c));
      if (worker.counting && y_.counter >= 0) worker.counts[y_.counter] += count_events(y_, y, 1, first, last - first);
    }
  }

 private:
  static constexpr int chunk = 64;

  // Writes channels [first, first + count) of sample n.
  void sum(const Frame& frame, int n, std::uint8_t* y, int first, int count) const {
    std::int64_t sums[chunk] = {};
    for (int row = 0; row < x_.h; ++row) {
      const std::uint8_t* x = frame.origin(x_, n) + row * x_.row();
      if (x_.planes == 1) {
        isa().sum_bytes(x + first, x_.w, x_.pixel(), count, x_.zero, sums);
        continue;
      }
      if (x_.planes == 0) {
        isa().sum_words(x + first * x_.item(), x_.w, x_.pixel(), count, sums);
        continue;
      }
      for (int column = 0; column < x_.w; ++column, x += x_.pixel())
        for (int c = 0; c < count; ++c) sums[c] += decode(x_, x, first + c);
    }
    for (int c = 0; c < count; ++c) encode(y_, y, first + c, static_cast<std::int32_t>(epilogue_(sums[c], first + c)));
  }

  const Tensor &x_, &y_;
  const Epilogue epilogue_;
};

}  // namespace

OpPointer make_sum_pixels(const Tensor& x, Output output) {
  require(output.y.h == 1 && output.y.w == 1 && output.y.c == x.c, "the sum of all pixels is one pixel");
  return std::make_unique<SumPixels>(x, std::move(output));
}

}  // namespace spica

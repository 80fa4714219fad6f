// The base of operations that make 32-bit accumulators, pixel by pixel, and take them through an epilogue.
#pragma once

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "op.hpp"

namespace spica {

// Most pixels, and most accumulators, that are made before they go through the epilogue: they should stay in the
// nearest cache.
inline constexpr int tile_most_pixels = 192, tile_most_accumulators = 6 * 1024;

// Returns whether 32 bits hold the accumulators.
inline bool fits(const Output& output) {
  return output.least >= std::numeric_limits<std::int32_t>::min() &&
         output.most <= std::numeric_limits<std::int32_t>::max();
}

// A position among the output pixels of a group, which are counted through samples, rows and columns.
struct Cursor {
  int sample, row, column;
  Cursor(const Tensor& y, std::int64_t pixel)
      : sample(static_cast<int>(pixel / (std::int64_t{y.h} * y.w))),
        row(static_cast<int>(pixel / y.w % y.h)),
        column(static_cast<int>(pixel % y.w)) {}
  // Returns how many pixels there are from here to the end of the row, at most `most`.
  int run(const Tensor& y, int most) const { return std::min(most, y.w - column); }
  // Returns this pixel of a tensor that has the shape of y.
  std::uint8_t* of(const Frame& frame, const Tensor& t) const {
    return frame.origin(t, sample) + row * t.row() + column * t.pixel();
  }
  void advance(const Tensor& y, int run) {
    column += run;
    if (column < y.w) return;
    column = 0;
    if (++row < y.h) return;
    row = 0;
    ++sample;
  }
};

// Accumulators made together: `count` output pixels from `pixel` on, channels [channel, channel + width) of each.
struct Tile {
  std::int64_t pixel;
  int count, channel, width;
  int stride;  // accumulators from one pixel to the next
};

class AccumulatorOp : public Op {
 public:
  // channel_block: channels that are accumulated together, a multiple of 16. channel_unit: their number is padded to a
  // multiple of this.
  AccumulatorOp(Output output, int channel_block, int channel_unit, std::ptrdiff_t weight_bytes = 0);

  void run(const Frame&, Worker&, bool prepared, int part, int parts) const override;

 protected:
  // Writes a tile's accumulators to `acc`.
  virtual void accumulate(const Frame&, Worker&, bool prepared, const Tile&, std::int32_t* acc) const = 0;
  // Adds a tile's accumulators in 64 bits to worker.wide_acc, where 32 bits do not hold them.
  virtual void accumulate_wide(const Frame&, Worker&, const Tile&) const;
  bool wide() const { return wide_; }

  const Tensor& y_;

 private:
  void run_tile(const Frame&, Worker&, bool prepared, const Tile&) const;
  void write(const Frame&, Worker&, const Tile&) const;

  const std::optional<Epilogue32> epilogue32_;
  const Epilogue epilogue_;  // used, and kept, where there is no 32-bit form
  const bool wide_;
  const int channel_block_, channel_unit_;
  const std::ptrdiff_t weight_bytes_;
};

}  // namespace spica

// Look-up of values in a table; without a table, an epilogue alone.
#include "accumulators.hpp"
#include "ops.hpp"

namespace spica {
namespace {

class Lut final : public AccumulatorOp {
 public:
  Lut(const Tensor& x, std::vector<std::int32_t> table, std::int32_t first, Output output)
      : AccumulatorOp(std::move(output), 4 * channel_round, channel_round),
        x_(x),
        table_(std::move(table)),
        first_(first) {}

 protected:
  void accumulate(const Frame& frame, Worker&, bool, const Tile& tile, std::int32_t* acc) const override {
    Cursor at(y_, tile.pixel);
    for (int i = 0; i < tile.count; ++i, acc += tile.stride, at.advance(y_, 1)) {
      decode_to(acc, 1, x_, at.of(frame, x_), tile.channel, tile.width);
      if (table_.empty()) continue;
      for (int c = 0; c < tile.width; ++c) acc[c] = table_[acc[c] - first_];
    }
  }

 private:
  const Tensor& x_;
  const std::vector<std::int32_t> table_;
  const std::int32_t first_;
};

}  // namespace

OpPointer make_lut(const Tensor& x, std::vector<std::int32_t> table, std::int32_t first, Output output) {
  require(fits(output), "accumulators do not fit 32 bits");
  require(same_shape(x, output.y), "a look-up keeps the shape");
  return std::make_unique<Lut>(x, std::move(table), first, std::move(output));
}

}  // namespace spica

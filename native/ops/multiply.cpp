// Products of two tensors, value by value.
#include "accumulators.hpp"
#include "ops.hpp"

namespace spica {
namespace {

class Multiply final : public AccumulatorOp {
 public:
  Multiply(const Tensor& a, const Tensor& b, Output output)
      : AccumulatorOp(std::move(output), 4 * channel_round, channel_round), a_(a), b_(b) {}

 protected:
  void accumulate(const Frame& frame, Worker& worker, bool, const Tile& tile, std::int32_t* acc) const override {
    worker.integers.resize(std::max<std::size_t>(worker.integers.size(), tile.width));
    std::int32_t* const factors = worker.integers.data();
    Cursor at(y_, tile.pixel);
    for (int i = 0; i < tile.count; ++i, acc += tile.stride, at.advance(y_, 1)) {
      decode_to(acc, 1, a_, at.of(frame, a_), tile.channel, tile.width);
      const std::uint8_t* pixel =
          frame.origin(b_, at.sample) + (b_.h > 1 ? at.row : 0) * b_.row() + (b_.w > 1 ? at.column : 0) * b_.pixel();
      if (b_.c == 1) std::fill_n(factors, tile.width, decode(b_, pixel, 0));
      else decode_to(factors, 1, b_, pixel, tile.channel, tile.width);
      for (int c = 0; c < tile.width; ++c) acc[c] *= factors[c];
    }
  }

 private:
  const Tensor &a_, &b_;
};

}  // namespace

OpPointer make_multiply(const Tensor& a, const Tensor& b, Output output) {
  require(fits(output), "accumulators do not fit 32 bits");
  const auto spreads = [](int of_b, int of_a) { return of_b == 1 || of_b == of_a; };
  require(same_shape(a, output.y) && spreads(b.h, a.h) && spreads(b.w, a.w) && spreads(b.c, a.c),
          "tensors that do not spread over each other cannot be multiplied");
  return std::make_unique<Multiply>(a, b, std::move(output));
}

}  // namespace spica

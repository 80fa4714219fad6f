// Normalisation of every token by its mean absolute deviation. A token is a pixel.
#include "accumulators.hpp"
#include "ops.hpp"

namespace spica {
namespace {

class Norm final : public AccumulatorOp {
 public:
  Norm(const Tensor& x, Output output) : AccumulatorOp(std::move(output), 4 * channel_round, value_round), x_(x) {}

 protected:
  void accumulate(const Frame& frame, Worker& worker, bool, const Tile& tile, std::int32_t* acc) const override {
    worker.integers.resize(round_up(x_.c, value_round));
    std::int32_t* values = worker.integers.data();
    Cursor at(y_, tile.pixel);
    for (int i = 0; i < tile.count; ++i, acc += tile.stride, at.advance(y_, 1)) {
      decode_to(values, 1, x_, at.of(frame, x_), 0, x_.c);
      isa().norm(values, x_.c, tile.channel, tile.width, acc);
    }
  }

 private:
  const Tensor& x_;
};

}  // namespace

OpPointer make_norm(const Tensor& x, Output output) {
  require(fits(output), "accumulators do not fit 32 bits");
  require(same_shape(x, output.y), "normalisation keeps the shape");
  return std::make_unique<Norm>(x, std::move(output));
}

}  // namespace spica

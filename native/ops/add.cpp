// Addition of two tensors.
#include "accumulators.hpp"
#include "ops.hpp"

namespace spica {
namespace {

class Add final : public AccumulatorOp {
 public:
  Add(const Tensor& a, const Tensor& b, const std::vector<int>& shift_a, const std::vector<int>& shift_b, Output output)
      : AccumulatorOp(std::move(output), 4 * channel_round, 16), a_(a), b_(b) {
    for (int shift : shift_a) factor_a_.push_back(1 << shift);
    for (int shift : shift_b) factor_b_.push_back(1 << shift);
    for (auto* factors : {&factor_a_, &factor_b_}) factors->resize(round_up(a.c, channel_round));
  }

 protected:
  void accumulate(const Frame& frame, Worker&, bool, const Tile& tile, std::int32_t* acc) const override {
    const int stride = tile.stride, channel = tile.channel;
    const std::int32_t *factor_a = factor_a_.data() + channel, *factor_b = factor_b_.data() + channel;
    Cursor at(y_, tile.pixel);
    for (int left = tile.count, run; left > 0; left -= run, acc += std::ptrdiff_t{run} * stride, at.advance(y_, run)) {
      run = at.run(y_, left);
      const std::uint8_t *a = at.of(frame, a_), *b = at.of(frame, b_);
      if (a_.planes == 1 && b_.planes == 1) {
        isa().add({a + channel, a_.pixel(), a_.zero, factor_a}, {b + channel, b_.pixel(), b_.zero, factor_b},
                  tile.width, {acc, stride, run});
        continue;
      }
      for (int i = 0; i < run; ++i)
        for (int c = 0; c < tile.width; ++c)
          acc[i * stride + c] = decode(a_, a + i * a_.pixel(), channel + c) * factor_a[c] +
                                decode(b_, b + i * b_.pixel(), channel + c) * factor_b[c];
    }
  }

 private:
  const Tensor &a_, &b_;
  Aligned<std::int32_t> factor_a_, factor_b_;
};

}  // namespace

OpPointer make_add(const Tensor& a, const Tensor& b, const std::vector<int>& shift_a, const std::vector<int>& shift_b,
                   Output output) {
  require(fits(output), "accumulators do not fit 32 bits");
  require(same_shape(a, output.y) && same_shape(b, output.y), "tensors of different shapes cannot be added");
  require(static_cast<int>(shift_a.size()) == a.c && static_cast<int>(shift_b.size()) == b.c,
          "a shift is needed for each channel");
  return std::make_unique<Add>(a, b, shift_a, shift_b, std::move(output));
}

}  // namespace spica

// Depthwise convolution.
#include "accumulators.hpp"
#include "ops.hpp"
#include "window.hpp"

namespace spica {
namespace {

class Depthwise final : public AccumulatorOp {
 public:
  Depthwise(const Tensor& x, WeightsView kernel, Window window, Output output)
      : AccumulatorOp(std::move(output), 4 * channel_round, channel_round),
        x_(x),
        window_(window),
        packed_(pack_depthwise(isa(), kernel, window.kh * window.kw, x.c)),
        terms_(horner(x, packed_.planes, packed_.plane_bytes)) {
    for (int tap = 0; tap < packed_.taps; ++tap) {  // those beyond the window, whose weights are zero, read its first
      const bool inside = tap < window.kh * window.kw;
      const int ky = inside ? tap / window.kw : 0, kx = inside ? tap % window.kw : 0;
      taps_.push_back(static_cast<std::int32_t>(ky * x.row() + kx * x.pixel()));
    }
    start_.resize(round_up(x.c, channel_round));
    for (int c = 0; c < x.c; ++c) start_[c] = static_cast<std::int32_t>(packed_.totals[c] * x.zero);  // wraps
  }

 protected:
  void accumulate(const Frame& frame, Worker&, bool, const Tile& tile, std::int32_t* acc) const override {
    Cursor at(y_, tile.pixel);
    for (int left = tile.count, run; left > 0; left -= run, at.advance(y_, run)) {
      run = at.run(y_, left);
      const std::ptrdiff_t row = at.row * window_.stride_h + x_.top - window_.top;
      const std::ptrdiff_t column = at.column * window_.stride_w + x_.left - window_.left;
      const std::uint8_t* first = frame.at(x_, at.sample) + row * x_.row() + column * x_.pixel() + tile.channel;
      for (int c = 0; c < tile.width; c += channel_round)
        accumulate_block(first + c, (tile.channel + c) / channel_round, std::min(tile.width - c, channel_round),
                         {acc + c, tile.stride, run});
      acc += std::ptrdiff_t{run} * tile.stride;
    }
  }

 private:
  void accumulate_block(const std::uint8_t* x, int block, int channels, const AccumulatorRows& acc) const {
    const std::int32_t* start = start_.data() + std::ptrdiff_t{block} * channel_round;
    for (const Term& term : terms_) {
      const bool first = &term == &terms_.front(), last = &term == &terms_.back();
      if (!first) shift(acc, term.shift, last ? start : zeros_.data());
      isa().depthwise({x + term.x, window_.stride_w * x_.pixel(), taps_.data(), packed_.taps},
                      packed_.data.data() + term.weights + block * packed_.block_bytes, channels,
                      first ? (last ? start : zeros_.data()) : nullptr, acc);
    }
  }

  // Shifts accumulators left by `bytes` bytes and adds `start`.
  static void shift(const AccumulatorRows& acc, int bytes, const std::int32_t* start) {
    for (int pixel = 0; pixel < acc.pixels; ++pixel)
      for (int c = 0; c < channel_round; ++c) {
        std::int32_t& value = acc.data[pixel * acc.stride + c];
        value = static_cast<std::int32_t>((static_cast<std::uint32_t>(value) << (8 * bytes)) +
                                          static_cast<std::uint32_t>(start[c]));
      }
  }

  const Tensor& x_;
  const Window window_;
  const PackedDepthwise packed_;
  const std::vector<Term> terms_;
  std::vector<std::int32_t> taps_;
  Aligned<std::int32_t> start_, zeros_ = Aligned<std::int32_t>(channel_round);
};

}  // namespace

OpPointer make_depthwise(const Tensor& x, WeightsView kernel, Window window, Output output) {
  check_windows(x, output.y, window);
  require(fits(output), "accumulators do not fit 32 bits");
  require(x.c == output.y.c, "a depthwise convolution keeps its channels");
  return std::make_unique<Depthwise>(x, kernel, window, std::move(output));
}

}  // namespace spica

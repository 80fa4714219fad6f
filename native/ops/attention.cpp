// Attention of vision transformers. A token is a pixel.
#include "accumulators.hpp"
#include "ops.hpp"

namespace spica {
namespace {

const std::uint8_t* token_of(const Frame& frame, const Tensor& t, int sample, int token) {
  return frame.origin(t, sample) + token / t.w * t.row() + token % t.w * t.pixel();
}

class Attention final : public AccumulatorOp {
 public:
  Attention(const Tensor& q, const Tensor& k, const Tensor& v, int heads, std::int32_t multiplier, int shift,
            Output output)
      : AccumulatorOp(std::move(output), round_up(q.c / heads, value_round), value_round),
        q_(q),
        k_(k),
        v_(v),
        tokens_(q.h * q.w),
        channels_(q.c / heads),
        key_row_(round_up(tokens_, value_round)),
        value_row_(round_up(channels_, value_round)),
        multiplier_(multiplier),
        shift_(shift) {}

 protected:
  void accumulate(const Frame& frame, Worker& worker, bool, const Tile& tile, std::int32_t* acc) const override {
    worker.reals.resize(std::size_t(channels_) * key_row_ + std::size_t(tokens_) * value_row_ + channels_ + key_row_);
    worker.integers.resize(key_row_ + value_row_);
    const int end = tile.channel + tile.width;
    for (int done = 0, run; done < tile.count; done += run) {
      const std::int64_t pixel = tile.pixel + done;
      const int sample = static_cast<int>(pixel / tokens_), token = static_cast<int>(pixel % tokens_);
      run = std::min(tile.count - done, tokens_ - token);
      for (int head = tile.channel / channels_; head * channels_ < end; ++head) {
        const int first = std::max(tile.channel, head * channels_), last = std::min(end, (head + 1) * channels_);
        std::int32_t* to = acc + std::ptrdiff_t{done} * tile.stride - tile.channel;
        attend(frame, worker, sample, head, token, run, first, last, to, tile.stride);
      }
    }
  }

 private:
  // Accumulates channels [first, last), all in one head, of `run` tokens.
  void attend(const Frame& frame, Worker& worker, int sample, int head, int token, int run, int first, int last,
              std::int32_t* acc, int stride) const {
    float* keys = worker.reals.data();
    float* values = keys + std::ptrdiff_t{channels_} * key_row_;
    float* query = values + std::ptrdiff_t{tokens_} * value_row_;
    std::int32_t* mixed = worker.integers.data() + key_row_;
    const int start = head * channels_;
    std::fill(keys, query, 0.0f);  // the padding, which is multiplied too
    for (int t = 0; t < tokens_; ++t) {
      decode_to(keys + t, key_row_, k_, token_of(frame, k_, sample, t), start, channels_);
      decode_to(values + std::ptrdiff_t{t} * value_row_, 1, v_, token_of(frame, v_, sample, t), start, channels_);
    }
    const AttentionHead all{keys, values, tokens_, channels_, key_row_, value_row_, multiplier_, shift_};
    for (int i = 0; i < run; ++i, acc += stride) {
      decode_to(query, 1, q_, token_of(frame, q_, sample, token + i), start, channels_);
      isa().attention(all, query, worker.integers.data(), query + channels_, mixed);
      std::copy(mixed + first - start, mixed + last - start, acc + first);
    }
  }

  const Tensor &q_, &k_, &v_;
  const int tokens_, channels_, key_row_, value_row_;
  const std::int32_t multiplier_;
  const int shift_;
};

}  // namespace

OpPointer make_attention(const Tensor& q, const Tensor& k, const Tensor& v, int heads, std::int32_t multiplier,
                         int shift, Output output) {
  const Tensor& y = output.y;
  require(fits(output), "accumulators do not fit 32 bits");
  require(same_shape(q, y) && same_shape(k, y) && same_shape(v, y), "attention keeps the shape");
  require(heads > 0 && q.c % heads == 0 && q.c / heads <= largest_head && q.h * q.w <= most_tokens, "heads do not fit");
  require(multiplier >= 0 && shift >= 0 && shift < 32, "scores need a multiplier from 0 on and a shift of 0 to 31");
  return std::make_unique<Attention>(q, k, v, heads, multiplier, shift, std::move(output));
}

}  // namespace spica

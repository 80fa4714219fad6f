// Steps of vision transformers: attention, and normalisation by the mean absolute deviation. A token is a pixel.
#include "sums.hpp"

namespace spica {
namespace {

const std::uint8_t* token_of(const Frame& frame, const Tensor& t, int sample, int token) {
  return frame.origin(t, sample) + token / t.w * t.row() + token % t.w * t.pixel();
}

class Attend final : public Sums {
 public:
  Attend(const Tensor& q, const Tensor& k, const Tensor& v, int heads, std::int32_t multiplier, int shift, Finish finish)
      : Sums(std::move(finish), round_up(q.c / heads, value_round), value_round, 0),
        q_(q), k_(k), v_(v), tokens_(q.h * q.w), channels_(q.c / heads),
        key_row_(round_up(tokens_, value_round)), value_row_(round_up(channels_, value_round)),
        multiplier_(multiplier), shift_(shift) {}

 protected:
  void sums(const Frame& frame, Worker& worker, bool, std::int64_t pixel, int count, int channel, int width, std::int32_t* sums,
            int stride) const override {
    worker.reals.resize(std::size_t(channels_) * key_row_ + std::size_t(tokens_) * value_row_ + channels_ + key_row_);
    worker.integers.resize(key_row_ + value_row_);
    for (int done = 0, run; done < count; done += run) {
      const int sample = static_cast<int>((pixel + done) / tokens_), token = static_cast<int>((pixel + done) % tokens_);
      run = std::min(count - done, tokens_ - token);
      for (int head = channel / channels_; head * channels_ < channel + width; ++head) {
        const int first = std::max(channel, head * channels_), last = std::min(channel + width, (head + 1) * channels_);
        attend(frame, worker, sample, head, token, run, first, last, sums + std::ptrdiff_t{done} * stride - channel, stride);
      }
    }
  }

 private:
  // Channels [first, last) of `run` tokens, all in one head.
  void attend(const Frame& frame, Worker& worker, int sample, int head, int token, int run, int first, int last,
              std::int32_t* sums, int stride) const {
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
    const Head all{keys, values, tokens_, channels_, key_row_, value_row_, multiplier_, shift_};
    for (int i = 0; i < run; ++i, sums += stride) {
      decode_to(query, 1, q_, token_of(frame, q_, sample, token + i), start, channels_);
      isa().attend(all, query, worker.integers.data(), query + channels_, mixed);
      std::copy(mixed + first - start, mixed + last - start, sums + first);
    }
  }

  const Tensor &q_, &k_, &v_;
  const int tokens_, channels_, key_row_, value_row_;
  const std::int32_t multiplier_;
  const int shift_;
};

class Normalise final : public Sums {
 public:
  Normalise(const Tensor& x, Finish finish) : Sums(std::move(finish), 4 * channel_round, value_round, 0), x_(x) {}

 protected:
  void sums(const Frame& frame, Worker& worker, bool, std::int64_t pixel, int count, int channel, int width, std::int32_t* sums,
            int stride) const override {
    const int tokens = x_.h * x_.w;
    worker.integers.resize(round_up(x_.c, value_round));
    std::int32_t* values = worker.integers.data();
    for (int i = 0; i < count; ++i, sums += stride) {
      const std::uint8_t* x = token_of(frame, x_, static_cast<int>((pixel + i) / tokens), static_cast<int>((pixel + i) % tokens));
      decode_to(values, 1, x_, x, 0, x_.c);
      isa().normalise(values, x_.c, channel, width, sums);
    }
  }

 private:
  const Tensor& x_;
};

}  // namespace

StepPointer make_attend(const Tensor& q, const Tensor& k, const Tensor& v, int heads, std::int32_t multiplier, int shift, Finish finish) {
  require(fits(finish), "sums do not fit 32 bits");
  require(same_pixels(q, finish.y) && same_pixels(k, finish.y) && same_pixels(v, finish.y), "attention keeps the shape");
  require(heads > 0 && q.c % heads == 0 && q.c / heads <= largest_head && q.h * q.w <= most_tokens, "heads do not fit");
  require(multiplier >= 0 && shift >= 0 && shift < 32, "no such scale of scores");
  return std::make_unique<Attend>(q, k, v, heads, multiplier, shift, std::move(finish));
}

StepPointer make_normalise(const Tensor& x, Finish finish) {
  require(fits(finish), "sums do not fit 32 bits");
  require(same_pixels(x, finish.y), "normalisation keeps the shape");
  return std::make_unique<Normalise>(x, std::move(finish));
}

}  // namespace spica

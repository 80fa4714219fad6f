// Steps that make 32-bit sums, pixel by pixel, and take them through their layer's stage into a tensor.
#pragma once

#include <algorithm>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>

#include "steps.hpp"

namespace spica {

inline constexpr int chunk_pixels = 192;                      // most pixels whose sums are made before they are finished,
inline constexpr int chunk_sums = 6 * 1024;                   // and most sums: they should stay in the nearest cache
inline constexpr std::ptrdiff_t resident_bytes = 256 * 1024;  // weights that stay in the second cache while pixels go by

constexpr int round_up(int value, int to) { return (value + to - 1) / to * to; }

// Whether 32 bits hold the sums.
inline bool fits(const Finish& finish) {
  return finish.least >= std::numeric_limits<std::int32_t>::min() && finish.most <= std::numeric_limits<std::int32_t>::max();
}

// Output pixels of a group, counted through samples, rows and columns.
struct Cursor {
  int sample, row, column;
  Cursor(const Tensor& y, std::int64_t pixel)
      : sample(static_cast<int>(pixel / (std::int64_t{y.h} * y.w))),
        row(static_cast<int>(pixel / y.w % y.h)),
        column(static_cast<int>(pixel % y.w)) {}
  // Pixels from here to the end of the row, at most `most`.
  int run(const Tensor& y, int most) const { return std::min(most, y.w - column); }
  void advance(const Tensor& y, int run) {
    column += run;
    if (column < y.w) return;
    column = 0;
    if (++row < y.h) return;
    row = 0;
    ++sample;
  }
};

// Values of channels [first, first + count) of a pixel, `step` apart in `to`.
template <class T>
void decode_to(T* to, std::ptrdiff_t step, const Tensor& t, const std::uint8_t* pixel, int first, int count) {
  if (t.planes == 1)
    for (int c = 0; c < count; ++c) to[c * step] = static_cast<T>(pixel[first + c] + t.zero);
  else
    for (int c = 0; c < count; ++c) to[c * step] = static_cast<T>(decode(t, pixel, first + c));
}

// What some threads share of a step: output pixels, and channels of each.
struct Part {
  std::int64_t first_pixel, last_pixel;
  int first_channel, last_channel;
};

class Sums : public Step {
 public:
  // channel_block: channels whose sums are made together, a multiple of 16; channel_unit: their number is padded to a
  // multiple of this.
  Sums(Finish finish, int channel_block, int channel_unit, std::ptrdiff_t weight_bytes)
      : y_(finish.y),
        lean_(fits(finish) ? make_lean(finish.stage, finish.least, finish.most) : std::nullopt),
        stage_(lean_ ? Stage{} : std::move(finish.stage)),
        wide_(!fits(finish)),
        channel_block_(channel_block),
        channel_unit_(channel_unit),
        weight_bytes_(weight_bytes) {
  }

  void run(const Frame& frame, Worker& worker, bool prepared, int part, int parts) const override {
    fill_border(frame, y_, part, parts);
    const Part mine = share(frame, part, parts);
    const int channels = mine.last_channel - mine.first_channel;
    if (channels <= 0 || mine.first_pixel >= mine.last_pixel) return;
    const int block = std::min(channel_block_, channels), stride = round_up(block, channel_unit_);
    const int chunk = std::clamp(chunk_sums / stride, 1, chunk_pixels);
    worker.sums.resize(chunk_sums + 4 * channel_round);
    const auto work = [&](std::int64_t pixel, int channel) {
      const int count = static_cast<int>(std::min<std::int64_t>(chunk, mine.last_pixel - pixel));
      const int width = std::min(block, mine.last_channel - channel);
      if (wide_) {
        worker.wide.assign(std::size_t(count) * stride, 0);
        wide_sums(frame, worker, pixel, count, channel, width, stride);
      } else {
        sums(frame, worker, prepared, pixel, count, channel, width, worker.sums.data(), stride);
      }
      finish(frame, worker, pixel, count, channel, width, stride);
    };
    if (weight_bytes_ > resident_bytes) {
      for (int channel = mine.first_channel; channel < mine.last_channel; channel += block)
        for (std::int64_t pixel = mine.first_pixel; pixel < mine.last_pixel; pixel += chunk) work(pixel, channel);
    } else {
      for (std::int64_t pixel = mine.first_pixel; pixel < mine.last_pixel; pixel += chunk)
        for (int channel = mine.first_channel; channel < mine.last_channel; channel += block) work(pixel, channel);
    }
  }

 protected:
  // Sums of `count` output pixels from `pixel` on, channels [channel, channel + width), to rows of `stride` sums.
  virtual void sums(const Frame&, Worker&, bool prepared, std::int64_t pixel, int count, int channel, int width,
                    std::int32_t* sums, int stride) const = 0;

  // The same in 64 bits, added to worker.wide, where 32 do not hold them.
  virtual void wide_sums(const Frame&, Worker&, std::int64_t, int, int, int, int) const {
    throw std::logic_error("this step has no sums beyond 32 bits");
  }
  bool wide() const { return wide_; }

  const Tensor& y_;

 private:
  // Pixels are shared out where there are enough of them, channels otherwise.
  Part share(const Frame& frame, int part, int parts) const {
    const std::int64_t pixels = std::int64_t{frame.samples} * y_.h * y_.w;
    if (pixels >= std::int64_t{parts} * 12) return {pixels * part / parts, pixels * (part + 1) / parts, 0, y_.c};
    const int units = (y_.c + channel_round - 1) / channel_round;
    return {0, pixels, units * part / parts * channel_round, std::min(y_.c, units * (part + 1) / parts * channel_round)};
  }

  void finish(const Frame& frame, Worker& worker, std::int64_t pixel, int count, int channel, int width,
              int stride) const {
    std::int32_t* sums = worker.sums.data();
    const std::int64_t* wide = worker.wide.data();
    Cursor at(y_, pixel);
    while (count > 0) {  // row by row
      const int run = at.run(y_, count);
      std::uint8_t* to = frame.origin(y_, at.sample) + at.row * y_.row() + at.column * y_.pixel();
      if (lean_) {
        isa().lean(*lean_, {sums, stride, run}, channel, width, {to, y_.pixel(), y_.planes, y_.plane(), y_.zero});
      } else {
        for (int i = 0; i < run; ++i)
          for (int c = 0; c < width; ++c)
            encode(y_, to + i * y_.pixel(), channel + c, static_cast<std::int32_t>(stage_(wide_ ? wide[i * stride + c] : sums[i * stride + c], channel + c)));
      }
      sums += std::ptrdiff_t{run} * stride;
      wide += std::ptrdiff_t{run} * stride;
      if (worker.counting && y_.counter >= 0) worker.counts[y_.counter] += count_events(y_, to, run, channel, width);
      count -= run;
      at.advance(y_, run);
    }
  }

  const std::optional<Lean> lean_;
  const Stage stage_;  // used, and kept, where it has no lean form
  const bool wide_;
  const int channel_block_, channel_unit_;
  const std::ptrdiff_t weight_bytes_;
};

inline void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

inline bool same_pixels(const Tensor& x, const Tensor& y) { return x.h == y.h && x.w == y.w && x.c == y.c; }

}  // namespace spica

// Shares out tiles of accumulators among threads and takes them through the epilogue: see accumulators.hpp.
#include "accumulators.hpp"

namespace spica {
namespace {

constexpr std::ptrdiff_t resident_bytes = 256 * 1024;  // weights that stay in the second cache while pixels go by

// The output pixels, and their channels, that one thread computes.
struct Share {
  std::int64_t first_pixel, last_pixel;
  int first_channel, last_channel;
};

// Shares out pixels where there are enough of them, channels otherwise.
Share share_of(const Frame& frame, const Tensor& y, int part, int parts) {
  const std::int64_t pixels = std::int64_t{frame.samples} * y.h * y.w;
  if (pixels >= std::int64_t{parts} * 12) return {pixels * part / parts, pixels * (part + 1) / parts, 0, y.c};
  const int units = (y.c + channel_round - 1) / channel_round;
  return {0, pixels, units * part / parts * channel_round, std::min(y.c, units * (part + 1) / parts * channel_round)};
}

}  // namespace

AccumulatorOp::AccumulatorOp(Output output, int channel_block, int channel_unit, std::ptrdiff_t weight_bytes)
    : y_(output.y),
      epilogue32_(fits(output) ? make_epilogue32(output.epilogue, output.least, output.most) : std::nullopt),
      epilogue_(epilogue32_ ? Epilogue{} : std::move(output.epilogue)),
      wide_(!fits(output)),
      channel_block_(channel_block),
      channel_unit_(channel_unit),
      weight_bytes_(weight_bytes) {}

void AccumulatorOp::run(const Frame& frame, Worker& worker, bool prepared, int part, int parts) const {
  fill_border(frame, y_, part, parts);
  const Share mine = share_of(frame, y_, part, parts);
  const int channels = mine.last_channel - mine.first_channel;
  if (channels <= 0 || mine.first_pixel >= mine.last_pixel) return;
  const int block = std::min(channel_block_, channels), stride = round_up(block, channel_unit_);
  const int chunk = std::clamp(tile_most_accumulators / stride, 1, tile_most_pixels);
  worker.acc.resize(tile_most_accumulators + 4 * channel_round);
  const auto work = [&](std::int64_t pixel, int channel) {
    const int count = static_cast<int>(std::min<std::int64_t>(chunk, mine.last_pixel - pixel));
    run_tile(frame, worker, prepared, {pixel, count, channel, std::min(block, mine.last_channel - channel), stride});
  };
  if (weight_bytes_ > resident_bytes) {
    for (int channel = mine.first_channel; channel < mine.last_channel; channel += block)
      for (std::int64_t pixel = mine.first_pixel; pixel < mine.last_pixel; pixel += chunk) work(pixel, channel);
  } else {
    for (std::int64_t pixel = mine.first_pixel; pixel < mine.last_pixel; pixel += chunk)
      for (int channel = mine.first_channel; channel < mine.last_channel; channel += block) work(pixel, channel);
  }
}

void AccumulatorOp::run_tile(const Frame& frame, Worker& worker, bool prepared, const Tile& tile) const {
  if (wide_) {
    worker.wide_acc.assign(std::size_t(tile.count) * tile.stride, 0);
    accumulate_wide(frame, worker, tile);
  } else {
    accumulate(frame, worker, prepared, tile, worker.acc.data());
  }
  write(frame, worker, tile);
}

void AccumulatorOp::accumulate_wide(const Frame&, Worker&, const Tile&) const {
  throw std::logic_error("this operation has no accumulators beyond 32 bits");
}

void AccumulatorOp::write(const Frame& frame, Worker& worker, const Tile& tile) const {
  std::int32_t* acc = worker.acc.data();
  const std::int64_t* wide = worker.wide_acc.data();
  const int stride = tile.stride, width = tile.width, channel = tile.channel;
  Cursor at(y_, tile.pixel);
  for (int left = tile.count; left > 0;) {  // row by row
    const int run = at.run(y_, left);
    std::uint8_t* to = at.of(frame, y_);
    if (epilogue32_) {
      const OutputRows rows{to, y_.pixel(), y_.planes, y_.plane(), y_.zero};
      isa().epilogue(*epilogue32_, {acc, stride, run}, channel, width, rows);
    } else {
      for (int i = 0; i < run; ++i)
        for (int c = 0; c < width; ++c) {
          const std::int64_t value = wide_ ? wide[i * stride + c] : acc[i * stride + c];
          encode(y_, to + i * y_.pixel(), channel + c, static_cast<std::int32_t>(epilogue_(value, channel + c)));
        }
    }
    acc += std::ptrdiff_t{run} * stride;
    wide += std::ptrdiff_t{run} * stride;
    if (worker.counting && y_.counter >= 0) worker.counts[y_.counter] += count_events(y_, to, run, channel, width);
    left -= run;
    at.advance(y_, run);
  }
}

}  // namespace spica

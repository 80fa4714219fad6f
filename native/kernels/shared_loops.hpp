// Loops that the compiler makes fast for every instruction set by itself; each instruction set's file includes them.
#pragma once

#include <algorithm>
#include <cstring>

#include "isa.hpp"

namespace spica {
namespace {

inline std::int32_t epilogue_value(const Epilogue32& e, std::int32_t acc, int c) {
  const std::int32_t v = std::min(std::max(acc + e.bias[c], e.low[c]), e.high[c]);
  return std::min(std::max((v * e.multiplier[c] + e.half[c]) >> e.shift[c], e.floor), e.ceiling);
}

inline void epilogue_values(const Epilogue32& epilogue, const AccumulatorRows& acc, int first, int count,
                            const OutputRows& to) {
  constexpr int chunk = 16;
  const auto zero = static_cast<std::uint32_t>(to.zero);
  for (int c = 0; c < count; c += chunk) {
    const int width = std::min(chunk, count - c);
    const std::int32_t* from = acc.data + c;
    std::uint8_t* y = to.y;
    for (int pixel = 0; pixel < acc.pixels; ++pixel, from += acc.stride, y += to.pixel) {
      std::int32_t line[chunk] = {};
      if (epilogue.plain) std::memcpy(line, from, width * sizeof *line);
      else
        for (int i = 0; i < chunk; ++i) line[i] = epilogue_value(epilogue, i < width ? from[i] : 0, first + c + i);
      if (to.planes == 0) {
        std::memcpy(y + (first + c) * 4, line, width * sizeof *line);
        continue;
      }
      for (int plane = 0; plane < to.planes; ++plane) {
        std::uint8_t bytes[chunk];
        for (int i = 0; i < chunk; ++i)
          bytes[i] = static_cast<std::uint8_t>((static_cast<std::uint32_t>(line[i]) - zero) >> (8 * plane));
        std::memcpy(y + plane * to.plane + first + c, bytes, width);
      }
    }
  }
}

// Accumulators and factors are padded, and tensors may be read beyond their end, so whole chunks are added.
inline void add_bytes(const Addend& a, const Addend& b, int channels, const AccumulatorRows& to) {
  constexpr int chunk = 16;
  for (int first = 0; first < channels; first += chunk) {
    const std::int32_t* __restrict factor_a = a.factors + first;
    const std::int32_t* __restrict factor_b = b.factors + first;
    for (int pixel = 0; pixel < to.pixels; ++pixel) {
      const std::uint8_t* __restrict x = a.x + pixel * a.pixel + first;
      const std::uint8_t* __restrict y = b.x + pixel * b.pixel + first;
      std::int32_t* __restrict acc = to.data + pixel * to.stride + first;
      for (int c = 0; c < chunk; ++c) acc[c] = (x[c] + a.zero) * factor_a[c] + (y[c] + b.zero) * factor_b[c];
    }
  }
}

inline void sum_bytes(const std::uint8_t* x, int pixels, std::ptrdiff_t step, int channels, std::int32_t zero,
                      std::int64_t* sums) {
  constexpr int most = 1 << 20;  // pixels whose sum fits 32 bits
  for (int done = 0; done < pixels; done += most) {
    std::uint32_t total[channel_round] = {};
    const int last = std::min(pixels, done + most);
    for (int pixel = done; pixel < last; ++pixel)
      for (int c = 0; c < channel_round; ++c) total[c] += x[pixel * step + c];
    for (int c = 0; c < channels; ++c) sums[c] += total[c] + std::int64_t{zero} * (last - done);
  }
}

inline void sum_words(const std::uint8_t* x, int pixels, std::ptrdiff_t step, int channels, std::int64_t* sums) {
  for (int pixel = 0; pixel < pixels; ++pixel) {
    std::int32_t words[channel_round];
    std::memcpy(words, x + pixel * step, channels * sizeof *words);
    for (int c = 0; c < channels; ++c) sums[c] += words[c];
  }
}

inline void list_events(const std::uint8_t* row, int pixels, int groups, std::uint16_t* listed, std::uint16_t* starts) {
  std::uint16_t found = 0;
  int group = 0;
  for (int pixel = 0; pixel < pixels; ++pixel) {
    starts[pixel] = found;
    for (const int end = group + groups; group < end; ++group) {
      std::uint32_t bytes;
      std::memcpy(&bytes, row + std::ptrdiff_t{group} * 4, sizeof bytes);
      listed[found] = static_cast<std::uint16_t>(group);  // overwritten unless it counts
      found += bytes != 0;
    }
  }
  starts[pixels] = found;
}

inline std::int64_t count_bytes(const std::uint8_t* bytes, std::ptrdiff_t size, std::uint8_t zero) {
  std::int64_t total = 0;
  while (size > 0) {
    const std::ptrdiff_t part = std::min<std::ptrdiff_t>(size, 4096);
    std::int32_t found = 0;
    for (std::ptrdiff_t i = 0; i < part; ++i) found += bytes[i] != zero;
    total += found;
    bytes += part;
    size -= part;
  }
  return total;
}

// Depthwise weights lie tap by tap.
inline int depthwise_tap_slot(int tap, int channel) { return tap * channel_round + channel; }

// Accumulates a depthwise convolution tap by tap.
inline void depthwise_taps(const TapRows& rows, const std::int8_t* weights, int channels, const std::int32_t* start,
                           const AccumulatorRows& to) {
  for (int pixel = 0; pixel < to.pixels; ++pixel) {
    std::int32_t* __restrict acc = to.data + pixel * to.stride;
    if (start) std::memcpy(acc, start, channels * sizeof *acc);
    for (int t = 0; t < rows.tap_count; ++t) {
      const std::uint8_t* __restrict x = rows.x + pixel * rows.step + rows.taps[t];
      const std::int8_t* __restrict w = weights + t * channel_round;
      for (int c = 0; c < channels; ++c) {
        const std::int32_t product = static_cast<std::int16_t>(x[c]) * static_cast<std::int16_t>(w[c]);
        acc[c] = static_cast<std::int32_t>(static_cast<std::uint32_t>(acc[c]) + static_cast<std::uint32_t>(product));
      }
    }
  }
}

}  // namespace
}  // namespace spica

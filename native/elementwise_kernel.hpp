// The loops that every instruction set's compiler makes fast by itself; included by each of their files.
#pragma once

#include <algorithm>
#include <cstring>

#include "isa.hpp"

namespace spica {
namespace {

inline std::int32_t lean_value(const Lean& s, std::int32_t sum, int c) {
  const std::int32_t v = std::min(std::max(sum + s.bias[c], s.low[c]), s.high[c]);
  return std::min(std::max((v * s.multiplier[c] + s.half[c]) >> s.shift[c], s.floor), s.ceiling);
}

// Channels [first, first + count) of one pixel, as bytes. The sums are padded, so whole vectors may be read.
inline void lean_bytes(const Lean& stage, const std::int32_t* __restrict sums, int first, int count, std::int32_t zero,
                       std::uint8_t* __restrict y) {
  constexpr int chunk = 16;
  const std::int32_t *__restrict bias = stage.bias.data() + first, *__restrict low = stage.low.data() + first,
                     *__restrict high = stage.high.data() + first, *__restrict multiplier = stage.multiplier.data() + first,
                     *__restrict half = stage.half.data() + first, *__restrict shift = stage.shift.data() + first;
  const std::int32_t floor = stage.floor, ceiling = stage.ceiling;
  for (int c = 0; c < count; c += chunk) {
    std::uint8_t line[chunk];
    for (int i = 0; i < chunk; ++i) {
      const std::int32_t v = std::min(std::max(sums[c + i] + bias[c + i], low[c + i]), high[c + i]);
      const std::int32_t scaled = (v * multiplier[c + i] + half[c + i]) >> shift[c + i];
      line[i] = static_cast<std::uint8_t>(std::min(std::max(scaled, floor), ceiling) - zero);
    }
    if (c + chunk <= count) std::memcpy(y + c, line, chunk);
    else std::memcpy(y + c, line, count - c);
  }
}

inline void lean_words(const Lean& stage, const std::int32_t* __restrict sums, int first, int count,
                       std::int32_t* __restrict y) {
  for (int c = 0; c < count; ++c) y[c] = lean_value(stage, sums[c], first + c);
}

inline void list_groups(const std::uint8_t* pixel, int groups, std::uint16_t* events) {
  std::uint16_t found = 0;
  for (int g = 0; g < groups; ++g) {
    std::uint32_t bytes;
    std::memcpy(&bytes, pixel + g * 4, sizeof bytes);
    events[found + 1] = static_cast<std::uint16_t>(g);  // overwritten unless it counts
    found += bytes != 0;
  }
  events[0] = found;
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

// Depthwise sums, tap by tap.
inline void depthwise_taps(const std::uint8_t* pixel, const std::int32_t* taps, int tap_count,
                           const std::int8_t* __restrict weights, int channels, std::int32_t* __restrict sums) {
  for (int t = 0; t < tap_count; ++t, weights += channel_round) {
    const std::uint8_t* __restrict x = pixel + taps[t];
    for (int c = 0; c < channels; ++c) {
      const std::int32_t product = static_cast<std::int16_t>(x[c]) * static_cast<std::int16_t>(weights[c]);
      sums[c] = static_cast<std::int32_t>(static_cast<std::uint32_t>(sums[c]) + static_cast<std::uint32_t>(product));
    }
  }
}

inline int depthwise_tap_slot(int tap, int channel) { return tap * channel_round + channel; }

}  // namespace
}  // namespace spica

// The loops that every instruction set's compiler makes fast by itself; included by each of their files.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "isa.hpp"

namespace spica {
namespace {

inline std::int32_t lean_value(const Lean& s, std::int32_t sum, int c) {
  const std::int32_t v = std::min(std::max(sum + s.bias[c], s.low[c]), s.high[c]);
  return std::min(std::max((v * s.multiplier[c] + s.half[c]) >> s.shift[c], s.floor), s.ceiling);
}

inline void lean(const Lean& stage, const SumRows& sums, int first, int count, const Target& to) {
  constexpr int chunk = 16;
  for (int c = 0; c < count; c += chunk) {
    const int width = std::min(chunk, count - c);
    const std::int32_t* from = sums.data + c;
    std::uint8_t* y = to.y;
    for (int pixel = 0; pixel < sums.pixels; ++pixel, from += sums.stride, y += to.pixel) {
      std::int32_t line[chunk] = {};
      if (stage.plain) std::memcpy(line, from, width * sizeof *line);
      else
        for (int i = 0; i < chunk; ++i) line[i] = lean_value(stage, i < width ? from[i] : 0, first + c + i);
      if (to.planes == 0) {
        std::memcpy(y + (first + c) * 4, line, width * sizeof *line);
        continue;
      }
      for (int plane = 0; plane < to.planes; ++plane) {
        std::uint8_t bytes[chunk];
        for (int i = 0; i < chunk; ++i)
          bytes[i] = static_cast<std::uint8_t>((static_cast<std::uint32_t>(line[i]) - static_cast<std::uint32_t>(to.zero)) >> (8 * plane));
        std::memcpy(y + plane * to.plane + first + c, bytes, width);
      }
    }
  }
}

// Sums and factors are padded, and tensors may be read beyond their end, so whole chunks are added.
inline void add_bytes(const Addend& a, const Addend& b, int channels, const SumRows& to) {
  constexpr int chunk = 16;
  for (int first = 0; first < channels; first += chunk) {
    const std::int32_t *__restrict factor_a = a.factors + first, *__restrict factor_b = b.factors + first;
    for (int pixel = 0; pixel < to.pixels; ++pixel) {
      const std::uint8_t *__restrict x = a.x + pixel * a.pixel + first, *__restrict y = b.x + pixel * b.pixel + first;
      std::int32_t* __restrict sums = to.data + pixel * to.stride + first;
      for (int c = 0; c < chunk; ++c) sums[c] = (x[c] + a.zero) * factor_a[c] + (y[c] + b.zero) * factor_b[c];
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

inline void list_groups(const std::uint8_t* row, int pixels, int groups, std::uint16_t* listed, std::uint16_t* starts) {
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

// Depthwise sums, tap by tap.
inline void depthwise_taps(const TapRows& rows, const std::int8_t* weights, int channels, const std::int32_t* start,
                           const SumRows& to) {
  for (int pixel = 0; pixel < to.pixels; ++pixel) {
    std::int32_t* __restrict sums = to.data + pixel * to.stride;
    if (start) std::memcpy(sums, start, channels * sizeof *sums);
    for (int t = 0; t < rows.tap_count; ++t) {
      const std::uint8_t* __restrict x = rows.x + pixel * rows.step + rows.taps[t];
      const std::int8_t* __restrict w = weights + t * channel_round;
      for (int c = 0; c < channels; ++c) {
        const std::int32_t product = static_cast<std::int16_t>(x[c]) * static_cast<std::int16_t>(w[c]);
        sums[c] = static_cast<std::int32_t>(static_cast<std::uint32_t>(sums[c]) + static_cast<std::uint32_t>(product));
      }
    }
  }
}

// Sums of `value_round` floats in the widest registers that there are.
#if defined(__AVX512F__)
inline constexpr int lane_count = 16;
#elif defined(__AVX__)
inline constexpr int lane_count = 8;
#else
inline constexpr int lane_count = 4;
#endif
typedef float Lanes __attribute__((vector_size(lane_count * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef std::int32_t IntegerLanes __attribute__((vector_size(lane_count * sizeof(float)), aligned(sizeof(float)), may_alias));

struct FloatSums {
  static constexpr int parts = value_round / lane_count;
  Lanes lanes[parts] = {};

  void add(float factor, const float* values) {
#pragma GCC unroll 4
    for (int i = 0; i < parts; ++i) lanes[i] += factor * *reinterpret_cast<const Lanes*>(values + i * lane_count);
  }
  // The integers that they are.
  void store(std::int32_t* to) const {
    for (int i = 0; i < parts; ++i)
      *reinterpret_cast<IntegerLanes*>(to + i * lane_count) = __builtin_convertvector(lanes[i], IntegerLanes);
  }
};

// See attend in spica/semantics/primitives.py, whose constants these are. Quotients of integers below 2^53 are never rounded
// up to a whole number, so divisions may be of doubles.
inline void attend(const Head& head, const float* __restrict query, std::int32_t* __restrict powers, float* __restrict weights,
                   std::int32_t* __restrict mixed) {
  constexpr int exponent_bits = 8, probability_bits = 10, power_unit = 64, smallest_power = 20;
  const int tokens = head.tokens, channels = head.channels, shift = head.shift;
  const std::int32_t multiplier = head.multiplier;
  for (int first = 0; first < tokens; first += value_round) {
    FloatSums sums;
    for (int c = 0; c < channels; ++c) sums.add(query[c], head.keys + c * head.key_row + first);
    sums.store(powers + first);
    for (int i = 0; i < value_round; ++i) powers[first + i] = (powers[first + i] * multiplier) >> shift;
  }
  std::int32_t top = powers[0], total = 0;
  for (int j = 1; j < tokens; ++j) top = std::max(top, powers[j]);
  for (int j = 0; j < tokens; ++j) {
    const std::int32_t below = std::min(top - powers[j], smallest_power << exponent_bits);
    const std::int32_t part = below & ((1 << exponent_bits) - 1);
    powers[j] = (((2 << exponent_bits) - part) * power_unit) >> (below >> exponent_bits);
    total += powers[j];
  }
  const double twice = 2.0 * total;
  for (int j = 0; j < tokens; ++j) {
    const std::int32_t probability = static_cast<std::int32_t>(((powers[j] << (probability_bits + 1)) + total) / twice);
    weights[j] = static_cast<float>(probability);
  }
  for (int first = 0; first < channels; first += value_round) {
    FloatSums sums;
    for (int j = 0; j < tokens; ++j) sums.add(weights[j], head.values + j * head.value_row + first);
    sums.store(mixed + first);
  }
}

inline void normalise(const std::int32_t* __restrict values, int channels, int first, int count, std::int32_t* __restrict to) {
  constexpr int norm_bits = 8;
  std::int32_t sum = 0, apart = 0;
  for (int c = 0; c < channels; ++c) sum += values[c];
  for (int c = 0; c < channels; ++c) apart += std::abs(channels * values[c] - sum);
  const double deviation = std::max(apart / channels, 1);
  for (int c = 0; c < count; ++c) {
    const std::int32_t centred = (channels * values[first + c] - sum) * (1 << norm_bits);
    to[c] = static_cast<std::int32_t>(std::floor(centred / deviation));
  }
}

inline int depthwise_tap_slot(int tap, int channel) { return tap * channel_round + channel; }

}  // namespace
}  // namespace spica

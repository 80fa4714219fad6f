// Attention and normalisation of one token, for the compiler to make fast; each instruction set's file includes them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "isa.hpp"

namespace spica {
namespace {

// Sums of `value_round` floats in the widest registers of the instruction set.
#if defined(__AVX512F__)
inline constexpr int lane_count = 16;
#elif defined(__AVX__)
inline constexpr int lane_count = 8;
#else
inline constexpr int lane_count = 4;
#endif
typedef float Lanes __attribute__((vector_size(lane_count * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef std::int32_t IntegerLanes
    __attribute__((vector_size(lane_count * sizeof(float)), aligned(sizeof(float)), may_alias));

struct FloatSums {
  static constexpr int parts = value_round / lane_count;
  Lanes lanes[parts] = {};

  void add(float factor, const float* values) {
#pragma GCC unroll 4
    for (int i = 0; i < parts; ++i) lanes[i] += factor * *reinterpret_cast<const Lanes*>(values + i * lane_count);
  }
  // Converts the sums to the integers that they hold.
  void store(std::int32_t* to) const {
    for (int i = 0; i < parts; ++i)
      *reinterpret_cast<IntegerLanes*>(to + i * lane_count) = __builtin_convertvector(lanes[i], IntegerLanes);
  }
};

// Computes `attend` of spica/semantics/primitives.py, whose constants these are. Quotients of integers below 2^53 are
// never rounded up to a whole number, so divisions may be of doubles.
inline void attention(const AttentionHead& head, const float* __restrict query, std::int32_t* __restrict powers,
                      float* __restrict weights, std::int32_t* __restrict mixed) {
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

// Computes `normalise` of spica/semantics/primitives.py.
inline void norm(const std::int32_t* __restrict values, int channels, int first, int count,
                 std::int32_t* __restrict to) {
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

}  // namespace
}  // namespace spica

// What follows a sum before it leaves a layer: see Stage in spica/semantics/primitives.py.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "isa.hpp"

namespace spica {

// `value` within [-2^bits, 2^bits - 1].
inline std::int64_t saturate(std::int64_t value, int bits) {
  const std::int64_t limit = std::int64_t{1} << bits;
  return std::clamp(value, -limit, limit - 1);
}

struct Stage {
  int channels;
  std::vector<std::int64_t> bias, ceiling, multiplier, shift;  // one a channel, or empty
  int value_bits, buffer_bits;
  bool relu;
  std::int64_t low, high;  // of the output, where there is a multiplier

  std::int64_t before_scale(std::int64_t sum, int c) const;
  std::int64_t operator()(std::int64_t sum, int c) const;
};

// The same in 32-bit arithmetic for sums from `least` to `most`, or nothing where that could not hold it.
std::optional<Lean> make_lean(const Stage&, std::int64_t least, std::int64_t most);

}  // namespace spica

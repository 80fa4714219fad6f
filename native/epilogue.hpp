// The epilogue of a layer, from accumulators to integers: bias, ReLU, scaling and rounding, as `Epilogue` in
// spica/semantics/primitives.py defines it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/isa.hpp"

namespace spica {

// Clamps `value` to [-2^bits, 2^bits - 1].
inline std::int64_t saturate(std::int64_t value, int bits) {
  const std::int64_t limit = std::int64_t{1} << bits;
  return std::clamp(value, -limit, limit - 1);
}

struct Epilogue {
  int channels;
  std::vector<std::int64_t> bias, ceiling, multiplier, shift;  // one a channel, or empty
  int value_bits, buffer_bits;
  bool relu;
  std::int64_t low, high;  // of the output, where there is a multiplier

  // Applies what comes before the scale: bias, ReLU and its ceiling.
  std::int64_t before_scale(std::int64_t acc, int c) const;
  // Applies the whole epilogue to an accumulator of channel c.
  std::int64_t operator()(std::int64_t acc, int c) const;
};

// Returns the same epilogue in 32-bit arithmetic for accumulators from `least` to `most`, or nothing where 32 bits
// cannot hold it.
std::optional<Epilogue32> make_epilogue32(const Epilogue&, std::int64_t least, std::int64_t most);

}  // namespace spica

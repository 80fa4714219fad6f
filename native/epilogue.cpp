// Computes epilogues exactly, and derives their 32-bit form: see epilogue.hpp.
#include "epilogue.hpp"

#include <algorithm>
#include <limits>

namespace spica {
namespace {

// Returns floor(value * 2^-shift + 0.5); a negative shift multiplies. Both are exact within the epilogue's buffers.
std::int64_t shift_round(std::int64_t value, std::int64_t shift) {
  if (shift <= 0) return value * (std::int64_t{1} << std::min<std::int64_t>(-shift, 30));
  shift = std::min<std::int64_t>(shift, 62);
  return (value + (std::int64_t{1} << (shift - 1))) >> shift;
}

bool fits(std::int64_t value) {
  return value >= std::numeric_limits<std::int32_t>::min() && value <= std::numeric_limits<std::int32_t>::max();
}

// Returns the smallest value in [from, to] for which `holds`, which is true at `to` and stays true once it is.
template <class Holds>
std::int64_t first_where(std::int64_t from, std::int64_t to, Holds holds) {
  while (from < to) {
    const std::int64_t middle = from + (to - from) / 2;
    if (holds(middle)) to = middle;
    else from = middle + 1;
  }
  return to;
}

}  // namespace

std::int64_t Epilogue::before_scale(std::int64_t acc, int c) const {
  std::int64_t v = saturate(acc, value_bits);
  if (!bias.empty()) v = saturate(v + bias[c], value_bits);
  if (relu) v = std::max<std::int64_t>(v, 0);
  if (!ceiling.empty()) v = std::min(v, ceiling[c]);
  return v;
}

std::int64_t Epilogue::operator()(std::int64_t acc, int c) const {
  const std::int64_t v = before_scale(acc, c);
  if (multiplier.empty()) return v;
  return std::clamp(shift_round(saturate(v * multiplier[c], buffer_bits), shift[c]), low, high);
}

// An epilogue never falls as its accumulator grows, so it is constant below one value and above another, and between
// the two none of its saturations is at work. Clamping to these two values beforehand replaces all of them.
std::optional<Epilogue32> make_epilogue32(const Epilogue& epilogue, std::int64_t least, std::int64_t most) {
  Epilogue32 fast;
  const int padded = (epilogue.channels + channel_round - 1) / channel_round * channel_round;
  for (auto* values : {&fast.bias, &fast.low, &fast.high, &fast.multiplier, &fast.half, &fast.shift})
    values->resize(padded);
  const bool scaled = !epilogue.multiplier.empty();
  fast.plain = true;
  fast.floor = static_cast<std::int32_t>(scaled ? epilogue.low : std::numeric_limits<std::int32_t>::min());
  fast.ceiling = static_cast<std::int32_t>(scaled ? epilogue.high : std::numeric_limits<std::int32_t>::max());
  for (int c = 0; c < epilogue.channels; ++c) {
    const std::int64_t top = epilogue(most, c), bottom = epilogue(least, c);
    const std::int64_t last = first_where(least, most, [&](std::int64_t v) { return epilogue(v, c) == top; });
    const std::int64_t first =
        first_where(least, most, [&](std::int64_t v) { return epilogue(v, c) > bottom || v == most; });
    const std::int64_t bias = epilogue.bias.empty() ? 0 : epilogue.bias[c];
    const std::int64_t low = epilogue.before_scale(top == bottom || first == least ? least : first - 1, c);
    const std::int64_t high = epilogue.before_scale(last, c);
    const std::int64_t shift = scaled ? epilogue.shift[c] : 0;
    const std::int64_t multiplier = scaled ? epilogue.multiplier[c] << std::clamp<std::int64_t>(-shift, 0, 30) : 1;
    const std::int64_t right = std::clamp<std::int64_t>(shift, 0, 62);
    const std::int64_t half = right ? std::int64_t{1} << (right - 1) : 0;
    const auto value = [&](std::int64_t v) {
      return std::clamp<std::int64_t>((v * multiplier + half) >> right, fast.floor, fast.ceiling);
    };
    const bool holds = right <= 31 && fits(least + bias) && fits(most + bias) && fits(low) && fits(high) &&
                       low <= high && fits(low * multiplier + half) && fits(high * multiplier + half) &&
                       fits(multiplier) && fits(half) && value(low) == bottom && value(high) == top && fits(bias);
    if (!holds) return std::nullopt;
    fast.bias[c] = static_cast<std::int32_t>(bias);
    fast.low[c] = static_cast<std::int32_t>(low);
    fast.high[c] = static_cast<std::int32_t>(high);
    fast.multiplier[c] = static_cast<std::int32_t>(multiplier);
    fast.half[c] = static_cast<std::int32_t>(half);
    fast.shift[c] = static_cast<std::int32_t>(right);
    fast.plain = fast.plain && !scaled && bias == 0 && low == least && high == most;
  }
  return fast;
}

}  // namespace spica

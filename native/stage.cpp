#include "stage.hpp"

#include <algorithm>
#include <limits>

namespace spica {
namespace {

// floor(value * 2^-shift + 0.5); a negative shift multiplies. Both stay exact within the stage's buffers.
std::int64_t shift_round(std::int64_t value, std::int64_t shift) {
  if (shift <= 0) return value * (std::int64_t{1} << std::min<std::int64_t>(-shift, 30));
  shift = std::min<std::int64_t>(shift, 62);
  return (value + (std::int64_t{1} << (shift - 1))) >> shift;
}

bool fits(std::int64_t value) {
  return value >= std::numeric_limits<std::int32_t>::min() && value <= std::numeric_limits<std::int32_t>::max();
}

// Smallest value in [from, to] for which `holds`, which is true at `to` and stays true once it is.
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

std::int64_t Stage::before_scale(std::int64_t sum, int c) const {
  std::int64_t v = saturate(sum, value_bits);
  if (!bias.empty()) v = saturate(v + bias[c], value_bits);
  if (relu) v = std::max<std::int64_t>(v, 0);
  if (!ceiling.empty()) v = std::min(v, ceiling[c]);
  return v;
}

std::int64_t Stage::operator()(std::int64_t sum, int c) const {
  const std::int64_t v = before_scale(sum, c);
  if (multiplier.empty()) return v;
  return std::clamp(shift_round(saturate(v * multiplier[c], buffer_bits), shift[c]), low, high);
}

// A stage never falls as its sum grows, so it is constant below some sum and above another, and between the two none of
// its saturations is at work. Clamping to these two beforehand replaces all of them.
std::optional<Lean> make_lean(const Stage& stage, std::int64_t least, std::int64_t most) {
  Lean lean;
  const int padded = (stage.channels + channel_round - 1) / channel_round * channel_round;
  for (auto* values : {&lean.bias, &lean.low, &lean.high, &lean.multiplier, &lean.half, &lean.shift}) values->resize(padded);
  const bool scaled = !stage.multiplier.empty();
  lean.plain = true;
  lean.floor = static_cast<std::int32_t>(scaled ? stage.low : std::numeric_limits<std::int32_t>::min());
  lean.ceiling = static_cast<std::int32_t>(scaled ? stage.high : std::numeric_limits<std::int32_t>::max());
  for (int c = 0; c < stage.channels; ++c) {
    const std::int64_t top = stage(most, c), bottom = stage(least, c);
    const std::int64_t last = first_where(least, most, [&](std::int64_t v) { return stage(v, c) == top; });
    const std::int64_t first = first_where(least, most, [&](std::int64_t v) { return stage(v, c) > bottom || v == most; });
    const std::int64_t bias = stage.bias.empty() ? 0 : stage.bias[c];
    const std::int64_t low = stage.before_scale(top == bottom || first == least ? least : first - 1, c);
    const std::int64_t high = stage.before_scale(last, c);
    const std::int64_t shift = scaled ? stage.shift[c] : 0;
    const std::int64_t multiplier = scaled ? stage.multiplier[c] << std::clamp<std::int64_t>(-shift, 0, 30) : 1;
    const std::int64_t right = std::clamp<std::int64_t>(shift, 0, 62), half = right ? std::int64_t{1} << (right - 1) : 0;
    const auto value = [&](std::int64_t v) {
      return std::clamp<std::int64_t>((v * multiplier + half) >> right, lean.floor, lean.ceiling);
    };
    const bool holds = right <= 31 && fits(least + bias) && fits(most + bias) && fits(low) && fits(high) && low <= high &&
                       fits(low * multiplier + half) && fits(high * multiplier + half) && fits(multiplier) && fits(half) &&
                       value(low) == bottom && value(high) == top && fits(bias);
    if (!holds) return std::nullopt;
    lean.bias[c] = static_cast<std::int32_t>(bias);
    lean.low[c] = static_cast<std::int32_t>(low);
    lean.high[c] = static_cast<std::int32_t>(high);
    lean.multiplier[c] = static_cast<std::int32_t>(multiplier);
    lean.half[c] = static_cast<std::int32_t>(half);
    lean.shift[c] = static_cast<std::int32_t>(right);
    lean.plain = lean.plain && !scaled && bias == 0 && low == least && high == most;
  }
  return lean;
}

}  // namespace spica

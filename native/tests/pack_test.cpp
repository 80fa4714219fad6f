// Checks weight packing: multiplied with one byte at a time, packed weights give back what was packed.
#include <cstdio>
#include <random>
#include <stdexcept>

#include "../kernels/pack.hpp"

namespace spica {
namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::printf("%s: %s\n", isa().name, what);
  ++failures;
}

std::vector<std::int16_t> random_weights(std::size_t size, int limit) {
  std::mt19937_64 random(size + limit);
  std::uniform_int_distribution<int> value(-limit, limit);
  std::vector<std::int16_t> weights(size);
  for (auto& w : weights) w = static_cast<std::int16_t>(value(random));
  weights.front() = static_cast<std::int16_t>(limit);
  return weights;
}

// Returns the weights of all filters at one byte of the window, as the dense micro-kernel sees them.
std::vector<std::int32_t> weights_at(const PackedFilters& f, int row, int position) {
  const int row_bytes = f.groups * 4, padded = f.vectors * isa().width;
  std::vector<std::uint8_t> window(std::size_t(f.rows) * row_bytes + slack);
  window[std::size_t(row) * row_bytes + position] = 1;
  const std::uint8_t* pixel = window.data();
  std::vector<Term> terms;
  for (int plane = f.planes; plane-- > 0;) terms.push_back({terms.empty() ? 0 : 1, 0, f.plane_bytes(1) * plane});
  const Aligned<std::int32_t> start(padded);
  std::vector<std::int32_t> acc(padded);
  for (int first = 0; first < f.vectors; first += block_vectors) {
    std::int32_t* to = acc.data() + first * isa().width;
    const Windows windows{&pixel, 1, row_bytes, terms.data(), f.planes, start.data(), to, padded};
    isa().conv_dense(f, windows, first, std::min(first + block_vectors, f.vectors));
  }
  return acc;
}

void check_conv(int rows, int row_bytes, int filters, int limit) {
  const auto weights = random_weights(std::size_t(rows) * row_bytes * filters, limit);
  const PackedConv packed = pack_conv(isa(), weights.data(), rows, row_bytes, filters);
  expect(packed.filters.planes == (limit > 127 ? 2 : 1), "a convolution has the wrong number of planes");
  std::vector<std::int64_t> totals(filters);
  for (std::size_t i = 0; i < weights.size(); ++i) totals[i % filters] += weights[i];
  expect(packed.totals == totals, "totals of filters differ");
  for (int at = 0; at < rows * row_bytes; ++at) {
    const auto seen = weights_at(packed.filters, at / row_bytes, at % row_bytes);
    bool same = true;
    for (int f = 0; f < filters; ++f) same &= seen[f] == weights[std::size_t(at) * filters + f];
    for (std::size_t f = filters; f < seen.size(); ++f) same &= seen[f] == 0;
    expect(same, "weights of a convolution differ");
  }
  if (limit > 127) return;
  const std::vector<std::int8_t> narrow(weights.begin(), weights.end());
  const PackedConv same = pack_conv(isa(), narrow.data(), rows, row_bytes, filters);
  expect(same.filters.data == packed.filters.data && same.totals == totals, "int8 and int16 filters are packed unlike");
}

void check_depthwise(int taps, int channels, int limit) {
  const auto weights = random_weights(std::size_t(taps) * channels, limit);
  const PackedDepthwise packed = pack_depthwise(isa(), weights.data(), taps, channels);
  bool same = true;
  for (int tap = 0; tap < taps; ++tap)
    for (int c = 0; c < channels; ++c) {
      std::int32_t seen = 0;
      const std::ptrdiff_t at = packed.block_bytes * (c / channel_round) + isa().depthwise_slot(tap, c % channel_round);
      for (int plane = packed.planes; plane-- > 0;) seen = seen * 256 + packed.data[packed.plane_bytes * plane + at];
      same &= seen == weights[std::size_t(tap) * channels + c];
    }
  expect(same, "weights of a depthwise convolution differ");
  if (limit > 127) return;
  const std::vector<std::int8_t> narrow(weights.begin(), weights.end());
  expect(pack_depthwise(isa(), narrow.data(), taps, channels).data == packed.data,
         "int8 and int16 taps are packed unlike");
}

void check_refusal() {
  const std::int16_t beyond = 32640;
  try {
    pack_conv(isa(), &beyond, 1, 1, 1);
    expect(false, "a weight beyond two signed bytes is packed");
  } catch (const std::invalid_argument&) {
  }
}

}  // namespace
}  // namespace spica

int main() {
  for (int limit : {1, 127, 128, 32639})
    for (int filters : {1, 17, 150}) {
      spica::check_conv(3, 15, filters, limit);
      spica::check_conv(1, 64, filters, limit);
      spica::check_depthwise(9, filters, limit);
    }
  spica::check_refusal();
  if (spica::failures == 0) std::printf("%s: weights are packed as they were given\n", spica::isa().name);
  return spica::failures != 0;
}

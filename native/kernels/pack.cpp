// Packing of weights: see pack.hpp.
#include "pack.hpp"

#include <algorithm>
#include <stdexcept>

namespace spica {
namespace {

// Returns how many byte planes the weights need: the highest is signed, and so are those below it.
int plane_count(const std::int8_t*, std::int64_t) { return 1; }

int plane_count(const std::int16_t* weights, std::int64_t size) {
  const auto [low, high] = std::minmax_element(weights, weights + size);
  if (size == 0 || (*low >= -128 && *high <= 127)) return 1;
  if (*low < -32640 || *high > 32639) throw std::invalid_argument("weights do not fit two signed bytes");
  return 2;
}

std::int8_t plane_of(std::int32_t weight, int plane, int planes) {
  const auto low = static_cast<std::int8_t>(weight & 0xff);
  if (planes == 1) return static_cast<std::int8_t>(weight);
  return plane == 0 ? low : static_cast<std::int8_t>((weight - low) >> 8);
}

// Returns where a plane's weights of one group of four bytes go for a vector of filters.
std::int8_t* place(PackedFilters& f, int plane, int row, int group, int vector) {
  const int block = vector / block_vectors * block_vectors;
  const int block_size = std::min(block_vectors, f.vectors - block);
  return f.data.data() + f.plane_bytes(block) * f.planes + f.plane_bytes(block_size) * plane +
         ((std::ptrdiff_t{row} * f.groups + group) * block_size + vector - block) * f.vector_bytes;
}

template <class T>
PackedConv pack_filters(const Isa& isa, const T* weight, int rows, int row_bytes, int filters) {
  PackedConv packed;
  packed.totals.resize(filters);
  PackedFilters& to = packed.filters;
  to.rows = rows;
  to.groups = round_up((row_bytes + 3) / 4, isa.group_round);
  to.vectors = (filters + isa.width - 1) / isa.width;
  to.vector_bytes = isa.vector_bytes;
  to.planes = plane_count(weight, std::int64_t{rows} * row_bytes * filters);
  to.data.resize(to.plane_bytes(to.vectors) * to.planes);
  for (int row = 0; row < rows; ++row)
    for (int position = 0; position < row_bytes; ++position, weight += filters) {
      for (int vector = 0; vector < to.vectors; ++vector)
        for (int plane = 0; plane < to.planes; ++plane) {
          std::int8_t* at = place(to, plane, row, position / 4, vector);
          const int first = vector * isa.width, last = std::min(first + isa.width, filters);
          for (int f = first; f < last; ++f)
            isa.pack_weight(at, f - first, position % 4, plane_of(weight[f], plane, to.planes));
        }
      for (int f = 0; f < filters; ++f) packed.totals[f] += weight[f];
    }
  return packed;
}

template <class T>
PackedDepthwise pack_taps(const Isa& isa, const T* weight, int taps, int channels) {
  PackedDepthwise packed;
  packed.totals.resize(channels);
  packed.taps = round_up(taps, tap_round);
  packed.planes = plane_count(weight, std::int64_t{taps} * channels);
  packed.block_bytes = std::ptrdiff_t{packed.taps} * channel_round;
  packed.plane_bytes = packed.block_bytes * (round_up(channels, channel_round) / channel_round);
  packed.data.resize(packed.plane_bytes * packed.planes);
  for (int tap = 0; tap < taps; ++tap)
    for (int c = 0; c < channels; ++c, ++weight) {
      packed.totals[c] += *weight;
      const std::ptrdiff_t at = packed.block_bytes * (c / channel_round) + isa.depthwise_slot(tap, c % channel_round);
      for (int plane = 0; plane < packed.planes; ++plane)
        packed.data[packed.plane_bytes * plane + at] = plane_of(*weight, plane, packed.planes);
    }
  return packed;
}

}  // namespace

PackedConv pack_conv(const Isa& isa, WeightsView weights, int rows, int row_bytes, int filters) {
  return std::visit([&](auto* given) { return pack_filters(isa, given, rows, row_bytes, filters); }, weights);
}

PackedDepthwise pack_depthwise(const Isa& isa, WeightsView weights, int taps, int channels) {
  return std::visit([&](auto* given) { return pack_taps(isa, given, taps, channels); }, weights);
}

}  // namespace spica

// Packs the weights of convolutions into the order in which the micro-kernels read them.
#pragma once

#include <variant>
#include <vector>

#include "isa.hpp"

namespace spica {

// Weights as they are given, of one byte or of two.
using WeightsView = std::variant<const std::int8_t*, const std::int16_t*>;

struct PackedConv {
  PackedFilters filters;
  std::vector<std::int64_t> totals;  // sum of every filter's weights
};

struct PackedDepthwise {
  int taps = 0;  // padded to tap_round
  int planes = 1;
  std::ptrdiff_t block_bytes = 0, plane_bytes = 0;  // bytes of a block of channel_round channels, and of a plane
  Aligned<std::int8_t> data;                        // planes, blocks, and weights in the order of Isa::depthwise_slot
  std::vector<std::int64_t> totals;                 // sum of every channel's weights
};

// Packs a kernel of rows x row_bytes x filters weights, where row_bytes are the bytes of one row of the window.
// Throws std::invalid_argument if a weight does not fit two signed bytes.
PackedConv pack_conv(const Isa&, WeightsView, int rows, int row_bytes, int filters);

// Packs a kernel of taps x channels weights. Throws as pack_conv does.
PackedDepthwise pack_depthwise(const Isa&, WeightsView, int taps, int channels);

}  // namespace spica

// Fills the table of an instruction set: convolutions for its vectors, and the shared loops for everything else.
#pragma once

#include "shared_loops.hpp"
#include "tiles.hpp"
#include "token_loops.hpp"

namespace spica {
namespace {

// Four weights of a filter follow each other.
inline void pack_byte(std::int8_t* vector, int f, int lane, std::int8_t weight) { vector[f * 4 + lane] = weight; }

// Returns the table for the vectors of class V; a file then replaces the loops that it does better. It is evaluated
// when the program is compiled: code for one instruction set must not run at start-up on a processor that lacks it.
template <class V>
constexpr Isa make_isa(const char* name, double (*peak)(std::int64_t)) {
  return {.name = name,
          .width = V::width,
          .vector_bytes = V::vector_bytes,
          .group_round = 1,
          .pack_weight = pack_byte,
          .conv_dense = conv_dense<V>,
          .conv_events = conv_events<V>,
          .depthwise = depthwise_taps,
          .depthwise_slot = depthwise_tap_slot,
          .epilogue = epilogue_values,
          .add = add_bytes,
          .sum_bytes = sum_bytes,
          .sum_words = sum_words,
          .list_events = list_events,
          .count = count_bytes,
          .attention = attention,
          .norm = norm,
          .peak = peak};
}

}  // namespace
}  // namespace spica

// Learning layers: what samples change in them by the rules of spica/learning/rules.py.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace spica {

struct Learning {
  std::int64_t inputs, neurons;
  std::int8_t* kernel;                             // neurons x inputs, 0 or 1
  std::int16_t* memory;                            // the same, or none for the rule that swaps
  std::int64_t *plasticity, *threshold, *learned;  // one a neuron
  std::int64_t each, weights, min_plasticity, decay, competition, unit, limit;
  std::uint64_t seed;
  struct {
    std::vector<std::int32_t> out, in;
    std::vector<std::pair<std::uint64_t, std::int32_t>> lots;
    std::vector<std::int64_t> counts;
  } scratch = {};  // kept so that a sample allocates nothing
};

// Learns samples of binary spikes (count x inputs), one after the other; a label below zero means that there is none.
void learn(Learning&, const std::uint8_t* spikes, const std::int64_t* labels, std::int64_t count);

}  // namespace spica

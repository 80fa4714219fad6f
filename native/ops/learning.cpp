// Learns samples by the rules of spica/learning/rules.py, bit for bit.
#include "learning.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace spica {
namespace {

// The finaliser of SplitMix64.
std::uint64_t mix(std::uint64_t seed, std::uint64_t neuron, std::uint64_t time, std::uint64_t input) {
  std::uint64_t z = seed * 0x9E3779B97F4A7C15u + neuron * 0xBF58476D1CE4E5B9u + time * 0x94D049BB133111EBu;
  z += input * 0xD6E8FEB86659FD93u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

constexpr std::int64_t floor_divide(std::int64_t a, std::int64_t b) { return a / b - (a % b < 0); }

class Sample {
 public:
  Sample(Learning& layer, const std::uint8_t* spikes) : layer_(layer), spikes_(spikes) {}

  void learn(std::int64_t label) {
    if (!std::memchr(spikes_, 1, layer_.inputs)) return;  // a sample without spikes teaches nothing
    const std::int64_t winner = find_winner(label);
    if (layer_.memory) remember(winner);
    else swap(winner);
    layer_.threshold[winner] = potential(winner) * layer_.competition / layer_.unit;
    std::int64_t& plasticity = layer_.plasticity[winner];
    plasticity = std::max(plasticity - plasticity * layer_.decay / layer_.unit, layer_.min_plasticity);
    ++layer_.learned[winner];
  }

 private:
  using Inputs = std::vector<std::int32_t>;

  // Collects the inputs whose byte of bits(a, b) is not zero; both arrays hold bytes 0 or 1, taken eight at a time.
  template <class Bits>
  void keep(Inputs& inputs, const void* a, const void* b, Bits bits) {
    inputs.resize(layer_.inputs + 1);
    std::int32_t* to = inputs.data();
    const auto take = [&](std::int64_t at, std::size_t size) {
      std::uint64_t x = 0, y = 0;
      std::memcpy(&x, static_cast<const char*>(a) + at, size);
      std::memcpy(&y, static_cast<const char*>(b) + at, size);
      for (std::uint64_t left = bits(x, y); left; left &= left - 1)
        *to++ = static_cast<std::int32_t>(at + __builtin_ctzll(left) / 8);
    };
    std::int64_t at = 0;
    for (; at + 8 <= layer_.inputs; at += 8) take(at, 8);
    take(at, layer_.inputs - at);
    inputs.resize(to - inputs.data());
  }

  std::int8_t* weights(std::int64_t neuron) { return layer_.kernel + neuron * layer_.inputs; }

  std::int64_t potential(std::int64_t neuron) {
    const std::int8_t* connected = weights(neuron);
    std::int32_t sum = 0;
    for (std::int64_t i = 0; i < layer_.inputs; ++i) sum += connected[i] & spikes_[i];
    return sum;
  }

  std::int64_t find_winner(std::int64_t label) {
    const std::int64_t first = label < 0 ? 0 : label * layer_.each;
    const std::int64_t last = label < 0 ? layer_.neurons : first + layer_.each;
    std::int64_t winner = first;
    std::pair<std::int64_t, std::int64_t> best;
    for (std::int64_t n = first; n < last; ++n) {
      const std::pair value{potential(n) - layer_.threshold[n], -layer_.learned[n]};
      if (n == first || value > best) winner = n, best = value;
    }
    return winner;
  }

  // Keeps `count` of the inputs, drawn by lot.
  void draw(Inputs& inputs, std::int64_t winner, std::int64_t count) {
    if (0 < count && count < static_cast<std::int64_t>(inputs.size())) {
      auto& lots = layer_.scratch.lots;
      lots.clear();
      for (const std::int32_t i : inputs) lots.emplace_back(mix(layer_.seed, winner, layer_.learned[winner], i), i);
      std::nth_element(lots.begin(), lots.begin() + count, lots.end());
      for (std::int64_t k = 0; k < count; ++k) inputs[k] = lots[k].second;
    }
    inputs.resize(count);
  }

  void swap(std::int64_t winner) {
    Inputs &idle = layer_.scratch.out, &wanted = layer_.scratch.in;
    std::int8_t* connected = weights(winner);
    keep(idle, connected, spikes_, [](std::uint64_t c, std::uint64_t s) { return c & ~s; });
    keep(wanted, spikes_, connected, [](std::uint64_t s, std::uint64_t c) { return s & ~c; });
    const std::int64_t most = static_cast<std::int64_t>(std::min(idle.size(), wanted.size()));
    const std::int64_t count = (most * layer_.plasticity[winner] + layer_.unit - 1) / layer_.unit;
    draw(idle, winner, count);
    draw(wanted, winner, count);
    for (const std::int32_t i : idle) connected[i] = 0;
    for (const std::int32_t i : wanted) connected[i] = 1;
  }

  // Memories are counted by value, so that the least that gets a connection is found without sorting them.
  void remember(std::int64_t winner) {
    const std::int64_t gain = layer_.plasticity[winner], step = layer_.unit / 16, limit = layer_.limit;
    const std::int64_t changes[] = {floor_divide(-(gain / 4), step), gain / step};
    std::int16_t* memory = layer_.memory + winner * layer_.inputs;
    std::int8_t* connected = weights(winner);
    auto& counts = layer_.scratch.counts;
    counts.assign(2 * limit + 1, 0);
    for (std::int64_t i = 0; i < layer_.inputs; ++i) {
      const std::int64_t value = std::clamp(memory[i] + changes[spikes_[i] != 0], -limit, limit);
      memory[i] = static_cast<std::int16_t>(value);
      ++counts[value + limit];
    }
    std::int64_t least = limit, left = layer_.weights;
    for (; left > counts[least + limit]; --least) left -= counts[least + limit];

    Inputs &stay = layer_.scratch.out, &join = layer_.scratch.in;  // of those with the least, connected or not
    stay.clear();
    join.clear();
    for (std::int64_t i = 0; i < layer_.inputs; ++i) {
      if (memory[i] == least) (connected[i] ? stay : join).push_back(static_cast<std::int32_t>(i));
      connected[i] = memory[i] > least;
    }
    const auto stayed = std::min(left, static_cast<std::int64_t>(stay.size()));
    draw(stay, winner, stayed);
    draw(join, winner, left - stayed);
    for (const std::int32_t i : stay) connected[i] = 1;
    for (const std::int32_t i : join) connected[i] = 1;
  }

  Learning& layer_;
  const std::uint8_t* spikes_;
};

}  // namespace

void learn(Learning& layer, const std::uint8_t* spikes, const std::int64_t* labels, std::int64_t count) {
  for (std::int64_t n = 0; n < count; ++n) Sample(layer, spikes + n * layer.inputs).learn(labels[n]);
}

}  // namespace spica

// Plain C++, for any processor.
#include "convolve_kernel.hpp"
#include "elementwise_kernel.hpp"

namespace spica {
namespace {

struct V {
  static constexpr int width = 4, vector_bytes = 16;
  static constexpr int tile_registers = 8, tile_vectors = 2, event_vectors = 4;
  struct Reg {
    std::uint32_t v[width];  // unsigned, because sums wrap
  };
  struct Bytes {
    std::int16_t v[4];
  };
  using Weights = const std::int8_t*;
  static Reg zero() { return {}; }
  static Reg load(const std::int32_t* p) {
    Reg r;
    std::memcpy(r.v, p, sizeof r.v);
    return r;
  }
  static void store(std::int32_t* p, const Reg& r) { std::memcpy(p, r.v, sizeof r.v); }
  static Reg add(Reg a, const Reg& b) {
    for (int i = 0; i < width; ++i) a.v[i] += b.v[i];
    return a;
  }
  static Reg shift_byte(Reg a) {
    for (int i = 0; i < width; ++i) a.v[i] <<= 8;
    return a;
  }
  static Bytes broadcast(const std::uint8_t* p) { return {p[0], p[1], p[2], p[3]}; }
  static Weights weights(const std::int8_t* p) { return p; }
  static Reg dot(Reg sum, const Bytes& x, Weights w) {
    for (int i = 0; i < width; ++i)
      for (int lane = 0; lane < 4; ++lane) sum.v[i] += static_cast<std::uint32_t>(x.v[lane] * w[lane * width + i]);
    return sum;
  }
};

void pack(std::int8_t* vector, int f, int lane, std::int8_t weight) { vector[lane * V::width + f] = weight; }

double peak(std::int64_t rounds) {
  std::uint8_t x[4] = {1, 2, 3, 4};
  std::int8_t w[V::vector_bytes] = {1};
  constexpr int chains = 8;
  V::Reg sum[chains] = {};
  for (std::int64_t i = 0; i < rounds; ++i) {
    for (int k = 0; k < chains; ++k) sum[k] = V::dot(sum[k], V::broadcast(x), w);
    x[i % 4] = static_cast<std::uint8_t>(sum[i % chains].v[0]);
  }
  volatile std::uint32_t kept = sum[0].v[0];
  static_cast<void>(kept);
  return static_cast<double>(rounds) * chains * 4 * V::width;
}

}  // namespace

const Isa isa_portable{"portable",     V::width,           V::vector_bytes, pack,       dense<V>,    events<V>,
                       depthwise_taps, depthwise_tap_slot, lean, add_bytes, sum_bytes, sum_words, list_groups, count_bytes, peak};

}  // namespace spica

// Vectors of any width in plain C++, for tiles.hpp.
#pragma once

#include <cstring>

#include "tiles.hpp"

namespace spica {
namespace {

template <int Width>
struct PlainVector {
  static constexpr int width = Width, vector_bytes = Width * 4;
  static constexpr int tile_registers = 8, tile_vectors = 2, event_vectors = 4;
  struct Reg {
    std::uint32_t v[width];  // unsigned, because accumulators wrap
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
  static Bytes broadcast(const std::uint8_t* p) { return {{p[0], p[1], p[2], p[3]}}; }
  static Weights weights(const std::int8_t* p) { return p; }
  static Reg dot(Reg sum, const Bytes& x, Weights w) {
    for (int i = 0; i < width; ++i)
      for (int lane = 0; lane < 4; ++lane) sum.v[i] += static_cast<std::uint32_t>(x.v[lane] * w[i * 4 + lane]);
    return sum;
  }
};

}  // namespace
}  // namespace spica

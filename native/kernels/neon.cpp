// NEON with dot products of unsigned by signed bytes (i8mm). Tested under emulation only: see CONTRIBUTING.md.
#if defined(__ARM_FEATURE_MATMUL_INT8)
#include <arm_neon.h>

#include "table.hpp"

namespace spica {
namespace {

struct V {
  using Reg = int32x4_t;
  using Bytes = uint8x16_t;
  using Weights = int8x16_t;
  static constexpr int width = 4, vector_bytes = 16;
  static constexpr int tile_registers = 16, tile_vectors = 4, event_vectors = 8;
  static Reg zero() { return vdupq_n_s32(0); }
  static Reg load(const std::int32_t* p) { return vld1q_s32(p); }
  static void store(std::int32_t* p, Reg v) { vst1q_s32(p, v); }
  static Reg add(Reg a, Reg b) { return vaddq_s32(a, b); }
  static Reg shift_byte(Reg v) { return vshlq_n_s32(v, 8); }
  static Bytes broadcast(const std::uint8_t* p) {
    std::uint32_t v;
    std::memcpy(&v, p, sizeof v);
    return vreinterpretq_u8_u32(vdupq_n_u32(v));
  }
  static Weights weights(const std::int8_t* p) { return vld1q_s8(p); }
  static Reg dot(Reg sum, Bytes x, Weights w) { return vusdotq_s32(sum, x, w); }
};

double peak(std::int64_t rounds) {
  constexpr int chains = 16;
  int32x4_t sum[chains] = {};
  const int8x16_t x = vdupq_n_s8(1);
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int k = 0; k < chains; ++k) asm volatile("usdot %0.4s, %1.16b, %1.16b" : "+w"(sum[k]) : "w"(x));
  }
  return static_cast<double>(rounds) * chains * 16;
}

}  // namespace

constinit const Isa isa_neon = make_isa<V>("neon", peak);

}  // namespace spica
#endif

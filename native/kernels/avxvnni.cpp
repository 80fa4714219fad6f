// AVX-VNNI, of desktop processors without AVX-512: four products of bytes a 32-bit lane in one instruction.
#if defined(__AVXVNNI__)
#include "avx2_loops.hpp"

namespace spica {
namespace {

struct V {
  using Reg = __m256i;
  using Bytes = __m256i;
  using Weights = __m256i;
  static constexpr int width = 8, vector_bytes = 32;
  static constexpr int tile_registers = 12, tile_vectors = 2, event_vectors = 8;
  static Reg zero() { return _mm256_setzero_si256(); }
  static Reg load(const std::int32_t* p) { return load256(p); }
  static void store(std::int32_t* p, Reg v) { store256(p, v); }
  static Reg add(Reg a, Reg b) { return _mm256_add_epi32(a, b); }
  static Reg shift_byte(Reg v) { return _mm256_slli_epi32(v, 8); }
  static Bytes broadcast(const std::uint8_t* p) {
    std::int32_t v;
    std::memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
  }
  static Weights weights(const std::int8_t* p) { return load256(p); }
  static Reg dot(Reg sum, Bytes x, Weights w) { return _mm256_dpbusd_avx_epi32(sum, x, w); }
};

double peak(std::int64_t rounds) {
  constexpr int chains = 8;
  __m256i sum[chains] = {};
  const __m256i x = _mm256_set1_epi8(1);
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 8
    for (int k = 0; k < chains; ++k) asm volatile("%{vex%} vpdpbusd %1, %1, %0" : "+x"(sum[k]) : "x"(x));
  }
  return static_cast<double>(rounds) * chains * 32;
}

}  // namespace

constinit const Isa isa_avxvnni = make_isa_256<V>("avxvnni", peak);

}  // namespace spica
#endif

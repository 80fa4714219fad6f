// AVX2: bytes are widened to 16 bits, whose products of pairs are exact.
#if defined(__AVX2__)
#include "avx2_loops.hpp"

namespace spica {
namespace {

struct V {
  using Reg = __m256i;
  struct Pair {
    __m256i even, odd;  // 16-bit values of lanes 0 and 2, and 1 and 3, of every group
  };
  using Bytes = Pair;
  using Weights = Pair;
  static constexpr int width = 8, vector_bytes = 64;
  static constexpr int tile_registers = 8, tile_vectors = 4, event_vectors = 8;
  static Reg zero() { return _mm256_setzero_si256(); }
  static Reg load(const std::int32_t* p) { return load256(p); }
  static void store(std::int32_t* p, Reg v) { store256(p, v); }
  static Reg add(Reg a, Reg b) { return _mm256_add_epi32(a, b); }
  static Reg shift_byte(Reg v) { return _mm256_slli_epi32(v, 8); }
  static Bytes broadcast(const std::uint8_t* p) {
    std::int32_t v;
    std::memcpy(&v, p, sizeof v);
    const Reg x = _mm256_set1_epi32(v);
    return {_mm256_and_si256(x, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(x, 8)};
  }
  static Weights weights(const std::int8_t* p) { return {load256(p), load256(p + 32)}; }
  static Reg dot(const Reg& sum, const Bytes& x, const Weights& w) {
    return _mm256_add_epi32(_mm256_add_epi32(sum, _mm256_madd_epi16(x.even, w.even)), _mm256_madd_epi16(x.odd, w.odd));
  }
};

// Weights are widened when they are packed: lanes 0 and 2 of every filter, then lanes 1 and 3.
void pack_words(std::int8_t* vector, int f, int lane, std::int8_t weight) {
  const std::int16_t wide = weight;
  std::memcpy(vector + lane % 2 * 32 + f * 4 + lane / 2 * 2, &wide, sizeof wide);
}

double peak(std::int64_t rounds) {
  constexpr int chains = 8;
  __m256i sum[chains] = {};
  const __m256i x = _mm256_set1_epi16(1);
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 8
    for (int k = 0; k < chains; ++k) {
      __m256i product;
      asm volatile("vpmaddwd %2, %2, %1\n\tvpaddd %1, %0, %0" : "+v"(sum[k]), "=&v"(product) : "v"(x));
    }
  }
  return static_cast<double>(rounds) * chains * 16;
}

}  // namespace

constinit const Isa isa_avx2 = [] {
  Isa made = make_isa_256<V>("avx2", peak);
  made.pack_weight = pack_words;
  return made;
}();

}  // namespace spica
#endif

// AVX-512 with VNNI: four products of bytes a 32-bit lane in one instruction.
#if defined(__AVX512VNNI__)
#include <immintrin.h>

#include "convolve_kernel.hpp"
#include "elementwise_kernel.hpp"

namespace spica {
namespace {

struct V {
  using Reg = __m512i;
  using Bytes = __m512i;
  using Weights = __m512i;
  static constexpr int width = 16, vector_bytes = 64;
  static constexpr int tile_registers = 24, tile_vectors = 4, event_vectors = 8;
  static Reg zero() { return _mm512_setzero_si512(); }
  static Reg load(const std::int32_t* p) { return _mm512_loadu_si512(p); }
  static void store(std::int32_t* p, Reg v) { _mm512_storeu_si512(p, v); }
  static Reg add(Reg a, Reg b) { return _mm512_add_epi32(a, b); }
  static Reg shift_byte(Reg v) { return _mm512_slli_epi32(v, 8); }
  static Bytes broadcast(const std::uint8_t* p) {
    std::int32_t v;
    std::memcpy(&v, p, sizeof v);
    return _mm512_set1_epi32(v);
  }
  static Weights weights(const std::int8_t* p) { return _mm512_loadu_si512(p); }
  static Reg dot(Reg sum, Bytes x, Weights w) { return _mm512_dpbusd_epi32(sum, x, w); }
};

void pack(std::int8_t* vector, int f, int lane, std::int8_t weight) { vector[f * 4 + lane] = weight; }

// Four taps at a time: their bytes are interleaved, so that one instruction multiplies them. Interleaving works within
// 16 bytes, so vector k holds channels 16 L + 4 k to 16 L + 4 k + 3 for L of 0 to 3; weights are packed in this order.
void depthwise64(const std::uint8_t* pixel, const std::int32_t* taps, int tap_count, const std::int8_t* weights,
                 std::int32_t* sums) {
  __m512i sum[4] = {};
  for (int t = 0; t < tap_count; t += tap_round, weights += tap_round * channel_round) {
    const __m512i a = _mm512_loadu_si512(pixel + taps[t]), b = _mm512_loadu_si512(pixel + taps[t + 1]);
    const __m512i c = _mm512_loadu_si512(pixel + taps[t + 2]), d = _mm512_loadu_si512(pixel + taps[t + 3]);
    const __m512i ab0 = _mm512_unpacklo_epi8(a, b), ab1 = _mm512_unpackhi_epi8(a, b);
    const __m512i cd0 = _mm512_unpacklo_epi8(c, d), cd1 = _mm512_unpackhi_epi8(c, d);
    sum[0] = _mm512_dpbusd_epi32(sum[0], _mm512_unpacklo_epi16(ab0, cd0), _mm512_loadu_si512(weights));
    sum[1] = _mm512_dpbusd_epi32(sum[1], _mm512_unpackhi_epi16(ab0, cd0), _mm512_loadu_si512(weights + 64));
    sum[2] = _mm512_dpbusd_epi32(sum[2], _mm512_unpacklo_epi16(ab1, cd1), _mm512_loadu_si512(weights + 128));
    sum[3] = _mm512_dpbusd_epi32(sum[3], _mm512_unpackhi_epi16(ab1, cd1), _mm512_loadu_si512(weights + 192));
  }
  const __m512i low01 = _mm512_shuffle_i32x4(sum[0], sum[1], 0x44), high01 = _mm512_shuffle_i32x4(sum[0], sum[1], 0xee);
  const __m512i low23 = _mm512_shuffle_i32x4(sum[2], sum[3], 0x44), high23 = _mm512_shuffle_i32x4(sum[2], sum[3], 0xee);
  auto put = [&](int at, __m512i v) {
    _mm512_storeu_si512(sums + at, _mm512_add_epi32(_mm512_loadu_si512(sums + at), v));
  };
  put(0, _mm512_shuffle_i32x4(low01, low23, 0x88));
  put(16, _mm512_shuffle_i32x4(low01, low23, 0xdd));
  put(32, _mm512_shuffle_i32x4(high01, high23, 0x88));
  put(48, _mm512_shuffle_i32x4(high01, high23, 0xdd));
}

// The same for 16 channels, with the four taps in the four quarters of a vector. Chunk k of four channels lies where
// depthwise64 expects it, so the quarters of the weights are gathered.
void depthwise16(const std::uint8_t* pixel, const std::int32_t* taps, int tap_count, const std::int8_t* weights,
                 int part, std::int32_t* sums) {
  __m512i sum = _mm512_loadu_si512(sums);
  const __m512i transpose = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  const __m512i quarters = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  auto load = [](const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); };
  for (int t = 0; t < tap_count; t += tap_round, weights += tap_round * channel_round) {
    __m512i x = _mm512_castsi128_si512(load(pixel + taps[t]));
    x = _mm512_inserti32x4(x, load(pixel + taps[t + 1]), 1);
    x = _mm512_inserti32x4(x, load(pixel + taps[t + 2]), 2);
    x = _mm512_inserti32x4(x, load(pixel + taps[t + 3]), 3);
    x = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(quarters, x), transpose);
    __m512i w = _mm512_castsi128_si512(load(weights + part * 16));
    w = _mm512_inserti32x4(w, load(weights + 64 + part * 16), 1);
    w = _mm512_inserti32x4(w, load(weights + 128 + part * 16), 2);
    w = _mm512_inserti32x4(w, load(weights + 192 + part * 16), 3);
    sum = _mm512_dpbusd_epi32(sum, x, w);
  }
  _mm512_storeu_si512(sums, sum);
}

void depthwise(const std::uint8_t* pixel, const std::int32_t* taps, int tap_count, const std::int8_t* weights,
               int channels, std::int32_t* sums) {
  if (channels > 32) return depthwise64(pixel, taps, tap_count, weights, sums);
  for (int c = 0; c < channels; c += 16) depthwise16(pixel + c, taps, tap_count, weights, c / 16, sums + c);
}

int depthwise_slot(int tap, int channel) {
  const int lane = channel / 16, k = channel / 4 % 4;
  return tap / 4 * (4 * channel_round) + ((k * 4 + lane) * 4 + channel % 4) * 4 + tap % 4;
}

double peak(std::int64_t rounds) {
  constexpr int chains = 16;
  __m512i sum[chains] = {};
  const __m512i x = _mm512_set1_epi8(1);
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int k = 0; k < chains; ++k) asm volatile("vpdpbusd %1, %1, %0" : "+v"(sum[k]) : "v"(x));
  }
  return static_cast<double>(rounds) * chains * 64;
}

}  // namespace

const Isa isa_avx512{"avx512",  V::width,       V::vector_bytes, pack,       dense<V>,    events<V>,
                     depthwise, depthwise_slot, lean_bytes,      lean_words, list_groups, count_bytes, peak};

}  // namespace spica
#endif

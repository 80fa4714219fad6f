// AVX-512 with VNNI: four products of bytes a 32-bit lane in one instruction.
#if defined(__AVX512VNNI__)
#include <immintrin.h>

#include "table.hpp"

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

// Four taps at a time: their bytes are interleaved, so that one instruction multiplies them. Interleaving works within
// 16 bytes, so vector k holds channels 16 L + 4 k to 16 L + 4 k + 3 for L of 0 to 3; weights are packed in this order.
// With few quads of taps the weights stay in registers; Quads = 0 stands for any number.
template <int Quads>
void depthwise64(const TapRows& rows, const std::int8_t* weights, const std::int32_t* start,
                 const AccumulatorRows& to) {
  const int quads = Quads ? Quads : rows.tap_count / tap_round;
  for (int pixel = 0; pixel < to.pixels; ++pixel) {
    const std::uint8_t* x = rows.x + pixel * rows.step;
    __m512i sum[4] = {};
#pragma GCC unroll 4
    for (int q = 0; q < quads; ++q) {
      const std::int32_t* taps = rows.taps + q * tap_round;
      const __m512i a = _mm512_loadu_si512(x + taps[0]), b = _mm512_loadu_si512(x + taps[1]);
      const __m512i c = _mm512_loadu_si512(x + taps[2]), d = _mm512_loadu_si512(x + taps[3]);
      const __m512i ab0 = _mm512_unpacklo_epi8(a, b), ab1 = _mm512_unpackhi_epi8(a, b);
      const __m512i cd0 = _mm512_unpacklo_epi8(c, d), cd1 = _mm512_unpackhi_epi8(c, d);
      const std::int8_t* w = weights + q * (tap_round * channel_round);
      sum[0] = _mm512_dpbusd_epi32(sum[0], _mm512_unpacklo_epi16(ab0, cd0), _mm512_loadu_si512(w));
      sum[1] = _mm512_dpbusd_epi32(sum[1], _mm512_unpackhi_epi16(ab0, cd0), _mm512_loadu_si512(w + 64));
      sum[2] = _mm512_dpbusd_epi32(sum[2], _mm512_unpacklo_epi16(ab1, cd1), _mm512_loadu_si512(w + 128));
      sum[3] = _mm512_dpbusd_epi32(sum[3], _mm512_unpackhi_epi16(ab1, cd1), _mm512_loadu_si512(w + 192));
    }
    const __m512i low01 = _mm512_shuffle_i32x4(sum[0], sum[1], 0x44);
    const __m512i high01 = _mm512_shuffle_i32x4(sum[0], sum[1], 0xee);
    const __m512i low23 = _mm512_shuffle_i32x4(sum[2], sum[3], 0x44);
    const __m512i high23 = _mm512_shuffle_i32x4(sum[2], sum[3], 0xee);
    std::int32_t* y = to.data + pixel * to.stride;
    const std::int32_t* before = start ? start : y;
    auto put = [&](int at, __m512i v) {
      _mm512_storeu_si512(y + at, _mm512_add_epi32(_mm512_loadu_si512(before + at), v));
    };
    put(0, _mm512_shuffle_i32x4(low01, low23, 0x88));
    put(16, _mm512_shuffle_i32x4(low01, low23, 0xdd));
    put(32, _mm512_shuffle_i32x4(high01, high23, 0x88));
    put(48, _mm512_shuffle_i32x4(high01, high23, 0xdd));
  }
}

__m512i quarters(const void* a, const void* b, const void* c, const void* d) {
  auto load = [](const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); };
  __m512i v = _mm512_inserti32x4(_mm512_castsi128_si512(load(a)), load(b), 1);
  return _mm512_inserti32x4(_mm512_inserti32x4(v, load(c), 2), load(d), 3);
}

// The same for 16 channels, number `part` of the 64, with the four taps in the four quarters of a vector. Chunk k of
// four channels lies where depthwise64 expects it, so the quarters of the weights are gathered.
void depthwise16(const TapRows& rows, const std::int8_t* weights, int part, const std::int32_t* start,
                 const AccumulatorRows& to) {
  const __m512i transpose = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (int t = 0; t < rows.tap_count; t += tap_round) {
    const std::int8_t* w = weights + t * channel_round + part * 16;
    const __m512i packed = quarters(w, w + 64, w + 128, w + 192);
    const std::uint8_t* x = rows.x + part * 16;
    std::int32_t* y = to.data + part * 16;
    const std::int32_t* taps = rows.taps + t;
    for (int pixel = 0; pixel < to.pixels; ++pixel, x += rows.step, y += to.stride) {
      const __m512i bytes = quarters(x + taps[0], x + taps[1], x + taps[2], x + taps[3]);
      const __m512i quads = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(order, bytes), transpose);
      const std::int32_t* before = start && t == 0 ? start + part * 16 : y;
      _mm512_storeu_si512(y, _mm512_dpbusd_epi32(_mm512_loadu_si512(before), quads, packed));
    }
  }
}

void depthwise(const TapRows& rows, const std::int8_t* weights, int channels, const std::int32_t* start,
               const AccumulatorRows& to) {
  if (channels > 32) {
    switch (rows.tap_count / tap_round) {
      case 1: return depthwise64<1>(rows, weights, start, to);
      case 2: return depthwise64<2>(rows, weights, start, to);
      case 3: return depthwise64<3>(rows, weights, start, to);
      default: return depthwise64<0>(rows, weights, start, to);
    }
  }
  for (int part = 0; part * 16 < channels; ++part) depthwise16(rows, weights, part, start, to);
}

// Accumulators are padded to whole vectors, so only the stores mind the number of channels.
template <bool Plain>
void epilogue_rows(const Epilogue32& epilogue, const AccumulatorRows& acc, int first, int count, const OutputRows& to) {
  const __m512i floor = _mm512_set1_epi32(epilogue.floor), ceiling = _mm512_set1_epi32(epilogue.ceiling);
  const __m512i zero = _mm512_set1_epi32(to.zero);
  for (int c = 0; c < count; c += 16) {
    const __mmask16 mask = c + 16 <= count ? 0xffff : static_cast<__mmask16>((1 << (count - c)) - 1);
    auto load = [&](const Aligned<std::int32_t>& values) { return _mm512_loadu_si512(values.data() + first + c); };
    const __m512i bias = load(epilogue.bias), low = load(epilogue.low), high = load(epilogue.high);
    const __m512i multiplier = load(epilogue.multiplier), half = load(epilogue.half), shift = load(epilogue.shift);
    const std::int32_t* from = acc.data + c;
    std::uint8_t* pixel = to.y;
    for (int i = 0; i < acc.pixels; ++i, from += acc.stride, pixel += to.pixel) {
      __m512i v = _mm512_loadu_si512(from);
      if constexpr (!Plain) {
        v = _mm512_min_epi32(_mm512_max_epi32(_mm512_add_epi32(v, bias), low), high);
        v = _mm512_srav_epi32(_mm512_add_epi32(_mm512_mullo_epi32(v, multiplier), half), shift);
        v = _mm512_min_epi32(_mm512_max_epi32(v, floor), ceiling);
      }
      if (to.planes == 0) {
        _mm512_mask_storeu_epi32(pixel + (first + c) * 4, mask, v);
        continue;
      }
      v = _mm512_sub_epi32(v, zero);
      std::uint8_t* y = pixel + first + c;
      for (int plane = 0; plane < to.planes; ++plane, y += to.plane, v = _mm512_srli_epi32(v, 8)) {
        const __m128i bytes = _mm512_cvtepi32_epi8(v);
        if (mask == 0xffff) _mm_storeu_si128(reinterpret_cast<__m128i*>(y), bytes);
        else _mm_mask_storeu_epi8(y, mask, bytes);
      }
    }
  }
}

void epilogue_vectors(const Epilogue32& epilogue, const AccumulatorRows& acc, int first, int count,
                      const OutputRows& to) {
  if (epilogue.plain) epilogue_rows<true>(epilogue, acc, first, count, to);
  else epilogue_rows<false>(epilogue, acc, first, count, to);
}

std::int64_t count(const std::uint8_t* bytes, std::ptrdiff_t size, std::uint8_t zero) {
  const __m512i zeros = _mm512_set1_epi8(static_cast<char>(zero));
  std::int64_t total = 0;
  for (; size >= 64; size -= 64, bytes += 64)
    total += __builtin_popcountll(_mm512_cmpneq_epi8_mask(_mm512_loadu_si512(bytes), zeros));
  const __mmask64 rest = (std::uint64_t{1} << size) - 1;
  return total + __builtin_popcountll(_mm512_mask_cmpneq_epi8_mask(rest, _mm512_maskz_loadu_epi8(rest, bytes), zeros));
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

constinit const Isa isa_avx512 = [] {
  Isa made = make_isa<V>("avx512", peak);
  made.depthwise = depthwise;
  made.depthwise_slot = depthwise_slot;
  made.epilogue = epilogue_vectors;
  made.count = count;
  return made;
}();

}  // namespace spica
#endif

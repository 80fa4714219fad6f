// Loops of 256-bit vectors, for AVX2 and AVX-VNNI. Accumulators, factors and weights are padded to whole vectors,
// and tensors may be read beyond their end, so only the stores mind the number of channels.
#pragma once

#include <immintrin.h>

#include "table.hpp"

namespace spica {
namespace {

inline __m256i load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store256(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

// An epilogue's constants for eight channels.
struct EpilogueVector {
  __m256i bias, low, high, multiplier, half, shift;
  EpilogueVector(const Epilogue32& e, int c)
      : bias(load256(&e.bias[c])),
        low(load256(&e.low[c])),
        high(load256(&e.high[c])),
        multiplier(load256(&e.multiplier[c])),
        half(load256(&e.half[c])),
        shift(load256(&e.shift[c])) {}
  __m256i operator()(__m256i v, __m256i floor, __m256i ceiling) const {
    v = _mm256_min_epi32(_mm256_max_epi32(_mm256_add_epi32(v, bias), low), high);
    v = _mm256_srav_epi32(_mm256_add_epi32(_mm256_mullo_epi32(v, multiplier), half), shift);
    return _mm256_min_epi32(_mm256_max_epi32(v, floor), ceiling);
  }
};

// The lowest bytes of sixteen words.
inline __m128i low_bytes(__m256i a, __m256i b) {
  const __m256i mask = _mm256_set1_epi32(0xff);
  const __m256i words =
      _mm256_permute4x64_epi64(_mm256_packus_epi32(_mm256_and_si256(a, mask), _mm256_and_si256(b, mask)), 0xd8);
  return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

template <bool Plain>
void epilogue_rows(const Epilogue32& epilogue, const AccumulatorRows& acc, int first, int count, const OutputRows& to) {
  const __m256i floor = _mm256_set1_epi32(epilogue.floor), ceiling = _mm256_set1_epi32(epilogue.ceiling);
  const __m256i zero = _mm256_set1_epi32(to.zero);
  for (int c = 0; c < count; c += 16) {
    const int width = std::min(16, count - c);
    const EpilogueVector left(epilogue, first + c), right(epilogue, first + c + 8);
    const std::int32_t* from = acc.data + c;
    std::uint8_t* pixel = to.y;
    for (int i = 0; i < acc.pixels; ++i, from += acc.stride, pixel += to.pixel) {
      __m256i a = load256(from), b = load256(from + 8);
      if constexpr (!Plain) {
        a = left(a, floor, ceiling);
        b = right(b, floor, ceiling);
      }
      if (to.planes == 0) {
        alignas(32) std::int32_t words[16];
        store256(words, a);
        store256(words + 8, b);
        std::memcpy(pixel + (first + c) * 4, words, width * sizeof *words);
        continue;
      }
      a = _mm256_sub_epi32(a, zero);
      b = _mm256_sub_epi32(b, zero);
      std::uint8_t* y = pixel + first + c;
      for (int plane = 0; plane < to.planes; ++plane, y += to.plane) {
        const __m128i bytes = low_bytes(a, b);
        if (width == 16) {
          _mm_storeu_si128(reinterpret_cast<__m128i*>(y), bytes);
        } else {
          alignas(16) std::uint8_t line[16];
          _mm_store_si128(reinterpret_cast<__m128i*>(line), bytes);
          std::memcpy(y, line, width);
        }
        a = _mm256_srli_epi32(a, 8);
        b = _mm256_srli_epi32(b, 8);
      }
    }
  }
}

inline void epilogue_vectors(const Epilogue32& epilogue, const AccumulatorRows& acc, int first, int count,
                             const OutputRows& to) {
  if (epilogue.plain) epilogue_rows<true>(epilogue, acc, first, count, to);
  else epilogue_rows<false>(epilogue, acc, first, count, to);
}

// Two taps at a time, of eight channels: their bytes are interleaved and widened, so that one instruction multiplies
// and adds both. With few pairs of taps the weights stay in registers; Pairs = 0 stands for any number.
template <int Pairs>
void depthwise8(const TapRows& rows, const std::int8_t* weights, int first, const std::int32_t* start,
                const AccumulatorRows& to) {
  const int pairs = Pairs ? Pairs : rows.tap_count / 2;
  auto weights_of = [&](int pair) {
    return _mm256_cvtepi8_epi16(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(weights + pair * 2 * channel_round + first * 2)));
  };
  auto bytes = [](const std::uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); };
  __m256i w[Pairs ? Pairs : 1];
  for (int pair = 0; pair < Pairs; ++pair) w[pair] = weights_of(pair);
  const std::uint8_t* x = rows.x + first;
  std::int32_t* y = to.data + first;
  for (int pixel = 0; pixel < to.pixels; ++pixel, x += rows.step, y += to.stride) {
    __m256i sum = load256(start ? start + first : y);
#pragma GCC unroll 8
    for (int pair = 0; pair < pairs; ++pair) {
      const __m128i both = _mm_unpacklo_epi8(bytes(x + rows.taps[2 * pair]), bytes(x + rows.taps[2 * pair + 1]));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_cvtepu8_epi16(both), Pairs ? w[pair] : weights_of(pair)));
    }
    store256(y, sum);
  }
}

inline void depthwise_pairs(const TapRows& rows, const std::int8_t* weights, int channels, const std::int32_t* start,
                            const AccumulatorRows& to) {
  for (int first = 0; first < channels; first += 8) {
    switch (rows.tap_count / tap_round) {
      case 1: depthwise8<2>(rows, weights, first, start, to); break;
      case 2: depthwise8<4>(rows, weights, first, start, to); break;
      case 3: depthwise8<6>(rows, weights, first, start, to); break;
      default: depthwise8<0>(rows, weights, first, start, to);
    }
  }
}

inline int depthwise_pair_slot(int tap, int channel) { return tap / 2 * (2 * channel_round) + channel * 2 + tap % 2; }

inline std::int64_t count_vectors(const std::uint8_t* bytes, std::ptrdiff_t size, std::uint8_t zero) {
  const __m256i zeros = _mm256_set1_epi8(static_cast<char>(zero));
  std::int64_t same = 0;
  const std::ptrdiff_t whole = size / 32 * 32;
  for (std::ptrdiff_t i = 0; i < whole; i += 32) {
    const __m256i equal = _mm256_cmpeq_epi8(load256(bytes + i), zeros);
    same += __builtin_popcount(static_cast<unsigned>(_mm256_movemask_epi8(equal)));
  }
  return whole - same + count_bytes(bytes + whole, size - whole, zero);
}

// Returns the table of an instruction set of 256-bit vectors.
template <class V>
constexpr Isa make_isa_256(const char* name, double (*peak)(std::int64_t)) {
  Isa made = make_isa<V>(name, peak);
  made.depthwise = depthwise_pairs;
  made.depthwise_slot = depthwise_pair_slot;
  made.epilogue = epilogue_vectors;
  made.count = count_vectors;
  return made;
}

}  // namespace
}  // namespace spica

// The inner loops that differ between instruction sets, and the numbers that they work on.
//
// Activations are unsigned bytes. A tensor of wider or signed integers is split into byte planes, lowest first, of
// `value - zero`; its planes are multiplied one after the other, highest first, and the sums shifted by a byte between
// them (Horner's rule). All sums wrap modulo 2^32, so only the last one has to fit. Weights beyond 8 bits are split the
// same way into signed bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace spica {

inline constexpr int block_vectors = 8;   // vectors of filters that are packed together
inline constexpr int channel_round = 64;  // sums of a pixel are padded to a multiple of this many channels
inline constexpr int value_round = 16;    // values of a head, and tokens that it attends to, are padded to a multiple of this
inline constexpr int largest_head = 1024, most_tokens = 1 << 15;
inline constexpr int tap_round = 4;       // depthwise taps are padded to a multiple of this
inline constexpr int slack = 64;          // bytes that a kernel may read beyond the end of a tensor

// Memory that begins where a cache line does: a vector that crosses lines costs two loads.
template <class T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t line{64};
  LineAllocator() = default;
  template <class U>
  LineAllocator(const LineAllocator<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), line)); }
  void deallocate(T* p, std::size_t) { ::operator delete(p, line); }
  friend bool operator==(const LineAllocator&, const LineAllocator&) { return true; }
};
template <class T>
using Aligned = std::vector<T, LineAllocator<T>>;

// One product of planes: the sums are shifted left before it.
struct Term {
  int shift;
  std::ptrdiff_t x, weights;  // offset of the input plane, and of the weights' plane within a block
};

// A convolution's packed weights: blocks of vectors of filters; in each, planes, rows of the window, groups of four
// bytes of a row, vectors, filters, four weights.
struct Filters {
  int rows = 0, groups = 0;  // the bytes of a row of the window are contiguous in memory
  int vectors = 0;
  int vector_bytes = 0;      // packed bytes of one group of one vector
  int planes = 1;
  Aligned<std::int8_t> data;

  std::ptrdiff_t plane_bytes(int block_size) const {
    return std::ptrdiff_t{rows} * groups * block_size * vector_bytes;
  }
};

// Output pixels of a convolution: where the window of each begins in plane 0, and where their sums go.
struct Windows {
  const std::uint8_t* const* pixels;
  int count;
  std::ptrdiff_t row;  // bytes between rows of the input
  const Term* terms;
  int term_count;
  const std::int32_t* start;  // what every filter's sum starts from
  std::int32_t* sums;  // count x stride
  std::ptrdiff_t stride;
};

// The groups of four bytes that are not zero, listed row by row of the input: each row's groups in order, and, for each
// of its pixels and their end, where its own begin in the list.
struct EventRow {
  const std::uint16_t* groups;  // numbers within the row
  const std::uint16_t* starts;  // of the window's first pixel
  int first;                    // number of the window's first group
};
struct Events {
  const EventRow* pixels;                  // first row of the window, for each output pixel
  std::ptrdiff_t group_row, start_row;     // entries between rows
  int groups, columns;                     // groups of a pixel, and pixels in a row of the window
};

// What turns sums into a tensor's integers with 32-bit arithmetic alone:
// clamp(((clamp(sum + bias, low, high) * multiplier) + half) >> shift, floor, ceiling)
struct Lean {
  Aligned<std::int32_t> bias, low, high, multiplier, half, shift;  // padded to channel_round
  std::int32_t floor, ceiling;
  bool plain;  // whether it leaves every sum as it is
};

// Sums of some pixels, one after the other.
struct SumRows {
  std::int32_t* data;
  std::ptrdiff_t stride;
  int pixels;
};

// Where their integers go: byte planes of value - zero, `plane` bytes apart, or words where there are no planes.
struct Target {
  std::uint8_t* y;
  std::ptrdiff_t pixel;  // bytes between pixels
  int planes;
  std::ptrdiff_t plane;
  std::int32_t zero;
};

// Pixels whose windows lie `step` bytes apart, and the taps of a depthwise convolution: offsets from the first of them.
struct TapRows {
  const std::uint8_t* x;
  std::ptrdiff_t step;
  const std::int32_t* taps;
  int tap_count;
};

// Pixels of one of the tensors that are added.
struct Addend {
  const std::uint8_t* x;
  std::ptrdiff_t pixel;  // bytes between pixels
  std::int32_t zero;
  const std::int32_t* factors;
};

// One head of attention: keys channel by channel, values token by token, small integers in floats, which hold them and
// their sums exactly. A score is (query . key) * multiplier >> shift.
struct Head {
  const float *keys, *values;
  int tokens, channels;
  std::ptrdiff_t key_row, value_row;  // padded to value_round
  std::int32_t multiplier;
  int shift;
};

struct Isa {
  const char* name;
  int width;         // filters in a vector
  int vector_bytes;  // packed bytes of one group of one vector
  int group_round;   // groups of a row are padded to a multiple of this
  // Where weight `lane` (0 to 3) of filter `f` goes in the packed bytes of a vector.
  void (*pack)(std::int8_t* vector, int f, int lane, std::int8_t weight);
  // Sums of vectors [first, last) of filters, which must lie in one block.
  void (*dense)(const Filters&, const Windows&, int first, int last);
  void (*events)(const Filters&, const Windows&, const Events&, int first, int last);
  // Depthwise sums of up to 64 channels, on top of `start`, or, without one, of what the sums are already. Weights come
  // in blocks of 64 channels, each with its taps; depthwise_slot says where one goes in its block.
  void (*depthwise)(const TapRows&, const std::int8_t* weights, int channels, const std::int32_t* start, const SumRows&);
  int (*depthwise_slot)(int tap, int channel);
  // Channels [first, first + count), of which the sums begin with the first.
  void (*lean)(const Lean&, const SumRows&, int first, int count, const Target&);
  // Sums of two byte tensors' pixels: (a - zero of a) * factor of its channel, and so b.
  void (*add)(const Addend& a, const Addend& b, int channels, const SumRows&);
  // Adds `pixels` pixels of bytes or words, `step` bytes apart, to the sums of up to 64 channels.
  void (*sum_bytes)(const std::uint8_t* x, int pixels, std::ptrdiff_t step, int channels, std::int32_t zero, std::int64_t* sums);
  void (*sum_words)(const std::uint8_t* x, int pixels, std::ptrdiff_t step, int channels, std::int64_t* sums);
  // Lists a row of pixels as Events has it.
  void (*list)(const std::uint8_t* row, int pixels, int groups, std::uint16_t* listed, std::uint16_t* starts);
  std::int64_t (*count)(const std::uint8_t* bytes, std::ptrdiff_t size, std::uint8_t zero);
  // What one query gives; powers and weights are room for a number a token.
  void (*attend)(const Head&, const float* query, std::int32_t* powers, float* weights, std::int32_t* mixed);
  // Channels [first, first + count) of a token, normalised, to `to`.
  void (*normalise)(const std::int32_t* values, int channels, int first, int count, std::int32_t* to);
  double (*peak)(std::int64_t rounds);  // multiply-adds of 8-bit values done, for measuring
};

extern const Isa isa_avx512, isa_avxvnni, isa_avx2, isa_neon, isa_portable, isa_amx_emulated;
const Isa* isa_amx();  // none where the kernel does not allow it

// The best that this processor has; SPICA_ISA (avx512, avxvnni, avx2, portable) asks for a lesser one, or for amx-emulated.
const Isa& isa();

}  // namespace spica

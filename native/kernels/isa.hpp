// The micro-kernels that an instruction set provides, and the data that they work on.
//
// Activations are unsigned bytes. A tensor of wider or signed integers is split into byte planes, lowest first, of
// `value - zero`. Its planes are multiplied one after the other, highest first, and the accumulators are shifted by a
// byte between them (Horner's rule). Accumulators wrap modulo 2^32, so only the final value has to fit. Weights wider
// than 8 bits are split in the same way into signed bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "aligned.hpp"

namespace spica {

inline constexpr int block_vectors = 8;   // vectors of filters that are packed together
inline constexpr int channel_round = 64;  // accumulators of a pixel are padded to a multiple of this many channels
inline constexpr int value_round = 16;    // an attention head's channels and tokens are padded to a multiple of this
inline constexpr int largest_head = 1024, most_tokens = 1 << 15;
inline constexpr int tap_round = 4;  // depthwise taps are padded to a multiple of this
inline constexpr int slack = 64;     // bytes that a micro-kernel may read beyond the end of a tensor

constexpr int round_up(int value, int to) { return (value + to - 1) / to * to; }

// One product of planes. The accumulators are shifted left by `shift` bytes before it is added.
struct Term {
  int shift;
  std::ptrdiff_t x, weights;  // offset of the input plane, and of the weights' plane within a block
};

// A convolution's weights as pack_conv() lays them out: blocks of vectors of filters; in each block planes, rows of the
// window, groups of four bytes of a row, vectors, filters, four weights.
struct PackedFilters {
  int rows = 0, groups = 0;  // the bytes of one row of the window are contiguous in memory
  int vectors = 0;
  int vector_bytes = 0;  // packed bytes of one group of one vector
  int planes = 1;
  Aligned<std::int8_t> data;

  std::ptrdiff_t plane_bytes(int block_size) const { return std::ptrdiff_t{rows} * groups * block_size * vector_bytes; }
};

// Output pixels of a convolution: where the window of each begins in plane 0, and where their accumulators are.
struct Windows {
  const std::uint8_t* const* pixels;
  int count;
  std::ptrdiff_t row;  // bytes between rows of the input
  const Term* terms;
  int term_count;
  const std::int32_t* start;  // initial value of every filter's accumulator
  std::int32_t* acc;          // count x stride
  std::ptrdiff_t stride;
};

// The groups of four bytes that are not zero, listed row by row of the input: each row's groups in order, and, for each
// of its pixels and for their end, where its groups begin in the list.
struct EventRow {
  const std::uint16_t* groups;  // numbers within the row
  const std::uint16_t* starts;  // of the window's first pixel
  int first;                    // number of the window's first group
};
struct Events {
  const EventRow* pixels;               // first row of the window, for each output pixel
  std::ptrdiff_t group_row, start_row;  // entries between rows
  int groups, columns;                  // groups of a pixel, and pixels in a row of the window
};

// An epilogue in 32-bit arithmetic, from accumulators to a tensor's integers:
// clamp(((clamp(acc + bias, low, high) * multiplier) + half) >> shift, floor, ceiling)
struct Epilogue32 {
  Aligned<std::int32_t> bias, low, high, multiplier, half, shift;  // padded to channel_round
  std::int32_t floor, ceiling;
  bool plain;  // true if every accumulator is left as it is
};

// Accumulators of some pixels, one after the other.
struct AccumulatorRows {
  std::int32_t* data;
  std::ptrdiff_t stride;
  int pixels;
};

// Where an epilogue writes: byte planes of value - zero, `plane` bytes apart, or words where there are no planes.
struct OutputRows {
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

// Pixels of one of two tensors that are added.
struct Addend {
  const std::uint8_t* x;
  std::ptrdiff_t pixel;  // bytes between pixels
  std::int32_t zero;
  const std::int32_t* factors;
};

// One head of attention: keys channel by channel, values token by token, small integers in floats, which hold them and
// their sums exactly. A score is (query . key) * multiplier >> shift.
struct AttentionHead {
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
  // Puts weight `lane` (0 to 3) of filter `f` in its place among the packed bytes of a vector.
  void (*pack_weight)(std::int8_t* vector, int f, int lane, std::int8_t weight);
  // Accumulate vectors [first, last) of filters, which must lie in one block: all bytes, or the listed events only.
  void (*conv_dense)(const PackedFilters&, const Windows&, int first, int last);
  void (*conv_events)(const PackedFilters&, const Windows&, const Events&, int first, int last);
  // Accumulates up to 64 channels of a depthwise convolution on top of `start`, or, where that is null, on top of the
  // accumulators' values. Weights come in blocks of 64 channels; depthwise_slot gives a weight's place in its block.
  void (*depthwise)(const TapRows&, const std::int8_t* weights, int channels, const std::int32_t* start,
                    const AccumulatorRows&);
  int (*depthwise_slot)(int tap, int channel);
  // Writes channels [first, first + count); the accumulators begin with channel `first`.
  void (*epilogue)(const Epilogue32&, const AccumulatorRows&, int first, int count, const OutputRows&);
  // Adds pixels of two byte tensors: (a - zero of a) * factor of its channel, and b likewise.
  void (*add)(const Addend& a, const Addend& b, int channels, const AccumulatorRows&);
  // Add `pixels` pixels of bytes or words, `step` bytes apart, to the sums of up to 64 channels.
  void (*sum_bytes)(const std::uint8_t* x, int pixels, std::ptrdiff_t step, int channels, std::int32_t zero,
                    std::int64_t* sums);
  void (*sum_words)(const std::uint8_t* x, int pixels, std::ptrdiff_t step, int channels, std::int64_t* sums);
  // Lists the non-zero groups of a row of pixels in the form that Events describes.
  void (*list_events)(const std::uint8_t* row, int pixels, int groups, std::uint16_t* listed, std::uint16_t* starts);
  // Counts the bytes that differ from `zero`.
  std::int64_t (*count)(const std::uint8_t* bytes, std::ptrdiff_t size, std::uint8_t zero);
  // Computes one query's output; `powers` and `weights` are scratch space of one number a token.
  void (*attention)(const AttentionHead&, const float* query, std::int32_t* powers, float* weights,
                    std::int32_t* mixed);
  // Normalises channels [first, first + count) of a token.
  void (*norm)(const std::int32_t* values, int channels, int first, int count, std::int32_t* to);
  // Multiplies and adds 8-bit values in registers alone; returns how many, for measuring the peak rate.
  double (*peak)(std::int64_t rounds);
};

extern const Isa isa_avx512, isa_avxvnni, isa_avx2, isa_neon, isa_portable, isa_amx_emulated;
const Isa* isa_amx();  // null where the operating system does not allow AMX

// Returns the best instruction set of this processor. The environment variable SPICA_ISA (avx512, avxvnni, avx2,
// portable) asks for a lesser one, or for amx-emulated.
const Isa& isa();

}  // namespace spica

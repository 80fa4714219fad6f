// Tensors in a program's arena, and arrays of samples outside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/isa.hpp"

namespace spica {

// Integers of one sample, h x w x c, within a border that windows may reach into. Values are kept as byte planes of
// `value - zero`, or, with no planes, as 32-bit words.
struct Tensor {
  int h = 0, w = 0, c = 0;
  int top = 0, bottom = 0, left = 0, right = 0;
  int planes = 1;
  std::int32_t zero = 0;
  std::vector<std::int32_t> fill;  // of the border, one a channel
  int counter = -1;                // where its non-zero values are counted

  std::ptrdiff_t at = 0;      // in the arena, for a group of one sample
  int first = -1, last = -1;  // operations between which it lives
  int shares = -1;            // tensor whose memory it uses, in another shape

  int item() const { return planes ? 1 : 4; }
  std::ptrdiff_t pixel() const { return std::ptrdiff_t{c} * item(); }
  std::ptrdiff_t row() const { return (w + left + right) * pixel(); }
  std::ptrdiff_t plane() const { return (h + top + bottom) * row(); }
  std::ptrdiff_t bytes() const { return plane() * (planes ? planes : 1); }
  bool bordered() const { return top + bottom + left + right > 0; }
};

inline bool same_shape(const Tensor& x, const Tensor& y) { return x.h == y.h && x.w == y.w && x.c == y.c; }

// The zero of three signed planes: values of 16 bits all have `near_top` in the highest plane.
inline constexpr std::uint8_t near_top = 0x80;
inline constexpr std::int32_t near_zero = -(near_top << 16) - (1 << 15);

// One group of samples in an arena.
struct Frame {
  std::uint8_t* arena;
  int capacity, samples;  // samples that the arena can hold, and samples in it
  std::uint8_t* at(const Tensor& t, int sample) const { return arena + t.at * capacity + sample * t.bytes(); }
  // Returns the first pixel within the border.
  std::uint8_t* origin(const Tensor& t, int sample) const {
    return at(t, sample) + t.top * t.row() + t.left * t.pixel();
  }
};

// An array of samples outside the arena.
struct Array {
  void* data;
  int bytes;  // of an item
  bool is_signed, is_float;
};

// Two factors a channel that turn an output's integers into real numbers; empty where the integers leave as they are.
struct Real {
  std::vector<float> power, scale;
};

// Copy samples from `first_sample` on between an array and the arena.
void load_samples(const Frame&, const Tensor&, const Array&, int first_sample, int part, int parts);
void store_samples(const Frame&, const Tensor&, const Real&, const Array&, int first_sample, int part, int parts);

// Read and write the value of channel c at a pixel.
std::int32_t decode(const Tensor&, const std::uint8_t* pixel, std::int64_t c);
void encode(const Tensor&, std::uint8_t* pixel, std::int64_t c, std::int32_t value);

// Reads channels [first, first + count) of a pixel to places `step` apart.
template <class T>
void decode_to(T* to, std::ptrdiff_t step, const Tensor& t, const std::uint8_t* pixel, int first, int count) {
  if (t.planes == 1)
    for (int c = 0; c < count; ++c) to[c * step] = static_cast<T>(pixel[first + c] + t.zero);
  else
    for (int c = 0; c < count; ++c) to[c * step] = static_cast<T>(decode(t, pixel, first + c));
}

// Writes the border of this part's rows.
void fill_border(const Frame&, const Tensor&, int part, int parts);

// Counts non-zero values of `pixels` pixels, which follow each other in one row, in channels [first, first + channels).
std::int64_t count_events(const Tensor&, const std::uint8_t* pixel, int pixels, int first, int channels);

}  // namespace spica

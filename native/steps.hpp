// The steps of a program, and the tensors in the arena that they read and write.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "isa.hpp"
#include "stage.hpp"

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

  std::ptrdiff_t at = 0;  // in the arena, for a group of one sample
  int first = -1, last = -1;  // steps between which it lives
  int shares = -1;        // tensor whose memory it is, in another shape

  int item() const { return planes ? 1 : 4; }
  std::ptrdiff_t pixel() const { return std::ptrdiff_t{c} * item(); }
  std::ptrdiff_t row() const { return (w + left + right) * pixel(); }
  std::ptrdiff_t plane() const { return (h + top + bottom) * row(); }
  std::ptrdiff_t bytes() const { return plane() * (planes ? planes : 1); }
  bool bordered() const { return top + bottom + left + right > 0; }
};

// The zero of three signed planes: values of 16 bits all have `near_top` in the highest.
inline constexpr std::uint8_t near_top = 0x80;
inline constexpr std::int32_t near_zero = -(near_top << 16) - (1 << 15);

// One group of samples on its way.
struct Frame {
  std::uint8_t* arena;
  int capacity, samples;  // samples that the arena has room for, and samples in it
  std::uint8_t* at(const Tensor& t, int sample) const { return arena + t.at * capacity + sample * t.bytes(); }
  // Its first pixel, within the border.
  std::uint8_t* origin(const Tensor& t, int sample) const { return at(t, sample) + t.top * t.row() + t.left * t.pixel(); }
};

// What a thread has for itself.
struct Worker {
  Aligned<std::int32_t> sums;
  std::vector<std::int64_t> wide;  // sums that do not fit 32 bits
  Aligned<float> reals;            // of attention
  Aligned<std::int32_t> integers;  // of a token
  std::vector<const std::uint8_t*> pixels;
  std::vector<EventRow> lists;
  std::vector<std::int64_t> nanoseconds;  // spent in each step
  bool counting = false;
  std::vector<std::int64_t> counts;  // non-zero values, by counter
};

class Step {
 public:
  virtual ~Step() = default;
  // Whether this group of samples needs prepare() to have run in all parts; any thread that asks gets the same answer.
  virtual bool prepares(const Frame&) const { return false; }
  virtual void prepare(const Frame&, int /*part*/, int /*parts*/) const {}
  virtual void run(const Frame&, Worker&, bool prepared, int part, int parts) const = 0;
};

struct Window {
  int kh, kw, stride_h, stride_w, top, left;
};

// An array of samples outside the arena.
struct Array {
  void* data;
  int bytes;  // of an item
  bool is_signed, is_float;
};

// How integers leave as real numbers: times two factors, one of each a channel; none where they leave as they are.
struct Real {
  std::vector<float> power, scale;
};

// Steps from sums of products (or of tensors) through a stage into tensor y. Sums stay within [least, most].
struct Finish {
  const Tensor& y;
  Stage stage;
  std::int64_t least, most;
};

// How often a convolution took each path, in groups of samples.
struct Paths {
  std::atomic<std::int64_t> dense{0}, events{0};
};

using StepPointer = std::unique_ptr<Step>;
// kernel: kh, kw, c, filters. list: a tensor for the events' lists, unused where it has no channels.
StepPointer make_convolution(const Tensor& x, const std::int16_t* kernel, Window, const Tensor& list, Paths&, Finish);
// kernel: kh, kw, c.
StepPointer make_depthwise(const Tensor& x, const std::int16_t* kernel, Window, Finish);
// a * 2^shift_a + b * 2^shift_b; one shift a channel.
StepPointer make_add(const Tensor& a, const Tensor& b, const std::vector<int>& shift_a, const std::vector<int>& shift_b, Finish);
// x itself, or table[x - first].
StepPointer make_map(const Tensor& x, std::vector<std::int32_t> table, std::int32_t first, Finish);
// Values mixed by a softmax of queries and keys; every token less its mean over its deviation: see attend and normalise in
// spica/semantics/primitives.py. Products of queries and keys, and sums of values, must be below 2^24.
StepPointer make_attend(const Tensor& q, const Tensor& k, const Tensor& v, int heads, std::int32_t multiplier, int shift, Finish);
StepPointer make_normalise(const Tensor& x, Finish);
// Real and imaginary part of a state, a pixel each.
struct Parts {
  const Tensor &real, &imaginary;
};
// state = factor * state + x at every step. Every product and sum saturates to `bits`.
struct Recurrence {
  std::vector<std::int64_t> real, imaginary;  // factors, one a channel
  Stage arrive, leave;                        // of x, and of the new state
  int bits;
};
// x: steps x channels, in one row. y: the state after every step, steps x channels x 2.
StepPointer make_recurrence(const Tensor& x, Parts before, const Tensor& y, Parts after, Recurrence);
// Sum over all pixels.
StepPointer make_sum_of_pixels(const Tensor& x, Finish);
StepPointer make_max_pool(const Tensor& x, const Tensor& y, Window);
// Where every value of x's goes in y.
struct Places {
  std::array<int, 3> shape;               // rows, columns, channels to copy
  std::array<std::int64_t, 3> from;       // values of x between them
  std::int64_t from_offset;
  std::array<int, 3> to_start, to_step;   // row, column, channel of y
  bool clear;                             // whether the rest of y becomes zero
  bool last;                              // whether this is the last copy that fills y
};
StepPointer make_copy(const Tensor& x, const Tensor& y, Places);

void load_samples(const Frame&, const Tensor&, const Array&, int first_sample, int part, int parts);
void store_samples(const Frame&, const Tensor&, const Real&, const Array&, int first_sample, int part, int parts);
// Value of channel c at a pixel, and its opposite.
std::int32_t decode(const Tensor&, const std::uint8_t* pixel, std::int64_t c);
void encode(const Tensor&, std::uint8_t* pixel, std::int64_t c, std::int32_t value);
// Writes the border of this part's rows.
void fill_border(const Frame&, const Tensor&, int part, int parts);
// Non-zero values of `pixels` pixels, which follow each other in one row, among channels [first, first + channels).
std::int64_t count_events(const Tensor&, const std::uint8_t* pixel, int pixels, int first, int channels);

}  // namespace spica

// Makes the operations of programs. Each throws std::invalid_argument where its tensors and parameters do not fit each
// other, so that no run can leave its arrays.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "../kernels/pack.hpp"
#include "op.hpp"

namespace spica {

// How many groups of samples took each path of a convolution.
struct PathCounts {
  std::atomic<std::int64_t> dense{0}, events{0};
};

// Convolution. Kernel: kh, kw, c, filters. list: a tensor for the lists of events, unused where it has no channels.
OpPointer make_conv(const Tensor& x, WeightsView kernel, Window, const Tensor& list, PathCounts&, Output);

// Depthwise convolution. Kernel: kh, kw, c.
OpPointer make_depthwise(const Tensor& x, WeightsView kernel, Window, Output);

// a * 2^shift_a + b * 2^shift_b, with one shift a channel.
OpPointer make_add(const Tensor& a, const Tensor& b, const std::vector<int>& shift_a, const std::vector<int>& shift_b,
                   Output);

// a * b; rows, columns or channels of b are one where all of them are.
OpPointer make_multiply(const Tensor& a, const Tensor& b, Output);

// Look-up: table[x - first], or x itself where the table is empty.
OpPointer make_lut(const Tensor& x, std::vector<std::int32_t> table, std::int32_t first, Output);

// Sum over all pixels.
OpPointer make_sum_pixels(const Tensor& x, Output);

OpPointer make_max_pool(const Tensor& x, const Tensor& y, Window);

// Where a copy puts the values of x in y.
struct Places {
  std::array<int, 3> shape;          // rows, columns, channels to copy
  std::array<std::int64_t, 3> from;  // values of x between them
  std::int64_t from_offset;
  std::array<int, 3> to_start, to_step;  // row, column, channel of y
  bool clear;                            // set the rest of y to zero
  bool last;                             // no later copy fills y
};
OpPointer make_copy(const Tensor& x, const Tensor& y, Places);

// y.flat[i] = x.flat[positions[i]], or zero where that is -1.
OpPointer make_gather(const Tensor& x, const Tensor& y, std::vector<std::int32_t> positions);

// Attention: values mixed by a softmax of queries and keys, as `attend` of spica/semantics/primitives.py. Products of
// queries and keys, and sums of values, must be below 2^24.
OpPointer make_attention(const Tensor& q, const Tensor& k, const Tensor& v, int heads, std::int32_t multiplier,
                         int shift, Output);

// Normalisation of every token by its mean absolute deviation, as `normalise` of spica/semantics/primitives.py.
OpPointer make_norm(const Tensor& x, Output);

// Real and imaginary part of a state, a pixel each.
struct Complex {
  const Tensor &real, &imaginary;
};
// state = factor * state + x at every step. Every product and sum saturates to `bits`.
struct ScanParameters {
  std::vector<std::int64_t> real, imaginary;  // factors, one a channel
  Epilogue arrive, leave;                     // of x, and of the new state
  int bits;
};
// Diagonal recurrence. x: steps x channels, in one row. y: the state after every step, steps x channels x 2.
OpPointer make_scan(const Tensor& x, Complex before, const Tensor& y, Complex after, ScanParameters);

}  // namespace spica

// An operation of a program: the interface, and what its threads work with.
#pragma once

#include <atomic>
#include <memory>
#include <stdexcept>
#include <vector>

#include "../epilogue.hpp"
#include "../tensor.hpp"

namespace spica {

// Throws std::invalid_argument, with this message, unless the condition holds.
inline void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

// Scratch space and counts of one thread.
struct Worker {
  Aligned<std::int32_t> acc;
  std::vector<std::int64_t> wide_acc;  // accumulators that do not fit 32 bits
  Aligned<float> reals;                // of attention
  Aligned<std::int32_t> integers;      // of a token
  std::vector<const std::uint8_t*> pixels;
  std::vector<EventRow> lists;
  std::vector<std::int64_t> nanoseconds;  // spent in each operation
  bool counting = false;
  std::vector<std::int64_t> counts;  // non-zero values, by counter
};

class Op {
 public:
  virtual ~Op() = default;
  // Returns whether prepare() must have run in all parts for this group; the answer is the same for every thread.
  virtual bool prepares(const Frame&) const { return false; }
  virtual void prepare(const Frame&, int /*part*/, int /*parts*/) const {}
  // Runs this thread's part of the work.
  virtual void run(const Frame&, Worker&, bool prepared, int part, int parts) const = 0;
};
using OpPointer = std::unique_ptr<Op>;

// Where an operation's accumulators, which stay within [least, most], go: through an epilogue into tensor y.
struct Output {
  const Tensor& y;
  Epilogue epilogue;
  std::int64_t least, most;
};

struct Window {
  int kh, kw, stride_h, stride_w, top, left;
};

}  // namespace spica

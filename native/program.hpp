// A program: operations over tensors in one arena. It is built once; running it allocates nothing.
//
// Samples go through all operations in small groups, so that what one operation writes is still in the cache when the
// next one reads it. With fewer samples than threads, the threads share every operation instead.
#pragma once

#include <deque>
#include <mutex>
#include <string>
#include <utility>

#include "ops/ops.hpp"
#include "thread_pool.hpp"

namespace spica {

class Program {
 public:
  int add_tensor(const Tensor&);
  const Tensor& tensor(int number) const { return tensors_.at(number); }
  PathCounts& new_path_counts() { return path_counts_.emplace_back(); }
  // Adds an operation that uses these tensors.
  void add_op(OpPointer, const std::vector<int>& tensors);
  // Names the operations that are added from here on, for seconds().
  void name(const std::string& layer) { name_ = layer; }
  // Returns the name of each operation and the seconds that all threads together have spent in it.
  std::vector<std::pair<std::string, double>> seconds() const;
  // Places all tensors in the arena; no operation may be added afterwards. Every run loads the tensors of `inputs` and
  // stores those of `outputs`.
  void finalize(const std::vector<int>& inputs, const std::vector<int>& outputs, std::vector<Real> reals);
  // Takes samples through all operations; returns the non-zero values of every counter, or zeros unless `count`.
  std::vector<std::int64_t> run(const std::vector<Array>& inputs, const std::vector<Array>& outputs, int samples,
                                int wanted_threads, bool count);

  const std::vector<int>& inputs() const { return inputs_; }
  const std::vector<int>& outputs() const { return outputs_; }
  bool is_real(int output) const { return !reals_[output].power.empty(); }
  // Returns the bytes of the arena that one sample needs.
  std::ptrdiff_t sample_bytes() const { return sample_bytes_; }
  const std::deque<PathCounts>& path_counts() const { return path_counts_; }

 private:
  void place_tensors();
  void run_group(const Frame&, Worker&, const std::vector<Array>&, const std::vector<Array>&, int first_sample,
                 int part, int parts, Barrier*) const;

  std::deque<Tensor> tensors_;  // operations refer to them, so they must not move
  std::deque<PathCounts> path_counts_;
  std::vector<OpPointer> ops_;
  std::vector<int> inputs_, outputs_;
  std::vector<Real> reals_;  // of the outputs
  std::vector<std::string> names_;
  std::string name_;
  int counters_ = 0;
  std::ptrdiff_t sample_bytes_ = 0;

  mutable std::mutex mutex_;  // one run at a time
  std::vector<Aligned<std::uint8_t>> arenas_;
  std::vector<Worker> workers_;
};

}  // namespace spica

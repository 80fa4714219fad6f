// A plan of steps over one arena. It is built once; running it allocates nothing.
//
// Samples go through all steps in small groups, so that what one step writes is still near when the next one reads it.
// Where there are fewer samples than threads, the threads share every step instead.
#pragma once

#include <deque>
#include <mutex>
#include <string>
#include <utility>

#include "steps.hpp"
#include "team.hpp"

namespace spica {

class Program {
 public:
  int add_tensor(const Tensor&);
  const Tensor& tensor(int number) const { return tensors_.at(number); }
  Paths& new_paths() { return paths_.emplace_back(); }
  // Adds a step that uses these tensors.
  void add_step(StepPointer, const std::vector<int>& tensors);
  // Names the steps that are added from here on; seconds() tells them apart by it.
  void name(const std::string& layer) { name_ = layer; }
  // Seconds that all threads together have spent in each step, and its name.
  std::vector<std::pair<std::string, double>> seconds() const;
  // Places all tensors; no step may be added afterwards. Tensors of `inputs` are given, those of `outputs` kept.
  void finalize(const std::vector<int>& inputs, const std::vector<int>& outputs, std::vector<Real> reals);
  // Takes samples through all steps; returns the non-zero values of every counter, if they are to be counted.
  std::vector<std::int64_t> run(const std::vector<Array>& inputs, const std::vector<Array>& outputs, int samples, int threads,
                                bool count);

  const std::vector<int>& inputs() const { return inputs_; }
  const std::vector<int>& outputs() const { return outputs_; }
  bool is_real(int output) const { return !reals_[output].power.empty(); }
  // Bytes of the arena that one sample needs.
  std::ptrdiff_t sample_bytes() const { return sample_bytes_; }
  const std::deque<Paths>& paths() const { return paths_; }

 private:
  void run_group(const Frame&, Worker&, const std::vector<Array>&, const std::vector<Array>&, int first_sample, int part,
                 int parts, Barrier*) const;

  std::deque<Tensor> tensors_;  // steps refer to them, so they must not move
  std::deque<Paths> paths_;
  std::vector<StepPointer> steps_;
  std::vector<int> inputs_, outputs_;
  std::vector<Real> reals_;  // of the outputs
  std::vector<std::string> names_;
  std::string name_;
  int counters_ = 0;
  std::ptrdiff_t sample_bytes_ = 0;

  std::mutex mutex_;  // one run at a time
  std::vector<Aligned<std::uint8_t>> arenas_;
  std::vector<Worker> workers_;
};

}  // namespace spica

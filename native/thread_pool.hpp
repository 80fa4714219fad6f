// Threads that wait between runs, so that a run of a small network does not pay for making them.
#pragma once

#include <atomic>
#include <functional>

namespace spica {

// Where the threads of one job wait for each other: none goes on before all have come.
class Barrier {
 public:
  explicit Barrier(int threads) : threads_(threads) {}
  void wait();

 private:
  const int threads_;
  std::atomic<int> arrived_{0}, round_{0};
};

// Calls work(0) to work(threads - 1), each on a thread of its own, and returns when all are done. One job at a time.
void run_on_threads(int threads, const std::function<void(int)>& work);

}  // namespace spica

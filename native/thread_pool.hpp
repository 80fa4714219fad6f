// Threads that wait between runs, so that a run of a small network does not pay for making them.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>

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

// Held by whoever computes; fork() waits until nobody does.
class Running {
 public:
  Running();
  ~Running();
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
};

// As many threads as were wanted, or as there are; they are one team's at a time.
class Team {
 public:
  explicit Team(int wanted);
  int size() const { return size_; }
  // Calls work(0) to work(size - 1), each on a thread of its own, and returns when all are done.
  void run(const std::function<void(int)>& work);

 private:
  std::unique_lock<std::mutex> one_job_;
  int size_ = 1;
};

}  // namespace spica

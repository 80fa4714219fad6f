#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace spica {

void parallel_for(std::int64_t tasks, int threads, const std::function<void(std::int64_t)>& work) {
  const int helpers = static_cast<int>(std::min<std::int64_t>(threads, tasks)) - 1;
  std::atomic<std::int64_t> next{0};
  auto drain = [&] {
    for (std::int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) work(task);
  };
  std::vector<std::jthread> pool;
  for (int i = 0; i < helpers; ++i) pool.emplace_back(drain);
  drain();
}

}  // namespace spica

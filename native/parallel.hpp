// Splits independent work over threads.
#pragma once

#include <cstdint>
#include <functional>

namespace spica {

// Calls work(task) for every task in [0, tasks), on up to `threads` threads. Tasks must not touch each other's data.
void parallel_for(std::int64_t tasks, int threads, const std::function<void(std::int64_t)>& work);

}  // namespace spica

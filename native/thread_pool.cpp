// A thread pool whose threads spin for a moment before they sleep.
#include "thread_pool.hpp"

#include <condition_variable>
#include <mutex>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace spica {
namespace {

// Rounds that a thread spins before it lets others run: a few microseconds, more than a small layer takes.
constexpr int spins = 2000;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

// Waits for ready(), but not for long; returns whether it came true.
template <class Ready>
bool spin(Ready ready) {
  for (int i = 0; i < spins; ++i) {
    if (ready()) return true;
    pause();
  }
  return false;
}

int process() {
#if defined(__unix__) || defined(__APPLE__)
  return static_cast<int>(getpid());
#else
  return 0;
#endif
}

// Moves the calling thread off the processor of `other`. The scheduler wakes a thread where it ran last, even where the
// one that waits for it runs now, and would leave both there for longer than most jobs last.
void leave([[maybe_unused]] int other) {
#if defined(__linux__)
  if (other < 0 || sched_getcpu() != other) return;
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  cpu_set_t elsewhere = allowed;
  CPU_CLR(other, &elsewhere);
  if (CPU_COUNT(&elsewhere) == 0 || sched_setaffinity(0, sizeof elsewhere, &elsewhere) != 0) return;
  sched_setaffinity(0, sizeof allowed, &allowed);
#endif
}

int processor() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

// Lives as long as its process, and so do its threads.
class ThreadPool {
 public:
  void run(int threads, const std::function<void(int)>& work) {
    for (; workers_ < threads - 1; ++workers_)
      std::thread([this, index = workers_ + 1, seen = job_.load()] { serve(index, seen); }).detach();
    work_ = &work;
    threads_ = threads;
    caller_ = processor();
    left_.store(workers_);
    {
      const std::lock_guard lock(mutex_);
      job_.fetch_add(1);
    }
    wake_.notify_all();
    work(0);
    while (!spin([&] { return left_.load() == 0; })) std::this_thread::yield();
  }

 private:
  void serve(int index, unsigned seen) {
    for (;;) {
      if (!spin([&] { return job_.load() != seen; })) {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return job_.load() != seen; });
      }
      ++seen;
      if (index < threads_) {
        leave(caller_);
        (*work_)(index);
      }
      left_.fetch_sub(1);
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<unsigned> job_{0};
  std::atomic<int> left_{0};
  const std::function<void(int)>* work_ = nullptr;
  int workers_ = 0, threads_ = 0, caller_ = -1;
};

}  // namespace

void Barrier::wait() {
  const int round = round_.load();
  if (arrived_.fetch_add(1) + 1 == threads_) {
    arrived_.store(0);
    round_.fetch_add(1);
    return;
  }
  while (!spin([&] { return round_.load() != round; })) std::this_thread::yield();
}

void run_on_threads(int threads, const std::function<void(int)>& work) {
  if (threads <= 1) return work(0);
  static std::mutex one_job;
  static ThreadPool* pool = nullptr;
  static int owner = -1;
  const std::lock_guard lock(one_job);
  if (owner != process()) {  // threads do not survive a fork, so the child makes its own
    pool = new ThreadPool;
    owner = process();
  }
  pool->run(threads, work);
}

}  // namespace spica

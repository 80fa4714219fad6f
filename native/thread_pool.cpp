// A thread pool whose threads spin for a moment before they sleep.
#include "thread_pool.hpp"

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
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

// Threads that a machine with fewer processors gives all the same, so that tests see several.
constexpr int always_allowed = 16;

// Lives as long as its process, and so do its threads. A worker sleeps on its own, so those that a job does not need
// are left alone.
class ThreadPool {
 public:
  // Makes workers until so many threads can work together, or the system gives no more; returns how many can.
  int reserve(int threads) {
    const int processors = static_cast<int>(std::thread::hardware_concurrency());
    threads = std::min(threads, std::max(processors, always_allowed));
    while (static_cast<int>(workers_.size()) < threads - 1) {
      workers_.push_back(std::make_unique<Worker>());
      try {
        const int index = static_cast<int>(workers_.size());
        std::thread([this, index, worker = workers_.back().get()] { serve(index, *worker); }).detach();
      } catch (const std::system_error&) {
        workers_.pop_back();
        break;
      }
    }
    return std::min(threads, static_cast<int>(workers_.size()) + 1);
  }

  void run(int threads, const std::function<void(int)>& work) {
    work_ = &work;
    caller_ = processor();
    left_.store(threads - 1);
    for (int i = 0; i < threads - 1; ++i) {
      {
        const std::lock_guard lock(workers_[i]->mutex);
        workers_[i]->jobs.fetch_add(1);
      }
      workers_[i]->wake.notify_one();
    }
    work(0);
    while (!spin([&] { return left_.load() == 0; })) std::this_thread::yield();
  }

 private:
  struct Worker {
    std::mutex mutex;
    std::condition_variable wake;
    std::atomic<unsigned> jobs{0};  // so many were given
  };

  void serve(int index, Worker& worker) {
    for (unsigned done = 0;; ++done) {
      const auto more = [&] { return worker.jobs.load() != done; };
      if (!spin(more)) {
        std::unique_lock lock(worker.mutex);
        worker.wake.wait(lock, more);
      }
      leave(caller_);
      (*work_)(index);
      left_.fetch_sub(1);
    }
  }

  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<int> left_{0};
  const std::function<void(int)>* work_ = nullptr;
  int caller_ = -1;
};

// What runs share. A fork waits until none is under way, so that the child finds everything at rest, and gives the
// child a new one, as threads do not survive it.
struct Shared {
  std::mutex one_job;
  ThreadPool pool;
  std::mutex mutex;  // of what follows
  std::condition_variable changed;
  int running = 0;
  bool forking = false;
};

Shared* make_shared();

Shared*& shared() {
  static Shared* one = make_shared();
  return one;
}

Shared* make_shared() {
#if defined(__unix__) || defined(__APPLE__)
  const auto before = [] {
    std::unique_lock lock(shared()->mutex);
    shared()->changed.wait(lock, [] { return !shared()->forking; });
    shared()->forking = true;
    shared()->changed.wait(lock, [] { return shared()->running == 0; });
  };
  const auto parent = [] {
    const std::lock_guard lock(shared()->mutex);
    shared()->forking = false;
    shared()->changed.notify_all();
  };
  const auto child = [] { shared() = new Shared; };
  pthread_atfork(before, parent, child);
#endif
  return new Shared;
}

}  // namespace

Running::Running() {
  Shared& s = *shared();
  std::unique_lock lock(s.mutex);
  s.changed.wait(lock, [&] { return !s.forking; });
  ++s.running;
}

Running::~Running() {
  Shared& s = *shared();
  const std::lock_guard lock(s.mutex);
  if (--s.running == 0 && s.forking) s.changed.notify_all();
}

void Barrier::wait() {
  const int round = round_.load();
  if (arrived_.fetch_add(1) + 1 == threads_) {
    arrived_.store(0);
    round_.fetch_add(1);
    return;
  }
  while (!spin([&] { return round_.load() != round; })) std::this_thread::yield();
}

Team::Team(int wanted) {
  if (wanted <= 1) return;
  one_job_ = std::unique_lock(shared()->one_job);
  size_ = shared()->pool.reserve(wanted);
}

void Team::run(const std::function<void(int)>& work) {
  if (size_ == 1) work(0);
  else shared()->pool.run(size_, work);
}

}  // namespace spica

// Builds programs, places their tensors in the arena and runs them: see program.hpp.
#include "program.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>

namespace spica {
namespace {

// Bytes of one group's tensors: about what the second cache holds beside the weights.
constexpr std::ptrdiff_t group_bytes = 512 * 1024;
constexpr int most_samples = 64;
constexpr std::ptrdiff_t align = 64;

std::ptrdiff_t aligned(std::ptrdiff_t bytes) { return (bytes + align - 1) / align * align; }

bool meet(const Tensor& a, const Tensor& b) { return a.first <= b.last && b.first <= a.last; }

}  // namespace

int Program::add_tensor(const Tensor& tensor) {
  Tensor t = tensor;
  counters_ = std::max(counters_, t.counter + 1);
  if (t.shares >= 0) {
    const Tensor& base = tensors_.at(t.shares);
    require(base.shares < 0 && !base.bordered() && !t.bordered() && base.bytes() == t.bytes(),
            "a tensor shares memory that does not fit it");
  }
  tensors_.push_back(std::move(t));
  return static_cast<int>(tensors_.size()) - 1;
}

void Program::add_op(OpPointer op, const std::vector<int>& tensors) {
  const int number = static_cast<int>(ops_.size());
  for (int name : tensors) {
    Tensor* t = &tensors_.at(name);
    if (t->shares >= 0) t = &tensors_[t->shares];
    if (t->first < 0) t->first = number;
    t->last = number;
  }
  ops_.push_back(std::move(op));
  names_.push_back(name_);
}

void Program::finalize(const std::vector<int>& inputs, const std::vector<int>& outputs, std::vector<Real> reals) {
  require(reals.size() == outputs.size(), "every output needs a pair of factors, which may be empty");
  reals_ = std::move(reals);
  inputs_ = inputs;
  outputs_ = outputs;
  const int end = static_cast<int>(ops_.size());
  auto base = [&](int name) -> Tensor& {
    return tensors_[tensors_.at(name).shares >= 0 ? tensors_[name].shares : name];
  };
  for (int name : inputs) base(name).first = -1, base(name).last = std::max(base(name).last, 0);
  for (int name : outputs) base(name).last = end;
  place_tensors();
}

// Places the largest tensor first, each at the lowest place where no tensor lives at the same time.
void Program::place_tensors() {
  std::vector<Tensor*> order;
  for (Tensor& t : tensors_)
    if (t.shares < 0) order.push_back(&t);
  std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->bytes() > b->bytes(); });
  for (auto t = order.begin(); t != order.end(); ++t) {
    std::vector<const Tensor*> others;
    std::copy_if(order.begin(), t, std::back_inserter(others), [&](const Tensor* o) { return meet(*o, **t); });
    std::sort(others.begin(), others.end(), [](auto* a, auto* b) { return a->at < b->at; });
    std::ptrdiff_t at = 0;
    const std::ptrdiff_t size = aligned((*t)->bytes() + slack);
    for (const Tensor* o : others) {
      if (at + size <= o->at) break;
      at = std::max(at, o->at + aligned(o->bytes() + slack));
    }
    (*t)->at = at;
    sample_bytes_ = std::max(sample_bytes_, at + size);
  }
  for (Tensor& t : tensors_)
    if (t.shares >= 0) t.at = tensors_[t.shares].at;
}

void Program::run_group(const Frame& frame, Worker& worker, const std::vector<Array>& inputs,
                        const std::vector<Array>& outputs, int first_sample, int part, int parts,
                        Barrier* barrier) const {
  const auto meet_others = [&] {
    if (barrier) barrier->wait();
  };
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& t = tensors_[inputs_[i]];
    load_samples(frame, t, inputs[i], first_sample, part, parts);
  }
  meet_others();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& t = tensors_[inputs_[i]];
    if (t.counter < 0 || !worker.counting) continue;
    for (int unit = part; unit < frame.samples * t.h; unit += parts) {
      const std::uint8_t* row = frame.origin(t, unit / t.h) + unit % t.h * t.row();
      worker.counts[t.counter] += count_events(t, row, t.w, 0, t.c);
    }
  }
  using Clock = std::chrono::steady_clock;
  auto begin = Clock::now();
  for (std::size_t i = 0; i < ops_.size(); ++i) {
    const OpPointer& op = ops_[i];
    const bool prepared = op->prepares(frame);
    if (prepared) {
      op->prepare(frame, part, parts);
      meet_others();
    }
    op->run(frame, worker, prepared, part, parts);
    meet_others();
    const auto end = Clock::now();
    worker.nanoseconds[i] += std::chrono::duration_cast<std::chrono::nanoseconds>(end - begin).count();
    begin = end;
  }
  for (std::size_t i = 0; i < outputs.size(); ++i)
    store_samples(frame, tensors_[outputs_[i]], reals_[i], outputs[i], first_sample, part, parts);
}

std::vector<std::pair<std::string, double>> Program::seconds() const {
  const Running running;
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<std::string, double>> spent;
  for (std::size_t i = 0; i < ops_.size(); ++i) {
    double total = 0;
    for (const Worker& worker : workers_) total += worker.nanoseconds.empty() ? 0 : worker.nanoseconds[i] * 1e-9;
    spent.emplace_back(names_[i], total);
  }
  return spent;
}

std::vector<std::int64_t> Program::run(const std::vector<Array>& inputs, const std::vector<Array>& outputs, int samples,
                                       int wanted_threads, bool count) {
  require(inputs.size() == inputs_.size() && outputs.size() == outputs_.size(),
          "a program runs with as many inputs and outputs as it was made for");
  if (samples < 1) return std::vector<std::int64_t>(counters_);
  const Running running;
  const std::lock_guard lock(mutex_);
  Team team(wanted_threads);
  const int threads = team.size();
  const bool together = samples < threads;  // whether the threads share each group
  const int arenas = together ? 1 : threads;
  const int most = static_cast<int>(
      std::clamp<std::ptrdiff_t>(group_bytes / std::max<std::ptrdiff_t>(sample_bytes_, 1), 1, most_samples));
  const int share = (samples + arenas - 1) / arenas, rounds = (share + most - 1) / most;
  const int capacity = (share + rounds - 1) / rounds, groups = (samples + capacity - 1) / capacity;
  const std::size_t room = static_cast<std::size_t>(sample_bytes_) * capacity;
  if (static_cast<int>(arenas_.size()) < arenas) arenas_.resize(arenas);
  for (int i = 0; i < arenas; ++i)
    if (arenas_[i].size() < room) arenas_[i].resize(room);
  if (static_cast<int>(workers_.size()) < threads) workers_.resize(threads);
  for (Worker& worker : workers_) {
    worker.counting = count;
    worker.nanoseconds.resize(ops_.size());
    worker.counts.assign(counters_, 0);
  }

  std::atomic<int> next{0};
  Barrier barrier(threads);
  team.run([&](int thread) {
    auto frame = [&](int arena, int group) {
      return Frame{arenas_[arena].data(), capacity, std::min(capacity, samples - group * capacity)};
    };
    if (together) {
      for (int group = 0; group < groups; ++group) {
        run_group(frame(0, group), workers_[thread], inputs, outputs, group * capacity, thread, threads, &barrier);
        barrier.wait();
      }
    } else {
      for (int group; (group = next.fetch_add(1)) < groups;)
        run_group(frame(thread, group), workers_[thread], inputs, outputs, group * capacity, 0, 1, nullptr);
    }
  });
  std::vector<std::int64_t> counts(counters_);
  for (const Worker& worker : workers_)
    std::transform(counts.begin(), counts.end(), worker.counts.begin(), counts.begin(), std::plus<>());
  return counts;
}

}  // namespace spica

// A diagonal recurrence over complex integers: see Reference.recur in spica/semantics/reference.py.
#include <stdexcept>

#include "steps.hpp"

namespace spica {
namespace {

class Recur final : public Step {
 public:
  Recur(const Tensor& x, Parts before, const Tensor& y, Parts after, Recurrence r)
      : x_(x), y_(y), before_(before), after_(after), r_(std::move(r)) {
    const int channels = x.c;
    const auto holds = [&](const Parts& p) { return p.real.c == channels && p.imaginary.c == channels; };
    if (x.h != 1 || y.h != x.w || y.w != channels || y.c != 2 || !holds(before) || !holds(after))
      throw std::invalid_argument("a recurrence's tensors do not fit each other");
  }

  void run(const Frame& frame, Worker& worker, bool, int part, int parts) const override {
    fill_border(frame, y_, part, parts);
    std::int64_t events = 0;
    for (std::int64_t unit = part; unit < std::int64_t{frame.samples} * x_.c; unit += parts)
      events += channel(frame, static_cast<int>(unit / x_.c), static_cast<int>(unit % x_.c));
    if (worker.counting && y_.counter >= 0) worker.counts[y_.counter] += events;
  }

 private:
  // All steps of a channel; returns its events.
  std::int64_t channel(const Frame& frame, int n, int c) const {
    const auto product = [&](std::int64_t a, std::int64_t b) { return saturate(a * b, r_.bits); };
    const std::int64_t cosine = r_.real[c], sine = r_.imaginary[c];
    std::int64_t events = 0;
    std::int32_t re = decode(before_.real, frame.origin(before_.real, n), c);
    std::int32_t im = decode(before_.imaginary, frame.origin(before_.imaginary, n), c);
    for (int t = 0; t < x_.w; ++t) {
      const std::int64_t arriving = r_.arrive(decode(x_, frame.origin(x_, n) + t * x_.pixel(), c), c);
      const std::int64_t kept = saturate(product(re, cosine) - product(im, sine), r_.bits);
      const std::int64_t crossed = product(re, sine) + product(im, cosine);
      re = static_cast<std::int32_t>(r_.leave(saturate(kept + arriving, r_.bits), c));
      im = static_cast<std::int32_t>(r_.leave(saturate(crossed, r_.bits), c));
      std::uint8_t* y = frame.origin(y_, n) + t * y_.row() + c * y_.pixel();
      encode(y_, y, 0, re);
      encode(y_, y, 1, im);
      events += (re != 0) + (im != 0);
    }
    encode(after_.real, frame.origin(after_.real, n), c, re);
    encode(after_.imaginary, frame.origin(after_.imaginary, n), c, im);
    return events;
  }

  const Tensor &x_, &y_;
  const Parts before_, after_;
  const Recurrence r_;
};

}  // namespace

StepPointer make_recurrence(const Tensor& x, Parts before, const Tensor& y, Parts after, Recurrence r) {
  return std::make_unique<Recur>(x, before, y, after, std::move(r));
}

}  // namespace spica

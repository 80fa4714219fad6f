// Diagonal recurrence over complex integers, as `Reference.scan` of spica/semantics/reference.py.
#include "ops.hpp"

namespace spica {
namespace {

class Scan final : public Op {
 public:
  Scan(const Tensor& x, Complex before, const Tensor& y, Complex after, ScanParameters parameters)
      : x_(x), y_(y), before_(before), after_(after), parameters_(std::move(parameters)) {
    const int channels = x.c;
    const auto holds = [&](const Complex& p) { return p.real.c == channels && p.imaginary.c == channels; };
    require(x.h == 1 && y.h == x.w && y.w == channels && y.c == 2 && holds(before) && holds(after),
            "a scan's tensors do not fit each other");
  }

  void run(const Frame& frame, Worker& worker, bool, int part, int parts) const override {
    fill_border(frame, y_, part, parts);
    std::int64_t events = 0;
    for (std::int64_t unit = part; unit < std::int64_t{frame.samples} * x_.c; unit += parts)
      events += channel(frame, static_cast<int>(unit / x_.c), static_cast<int>(unit % x_.c));
    if (worker.counting && y_.counter >= 0) worker.counts[y_.counter] += events;
  }

 private:
  // Runs all steps of a channel; returns its events.
  std::int64_t channel(const Frame& frame, int n, int c) const {
    const auto product = [&](std::int64_t a, std::int64_t b) { return saturate(a * b, parameters_.bits); };
    const std::int64_t cosine = parameters_.real[c], sine = parameters_.imaginary[c];
    std::int64_t events = 0;
    std::int32_t re = decode(before_.real, frame.origin(before_.real, n), c);
    std::int32_t im = decode(before_.imaginary, frame.origin(before_.imaginary, n), c);
    for (int t = 0; t < x_.w; ++t) {
      const std::int64_t arriving = parameters_.arrive(decode(x_, frame.origin(x_, n) + t * x_.pixel(), c), c);
      const std::int64_t kept = saturate(product(re, cosine) - product(im, sine), parameters_.bits);
      const std::int64_t crossed = product(re, sine) + product(im, cosine);
      re = static_cast<std::int32_t>(parameters_.leave(saturate(kept + arriving, parameters_.bits), c));
      im = static_cast<std::int32_t>(parameters_.leave(saturate(crossed, parameters_.bits), c));
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
  const Complex before_, after_;
  const ScanParameters parameters_;
};

}  // namespace

OpPointer make_scan(const Tensor& x, Complex before, const Tensor& y, Complex after, ScanParameters parameters) {
  return std::make_unique<Scan>(x, before, y, after, std::move(parameters));
}

}  // namespace spica

// Python bindings of native programs. What does not fit together is refused, so that no run can leave its arrays.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <tuple>

#include "learning.hpp"
#include "program.hpp"

namespace nb = nanobind;

namespace {

using Pair = std::array<int, 2>;
template <class T, int Rank>
using In = nb::ndarray<const T, nb::ndim<Rank>, nb::c_contig, nb::device::cpu>;
using Channels = std::optional<In<std::int64_t, 1>>;

void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

std::vector<std::int64_t> list(const Channels& values, int channels) {
  if (!values) return {};
  require(static_cast<int>(values->shape(0)) == channels, "a channel parameter has the wrong length");
  return {values->data(), values->data() + channels};
}

// The stage as (bias, ceiling, multiplier, shift, value_bits, buffer_bits, relu, low, high), then the sums' range.
using StageFields = std::tuple<Channels, Channels, Channels, Channels, int, int, bool, std::int64_t, std::int64_t>;
using Range = std::pair<std::int64_t, std::int64_t>;
using Sides = std::array<int, 4>;

spica::Stage stage_of(const StageFields& fields, int channels) {
  const auto& [bias, ceiling, multiplier, shift, value_bits, buffer_bits, relu, low, high] = fields;
  require(multiplier.has_value() == shift.has_value(), "multiplier and shift come together");
  require(value_bits > 0 && value_bits < 63 && buffer_bits > 0 && buffer_bits < 63, "buffers hold 1 to 62 bits");
  return {channels, list(bias, channels), list(ceiling, channels), list(multiplier, channels), list(shift, channels),
          value_bits, buffer_bits, relu, low, high};
}

spica::Finish after_sums(const spica::Tensor& y, const StageFields& fields, Range sums) {
  return {y, stage_of(fields, y.c), sums.first, sums.second};
}

int add_tensor(spica::Program& p, std::array<int, 3> shape, Sides border, int planes, std::int32_t zero,
               const std::vector<std::int32_t>& fill, int counter, int shares) {
  spica::Tensor t;
  std::tie(t.h, t.w, t.c) = std::tie(shape[0], shape[1], shape[2]);
  std::tie(t.top, t.bottom, t.left, t.right) = std::tie(border[0], border[1], border[2], border[3]);
  require(std::min({t.h, t.w, t.c}) > 0 && std::min({t.top, t.bottom, t.left, t.right}) >= 0, "a tensor is empty");
  require(planes >= 0 && planes <= 4, "a tensor has up to four byte planes");
  require(fill.empty() || static_cast<int>(fill.size()) == t.c, "a border has one value a channel");
  t.planes = planes, t.zero = zero, t.fill = fill, t.counter = counter, t.shares = shares;
  return p.add_tensor(t);
}

spica::Window window_of(int kh, int kw, Pair strides, Pair before) { return {kh, kw, strides[0], strides[1], before[0], before[1]}; }

void add_convolution(spica::Program& p, int x, int y, int events, In<std::int16_t, 4> kernel, Pair strides, Pair before,
                     const StageFields& stage, Range sums) {
  require(static_cast<int>(kernel.shape(2)) == p.tensor(x).c && static_cast<int>(kernel.shape(3)) == p.tensor(y).c,
          "channels of kernel and tensors differ");
  const spica::Window window = window_of(static_cast<int>(kernel.shape(0)), static_cast<int>(kernel.shape(1)), strides, before);
  static const spica::Tensor none;
  std::vector<int> used{x, y};
  if (events >= 0) used.push_back(events);
  p.add_step(spica::make_convolution(p.tensor(x), kernel.data(), window, events < 0 ? none : p.tensor(events), p.new_paths(),
                                     after_sums(p.tensor(y), stage, sums)), used);
}

void add_depthwise(spica::Program& p, int x, int y, In<std::int16_t, 3> kernel, Pair strides, Pair before,
                   const StageFields& stage, Range sums) {
  require(static_cast<int>(kernel.shape(2)) == p.tensor(x).c, "channels of kernel and tensor differ");
  const spica::Window window = window_of(static_cast<int>(kernel.shape(0)), static_cast<int>(kernel.shape(1)), strides, before);
  p.add_step(spica::make_depthwise(p.tensor(x), kernel.data(), window, after_sums(p.tensor(y), stage, sums)), {x, y});
}

using Read = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Write = nb::ndarray<nb::c_contig, nb::device::cpu>;

template <class Samples>
spica::Array array_of(const Samples& a, const spica::Tensor& t, int samples, bool is_real) {
  const auto kind = static_cast<nb::dlpack::dtype_code>(a.dtype().code);
  const bool integer = kind == nb::dlpack::dtype_code::Int || kind == nb::dlpack::dtype_code::UInt;
  require(is_real ? kind == nb::dlpack::dtype_code::Float && a.dtype().bits == 32 : integer, "an array has the wrong type");
  require(a.size() == std::size_t(samples) * t.h * t.w * t.c, "samples have the wrong size");
  return {const_cast<void*>(static_cast<const void*>(a.data())), a.dtype().bits / 8, kind == nb::dlpack::dtype_code::Int, is_real};
}

void finalize(spica::Program& p, const std::vector<int>& inputs, const std::vector<int>& outputs,
              const std::vector<std::pair<In<float, 1>, In<float, 1>>>& reals) {
  std::vector<spica::Real> factors;
  for (const auto& [power, scale] : reals) {
    const std::size_t size = power.shape(0);
    require(scale.shape(0) == size && (size == 0 || static_cast<int>(size) == p.tensor(outputs.at(factors.size())).c),
            "factors are needed for each channel");
    factors.push_back({{power.data(), power.data() + size}, {scale.data(), scale.data() + size}});
  }
  p.finalize(inputs, outputs, std::move(factors));
}

std::vector<std::int64_t> run_program(spica::Program& p, const std::vector<Read>& inputs, const std::vector<Write>& outputs,
                                      int samples, int threads, bool count) {
  require(inputs.size() == p.inputs().size() && outputs.size() == p.outputs().size(), "a program was made for other arrays");
  std::vector<spica::Array> in, out;
  for (std::size_t i = 0; i < inputs.size(); ++i) in.push_back(array_of(inputs[i], p.tensor(p.inputs()[i]), samples, false));
  for (std::size_t i = 0; i < outputs.size(); ++i) out.push_back(array_of(outputs[i], p.tensor(p.outputs()[i]), samples, p.is_real(static_cast<int>(i))));
  nb::gil_scoped_release release;
  return p.run(in, out, samples, threads, count);
}

template <class T, int Axes>
using State = nb::ndarray<T, nb::ndim<Axes>, nb::c_contig, nb::device::cpu>;

// A learning layer over arrays of Python's, which it keeps alive and changes.
class Learner {
 public:
  Learner(State<std::int8_t, 2> kernel, State<std::int16_t, 2> memory, State<std::int64_t, 1> plasticity,
          State<std::int64_t, 1> threshold, State<std::int64_t, 1> learned, std::array<std::int64_t, 7> rule, std::uint64_t seed)
      : kernel_(kernel), memory_(memory), plasticity_(plasticity), threshold_(threshold), learned_(learned) {
    const auto [each, weights, min_plasticity, decay, competition, unit, limit] = rule;
    const std::size_t neurons = kernel.shape(0), inputs = kernel.shape(1);
    require(memory.shape(1) == inputs && (memory.shape(0) == 0 || memory.shape(0) == neurons), "memory does not fit the kernel");
    require(plasticity.shape(0) == neurons && threshold.shape(0) == neurons && learned.shape(0) == neurons, "state does not fit the kernel");
    require(each > 0 && unit > 15 && weights > 0 && weights <= static_cast<std::int64_t>(inputs), "no such rule");
    layer_ = {static_cast<std::int64_t>(inputs), static_cast<std::int64_t>(neurons), kernel_.data(),
              memory.shape(0) ? memory_.data() : nullptr, plasticity_.data(), threshold_.data(), learned_.data(),
              each, weights, min_plasticity, decay, competition, unit, limit, seed, {}};
  }

  void learn(In<std::uint8_t, 2> spikes, In<std::int64_t, 1> labels) {
    require(static_cast<std::int64_t>(spikes.shape(1)) == layer_.inputs && labels.shape(0) == spikes.shape(0), "samples do not fit the kernel");
    for (std::size_t i = 0; i < labels.shape(0); ++i)
      require((labels.data()[i] + 1) * layer_.each <= layer_.neurons, "a label has no neurons");
    nb::gil_scoped_release release;
    spica::learn(layer_, spikes.data(), labels.data(), static_cast<std::int64_t>(spikes.shape(0)));
  }

 private:
  State<std::int8_t, 2> kernel_;
  State<std::int16_t, 2> memory_;
  State<std::int64_t, 1> plasticity_, threshold_, learned_;
  spica::Learning layer_;
};

using TensorPair = std::array<int, 2>;

void add_recurrence(spica::Program& p, int x, TensorPair before, int y, TensorPair after, In<std::int64_t, 1> factor_real,
                    In<std::int64_t, 1> factor_imaginary, const StageFields& arrive, const StageFields& leave, int bits) {
  const int channels = p.tensor(x).c;
  const auto parts = [&](TensorPair pair) { return spica::Parts{p.tensor(pair[0]), p.tensor(pair[1])}; };
  require(bits > 0 && bits < 63, "buffers hold 1 to 62 bits");
  p.add_step(spica::make_recurrence(p.tensor(x), parts(before), p.tensor(y), parts(after),
                                    {list(factor_real, channels), list(factor_imaginary, channels), stage_of(arrive, channels),
                                     stage_of(leave, channels), bits}),
             {x, before[0], before[1], y, after[0], after[1]});
}

// Multiply-accumulates of 8-bit values a second, on registers alone.
double peak(int threads, std::int64_t rounds) {
  nb::gil_scoped_release release;
  std::vector<double> done(threads);
  const auto start = std::chrono::steady_clock::now();
  spica::run_team(threads, [&](int thread) { done[thread] = spica::isa().peak(rounds); });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return std::accumulate(done.begin(), done.end(), 0.0) / seconds.count();
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "Programs of the native engine";
  m.attr("near_zero") = spica::near_zero;
  m.def("instruction_set", [] { return spica::isa().name; });
  m.def("peak", &peak, nb::arg("threads"), nb::arg("rounds") = 10'000'000);
  nb::class_<Learner>(m, "Learner")
      .def(nb::init<State<std::int8_t, 2>, State<std::int16_t, 2>, State<std::int64_t, 1>, State<std::int64_t, 1>,
                    State<std::int64_t, 1>, std::array<std::int64_t, 7>, std::uint64_t>())
      .def("learn", &Learner::learn);
  nb::class_<spica::Program>(m, "Program")
      .def(nb::init<>())
      .def("tensor", &add_tensor)
      .def("convolve", &add_convolution)
      .def("depthwise", &add_depthwise)
      .def("add", [](spica::Program& p, int a, int b, int y, const std::vector<int>& shift_a, const std::vector<int>& shift_b,
                     const StageFields& stage, Range sums) {
        p.add_step(spica::make_add(p.tensor(a), p.tensor(b), shift_a, shift_b, after_sums(p.tensor(y), stage, sums)), {a, b, y});
      })
      .def("map", [](spica::Program& p, int x, int y, std::vector<std::int32_t> table, std::int32_t first,
                     const StageFields& stage, Range sums) {
        p.add_step(spica::make_map(p.tensor(x), std::move(table), first, after_sums(p.tensor(y), stage, sums)), {x, y});
      })
      .def("attend", [](spica::Program& p, int q, int k, int v, int y, int heads, std::int32_t multiplier, int shift,
                        const StageFields& stage, Range sums) {
        p.add_step(spica::make_attend(p.tensor(q), p.tensor(k), p.tensor(v), heads, multiplier, shift, after_sums(p.tensor(y), stage, sums)), {q, k, v, y});
      })
      .def("normalise", [](spica::Program& p, int x, int y, const StageFields& stage, Range sums) {
        p.add_step(spica::make_normalise(p.tensor(x), after_sums(p.tensor(y), stage, sums)), {x, y});
      })
      .def("recur", &add_recurrence)
      .def("sum_of_pixels", [](spica::Program& p, int x, int y, const StageFields& stage, Range sums) {
        p.add_step(spica::make_sum_of_pixels(p.tensor(x), after_sums(p.tensor(y), stage, sums)), {x, y});
      })
      .def("max_pool", [](spica::Program& p, int x, int y, Pair size, Pair strides, Pair before) {
        p.add_step(spica::make_max_pool(p.tensor(x), p.tensor(y), window_of(size[0], size[1], strides, before)), {x, y});
      })
      .def("copy", [](spica::Program& p, int x, int y, std::array<int, 3> shape, std::array<std::int64_t, 3> from,
                      std::int64_t offset, std::array<int, 3> to_start, std::array<int, 2> to_step, bool clear, bool last) {
        const spica::Places places{shape, from, offset, to_start, {to_step[0], to_step[1], 1}, clear, last};
        p.add_step(spica::make_copy(p.tensor(x), p.tensor(y), places), {x, y});
      })
      .def("name", &spica::Program::name)
      .def("seconds", &spica::Program::seconds)
      .def("finalize", &finalize)
      .def("run", &run_program)
      .def("paths", [](const spica::Program& p) {
        std::vector<std::pair<std::int64_t, std::int64_t>> taken;
        for (const auto& path : p.paths()) taken.emplace_back(path.dense, path.events);
        return taken;
      })
      .def_prop_ro("sample_bytes", &spica::Program::sample_bytes);
}

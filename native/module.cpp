// Python bindings. Arguments that do not fit together are refused, so that no run can leave its arrays.
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
#include <mutex>
#include <numeric>
#include <optional>
#include <tuple>

#include "ops/learning.hpp"
#include "program.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using spica::require;

namespace {

using Pair = std::array<int, 2>;
using Sides = std::array<int, 4>;
using Range = std::pair<std::int64_t, std::int64_t>;
template <class T, int Rank>
using In = nb::ndarray<const T, nb::ndim<Rank>, nb::c_contig, nb::device::cpu>;
using Channels = std::optional<In<std::int64_t, 1>>;
// bias, ceiling, multiplier, shift, value_bits, buffer_bits, relu, low, high
using EpilogueFields = std::tuple<Channels, Channels, Channels, Channels, int, int, bool, std::int64_t, std::int64_t>;

std::vector<std::int64_t> list(const Channels& values, int channels) {
  if (!values) return {};
  require(static_cast<int>(values->shape(0)) == channels, "a channel parameter has the wrong length");
  return {values->data(), values->data() + channels};
}

spica::Epilogue epilogue_of(const EpilogueFields& fields, int channels) {
  const auto& [bias, ceiling, multiplier, shift, value_bits, buffer_bits, relu, low, high] = fields;
  require(multiplier.has_value() == shift.has_value(), "multiplier and shift come together");
  require(value_bits > 0 && value_bits < 63 && buffer_bits > 0 && buffer_bits < 63, "buffers hold 1 to 62 bits");
  spica::Epilogue e;
  e.channels = channels, e.value_bits = value_bits, e.buffer_bits = buffer_bits;
  e.relu = relu, e.low = low, e.high = high;
  e.bias = list(bias, channels), e.ceiling = list(ceiling, channels);
  e.multiplier = list(multiplier, channels), e.shift = list(shift, channels);
  return e;
}

// Where accumulators within `range` go.
spica::Output output_of(const spica::Tensor& y, const EpilogueFields& fields, Range range) {
  return {y, epilogue_of(fields, y.c), range.first, range.second};
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

spica::Window window_of(int kh, int kw, Pair strides, Pair before) {
  return {kh, kw, strides[0], strides[1], before[0], before[1]};
}

// A kernel of any type of number, so that none is converted on the way; weights_of() refuses all but int8 and int16.
template <int Rank>
using Kernel = nb::ndarray<nb::ro, nb::ndim<Rank>, nb::c_contig, nb::device::cpu>;

template <class Weights>
spica::WeightsView weights_of(const Weights& kernel) {
  if (kernel.dtype() == nb::dtype<std::int8_t>()) return static_cast<const std::int8_t*>(kernel.data());
  require(kernel.dtype() == nb::dtype<std::int16_t>(), "a kernel is an array of int8 or int16");
  return static_cast<const std::int16_t*>(kernel.data());
}

void add_conv(spica::Program& p, int x, int y, int events, Kernel<4> kernel, Pair strides, Pair before,
              const EpilogueFields& epilogue, Range range) {
  require(static_cast<int>(kernel.shape(2)) == p.tensor(x).c && static_cast<int>(kernel.shape(3)) == p.tensor(y).c,
          "channels of kernel and tensors differ");
  const spica::Window window =
      window_of(static_cast<int>(kernel.shape(0)), static_cast<int>(kernel.shape(1)), strides, before);
  static const spica::Tensor none;
  std::vector<int> used{x, y};
  if (events >= 0) used.push_back(events);
  p.add_op(spica::make_conv(p.tensor(x), weights_of(kernel), window, events < 0 ? none : p.tensor(events),
                            p.new_path_counts(), output_of(p.tensor(y), epilogue, range)),
           used);
}

void add_depthwise(spica::Program& p, int x, int y, Kernel<3> kernel, Pair strides, Pair before,
                   const EpilogueFields& epilogue, Range range) {
  require(static_cast<int>(kernel.shape(2)) == p.tensor(x).c, "channels of kernel and tensor differ");
  const spica::Window window =
      window_of(static_cast<int>(kernel.shape(0)), static_cast<int>(kernel.shape(1)), strides, before);
  p.add_op(spica::make_depthwise(p.tensor(x), weights_of(kernel), window, output_of(p.tensor(y), epilogue, range)),
           {x, y});
}

void add_add(spica::Program& p, int a, int b, int y, const std::vector<int>& shift_a, const std::vector<int>& shift_b,
             const EpilogueFields& epilogue, Range range) {
  p.add_op(spica::make_add(p.tensor(a), p.tensor(b), shift_a, shift_b, output_of(p.tensor(y), epilogue, range)),
           {a, b, y});
}

void add_multiply(spica::Program& p, int a, int b, int y, const EpilogueFields& epilogue, Range range) {
  p.add_op(spica::make_multiply(p.tensor(a), p.tensor(b), output_of(p.tensor(y), epilogue, range)), {a, b, y});
}

void add_gather(spica::Program& p, int x, int y, In<std::int64_t, 1> positions) {
  const std::int64_t size = std::int64_t{p.tensor(x).h} * p.tensor(x).w * p.tensor(x).c;
  std::vector<std::int32_t> places(positions.size());
  for (std::size_t i = 0; i < places.size(); ++i) {
    require(positions(i) >= -1 && positions(i) < size, "a gather reaches beyond x");
    places[i] = static_cast<std::int32_t>(positions(i));
  }
  p.add_op(spica::make_gather(p.tensor(x), p.tensor(y), std::move(places)), {x, y});
}

void add_lut(spica::Program& p, int x, int y, std::vector<std::int32_t> table, std::int32_t first,
             const EpilogueFields& epilogue, Range range) {
  p.add_op(spica::make_lut(p.tensor(x), std::move(table), first, output_of(p.tensor(y), epilogue, range)), {x, y});
}

void add_attention(spica::Program& p, int q, int k, int v, int y, int heads, std::int32_t multiplier, int shift,
                   const EpilogueFields& epilogue, Range range) {
  p.add_op(spica::make_attention(p.tensor(q), p.tensor(k), p.tensor(v), heads, multiplier, shift,
                                 output_of(p.tensor(y), epilogue, range)),
           {q, k, v, y});
}

void add_norm(spica::Program& p, int x, int y, const EpilogueFields& epilogue, Range range) {
  p.add_op(spica::make_norm(p.tensor(x), output_of(p.tensor(y), epilogue, range)), {x, y});
}

void add_scan(spica::Program& p, int x, Pair before, int y, Pair after, In<std::int64_t, 1> factor_real,
              In<std::int64_t, 1> factor_imaginary, const EpilogueFields& arrive, const EpilogueFields& leave,
              int bits) {
  const int channels = p.tensor(x).c;
  const auto state = [&](Pair pair) { return spica::Complex{p.tensor(pair[0]), p.tensor(pair[1])}; };
  require(bits > 0 && bits < 63, "buffers hold 1 to 62 bits");
  p.add_op(spica::make_scan(p.tensor(x), state(before), p.tensor(y), state(after),
                            {list(factor_real, channels), list(factor_imaginary, channels),
                             epilogue_of(arrive, channels), epilogue_of(leave, channels), bits}),
           {x, before[0], before[1], y, after[0], after[1]});
}

void add_sum_pixels(spica::Program& p, int x, int y, const EpilogueFields& epilogue, Range range) {
  p.add_op(spica::make_sum_pixels(p.tensor(x), output_of(p.tensor(y), epilogue, range)), {x, y});
}

void add_max_pool(spica::Program& p, int x, int y, Pair size, Pair strides, Pair before) {
  p.add_op(spica::make_max_pool(p.tensor(x), p.tensor(y), window_of(size[0], size[1], strides, before)), {x, y});
}

void add_copy(spica::Program& p, int x, int y, std::array<int, 3> shape, std::array<std::int64_t, 3> from,
              std::int64_t offset, std::array<int, 3> to_start, Pair to_step, bool clear, bool last) {
  const spica::Places places{shape, from, offset, to_start, {to_step[0], to_step[1], 1}, clear, last};
  p.add_op(spica::make_copy(p.tensor(x), p.tensor(y), places), {x, y});
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

using Read = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Write = nb::ndarray<nb::c_contig, nb::device::cpu>;

template <class Samples>
spica::Array array_of(const Samples& a, const spica::Tensor& t, int samples, bool is_real) {
  const auto kind = static_cast<nb::dlpack::dtype_code>(a.dtype().code);
  const bool is_signed = kind == nb::dlpack::dtype_code::Int;
  const bool integer = is_signed || kind == nb::dlpack::dtype_code::UInt;
  require(is_real ? kind == nb::dlpack::dtype_code::Float && a.dtype().bits == 32 : integer,
          "an array has the wrong type");
  require(a.size() == std::size_t(samples) * t.h * t.w * t.c, "samples have the wrong size");
  return {const_cast<void*>(static_cast<const void*>(a.data())), a.dtype().bits / 8, is_signed, is_real};
}

std::vector<std::int64_t> run_program(spica::Program& p, const std::vector<Read>& inputs,
                                      const std::vector<Write>& outputs, int samples, int threads, bool count) {
  require(inputs.size() == p.inputs().size() && outputs.size() == p.outputs().size(),
          "a program runs with as many inputs and outputs as it was made for");
  std::vector<spica::Array> in, out;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    in.push_back(array_of(inputs[i], p.tensor(p.inputs()[i]), samples, false));
  for (std::size_t i = 0; i < outputs.size(); ++i)
    out.push_back(array_of(outputs[i], p.tensor(p.outputs()[i]), samples, p.is_real(static_cast<int>(i))));
  nb::gil_scoped_release release;
  return p.run(in, out, samples, threads, count);
}

std::vector<std::pair<std::int64_t, std::int64_t>> path_counts(const spica::Program& p) {
  std::vector<std::pair<std::int64_t, std::int64_t>> taken;
  for (const auto& path : p.path_counts()) taken.emplace_back(path.dense, path.events);
  return taken;
}

template <class T, int Axes>
using State = nb::ndarray<T, nb::ndim<Axes>, nb::c_contig, nb::device::cpu>;

// A learning layer over Python's arrays, which it keeps alive and changes.
class Learner {
 public:
  Learner(State<std::int8_t, 2> kernel, State<std::int16_t, 2> memory, State<std::int64_t, 1> plasticity,
          State<std::int64_t, 1> threshold, State<std::int64_t, 1> learned, std::array<std::int64_t, 7> rule,
          std::uint64_t seed)
      : kernel_(kernel), memory_(memory), plasticity_(plasticity), threshold_(threshold), learned_(learned) {
    const auto [each, weights, min_plasticity, decay, competition, unit, limit] = rule;
    const std::size_t neurons = kernel.shape(0), inputs = kernel.shape(1);
    require(memory.shape(1) == inputs && (memory.shape(0) == 0 || memory.shape(0) == neurons),
            "memory does not fit the kernel");
    require(plasticity.shape(0) == neurons && threshold.shape(0) == neurons && learned.shape(0) == neurons,
            "state does not fit the kernel");
    require(each > 0 && unit > 15 && weights > 0 && weights <= static_cast<std::int64_t>(inputs),
            "a rule needs neurons a class, a unit above 15, and 1 to inputs weights a neuron");
    layer_.inputs = static_cast<std::int64_t>(inputs), layer_.neurons = static_cast<std::int64_t>(neurons);
    layer_.kernel = kernel_.data(), layer_.memory = memory.shape(0) ? memory_.data() : nullptr;
    layer_.plasticity = plasticity_.data(), layer_.threshold = threshold_.data(), layer_.learned = learned_.data();
    layer_.each = each, layer_.weights = weights, layer_.min_plasticity = min_plasticity, layer_.decay = decay;
    layer_.competition = competition, layer_.unit = unit, layer_.limit = limit, layer_.seed = seed;
  }

  void learn(In<std::uint8_t, 2> spikes, In<std::int64_t, 1> labels) {
    require(static_cast<std::int64_t>(spikes.shape(1)) == layer_.inputs && labels.shape(0) == spikes.shape(0),
            "samples do not fit the kernel");
    for (std::size_t i = 0; i < labels.shape(0); ++i)
      require((labels.data()[i] + 1) * layer_.each <= layer_.neurons, "a label has no neurons");
    nb::gil_scoped_release release;
    const spica::Running running;
    const std::lock_guard lock(mutex_);
    spica::learn(layer_, spikes.data(), labels.data(), static_cast<std::int64_t>(spikes.shape(0)));
  }

 private:
  State<std::int8_t, 2> kernel_;
  State<std::int16_t, 2> memory_;
  State<std::int64_t, 1> plasticity_, threshold_, learned_;
  std::mutex mutex_;  // one thread learns at a time
  spica::Learning layer_;
};

double peak(int threads, std::int64_t rounds) {
  nb::gil_scoped_release release;
  const spica::Running running;
  spica::Team team(threads);
  std::vector<double> done(team.size());
  const auto start = std::chrono::steady_clock::now();
  team.run([&](int thread) { done[thread] = spica::isa().peak(rounds); });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return std::accumulate(done.begin(), done.end(), 0.0) / seconds.count();
}

void bind_learner(nb::module_& m) {
  nb::class_<Learner>(m, "Learner", "A learning layer over arrays that it keeps and changes in place.")
      .def(nb::init<State<std::int8_t, 2>, State<std::int16_t, 2>, State<std::int64_t, 1>, State<std::int64_t, 1>,
                    State<std::int64_t, 1>, std::array<std::int64_t, 7>, std::uint64_t>(),
           "kernel"_a, "memory"_a, "plasticity"_a, "threshold"_a, "learned"_a, "rule"_a, "seed"_a,
           "Take a layer's arrays. kernel (neurons, inputs) holds 0 and 1; memory has the same shape, or no rows for "
           "the rule that swaps; the others have one value a neuron. rule: neurons a class, weights a neuron, least "
           "plasticity, its decay, competition, unit and memory limit.")
      .def("learn", &Learner::learn, "spikes"_a, "labels"_a,
           "Learn binary spikes (samples, inputs), one sample after the other. A label below zero means none.");
}

void bind_ops(nb::class_<spica::Program>& program) {
  program
      .def("convolve", &add_conv, "x"_a, "y"_a, "events"_a, "kernel"_a, "strides"_a, "before"_a, "epilogue"_a,
           "range"_a,
           "Add a convolution. kernel (height, width, channels, filters) is int8 or int16; events is a tensor for "
           "the lists of events, or -1.")
      .def("depthwise", &add_depthwise, "x"_a, "y"_a, "kernel"_a, "strides"_a, "before"_a, "epilogue"_a, "range"_a,
           "Add a depthwise convolution. kernel (height, width, channels) is int8 or int16.")
      .def("add", &add_add, "a"_a, "b"_a, "y"_a, "shift_a"_a, "shift_b"_a, "epilogue"_a, "range"_a,
           "Add the sum of a * 2^shift_a and b * 2^shift_b, with one shift a channel.")
      .def("multiply", &add_multiply, "a"_a, "b"_a, "y"_a, "epilogue"_a, "range"_a,
           "Add the products of two tensors; rows, columns or channels of b are one where all of them are.")
      .def("gather", &add_gather, "x"_a, "y"_a, "positions"_a,
           "Add a copy of the value of x at each position, or of zero where it is -1, to y.")
      .def("map", &add_lut, "x"_a, "y"_a, "table"_a, "first"_a, "epilogue"_a, "range"_a,
           "Add a look-up of table[x - first], or an epilogue alone where the table is empty.")
      .def("attend", &add_attention, "q"_a, "k"_a, "v"_a, "y"_a, "heads"_a, "multiplier"_a, "shift"_a, "epilogue"_a,
           "range"_a, "Add attention. A score is (query . key) * multiplier >> shift.")
      .def("normalise", &add_norm, "x"_a, "y"_a, "epilogue"_a, "range"_a,
           "Add the normalisation of every token by its mean absolute deviation.")
      .def("recur", &add_scan, "x"_a, "before"_a, "y"_a, "after"_a, "factor_real"_a, "factor_imaginary"_a, "arrive"_a,
           "leave"_a, "bits"_a,
           "Add a scan: state = factor * state + x, saturated to bits. before and after are the tensors of the "
           "state's real and imaginary part; arrive and leave are epilogues.")
      .def("sum_of_pixels", &add_sum_pixels, "x"_a, "y"_a, "epilogue"_a, "range"_a, "Add the sum over all pixels.")
      .def("max_pool", &add_max_pool, "x"_a, "y"_a, "size"_a, "strides"_a, "before"_a,
           "Add a maximum over windows of pixels.")
      .def("copy", &add_copy, "x"_a, "y"_a, "shape"_a, "strides"_a, "offset"_a, "to_start"_a, "to_step"_a, "clear"_a,
           "last"_a,
           "Add a copy of shape (rows, columns, channels) values of x, from `offset` on and `strides` apart, to y. "
           "clear sets the rest of y to zero; last tells that no later copy fills y.");
}

void bind_program(nb::module_& m) {
  nb::class_<spica::Program> program(
      m, "Program",
      "Operations over tensors, built once and then run without Python. Tensors go by number. An epilogue is a tuple "
      "(bias, ceiling, multiplier, shift, value_bits, buffer_bits, relu, low, high) whose first four are int64 "
      "arrays of one value a channel, or None; range is the smallest and the largest accumulator.");
  program.def(nb::init<>(), "Make an empty program.")
      .def("tensor", &add_tensor, "shape"_a, "border"_a, "planes"_a, "zero"_a, "fill"_a, "counter"_a, "shares"_a,
           "Add a tensor and return its number. shape: rows, columns, channels. border: top, bottom, left, right. "
           "planes: bytes of a value less `zero`, or 0 for 32-bit words. fill: the border's values, one a channel, "
           "or none for zeros. counter: where its non-zero values are counted, or -1. shares: the tensor whose "
           "memory it uses, or -1.");
  bind_ops(program);
  program.def("name", &spica::Program::name, "layer"_a, "Name the operations that are added from here on.")
      .def("finalize", &finalize, "inputs"_a, "outputs"_a, "reals"_a,
           "Place all tensors in memory; no operation can be added afterwards. reals: for each output two float32 "
           "arrays that its values are multiplied by, one a channel, or empty arrays where integers leave.")
      .def("run", &run_program, "inputs"_a, "outputs"_a, "samples"_a, "threads"_a, "count"_a,
           "Run samples through the program, into arrays of `outputs`; returns the non-zero values of each counter, "
           "or zeros unless `count`.")
      .def("seconds", &spica::Program::seconds,
           "Return the name of each operation and the seconds that all threads have spent in it.")
      .def("paths", &path_counts,
           "Return how many groups of samples took the dense and the event path, by convolution.")
      .def_prop_ro("sample_bytes", &spica::Program::sample_bytes, "Bytes of memory that one sample needs.");
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "Programs of the native engine, and native learning.";
  m.attr("near_zero") = spica::near_zero;
  m.def("instruction_set", [] { return spica::isa().name; }, "Return the name of the instruction set in use.");
  m.def("peak", &peak, "threads"_a, "rounds"_a = 10'000'000,
        "Measure the peak rate: 8-bit multiply-accumulates a second, on registers alone.");
  bind_learner(m);
  bind_program(m);
}

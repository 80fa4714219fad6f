// Compares random programs with plain loops, without Python: a fuzz target, which also runs under the sanitizers.
//
//   fuzz FIRST COUNT    runs COUNT programs, each from a seed; prints the seed of one that differs and exits with 1
//
// With -DSPICA_LIBFUZZER it is a libFuzzer target instead: the input's bytes are the seed.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>
#include <tuple>

#include "../ops/learning.hpp"
#include "../program.hpp"

namespace spica {
namespace {

using Random = std::mt19937_64;

int pick(Random& random, int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }

template <class T>
T one_of(Random& random, std::initializer_list<T> values) {
  return values.begin()[pick(random, 0, static_cast<int>(values.size()) - 1)];
}

// Integers of all samples, without borders.
struct Image {
  int n, h, w, c;
  std::vector<std::int32_t> values;
  std::int32_t at(int i, int y, int x, int k) const { return values[((std::size_t(i) * h + y) * w + x) * c + k]; }
};

// A tensor that holds integers from `low` to `high`, and its number.
struct Made {
  int number;
  std::int32_t low, high;
  Image image;
};

Tensor tensor_for(int h, int w, int c, std::int32_t low, std::int32_t high) {
  Tensor t;
  t.h = h, t.w = w, t.c = c;
  for (t.planes = 1; t.planes < 4; ++t.planes) {
    const std::int64_t half = std::int64_t{1} << (8 * t.planes - 1);
    if (low >= 0 && high < 2 * half) return t;
    t.zero = t.planes == 3 ? near_zero : static_cast<std::int32_t>(-half);
    if (low >= t.zero && high < t.zero + 2 * half) return t;
    t.zero = 0;
  }
  t.zero = -(1 << 30) * 2;
  return t;
}

Epilogue random_epilogue(Random& random, int channels) {
  Epilogue s{};
  s.channels = channels, s.high = 255;
  s.value_bits = one_of(random, {6, 12, 27, 31});
  s.buffer_bits = one_of(random, {20, 32});
  s.relu = pick(random, 0, 1) == 1;
  if (pick(random, 0, 1)) s.low = -128, s.high = 127;
  const auto shifts = one_of<std::pair<int, int>>(random, {{-2, 3}, {4, 12}, {8, 20}, {20, 45}});
  for (int c = 0; c < channels; ++c) {
    s.bias.push_back(pick(random, -2000, 2000));
    s.multiplier.push_back(pick(random, 0, 1000));
    s.shift.push_back(pick(random, shifts.first, shifts.second));
    if (s.relu) s.ceiling.push_back(pick(random, 1, 1 << 20));
  }
  return s;
}

// Adds a tensor for the lists of events of `t`, if it can have them.
const Tensor& event_list(Program& program, const Tensor& t, std::vector<int>& used) {
  static const Tensor none;
  if (t.c % 4 != 0 || t.planes != 1 || t.zero != 0) return none;
  const int columns = t.w + t.left + t.right;
  Tensor events;
  events.h = t.h + t.top + t.bottom, events.w = 1, events.c = 2 * (columns * (t.c / 4) + columns + 1);
  used.push_back(program.add_tensor(events));
  return program.tensor(used.back());
}

// Returns what a convolution accumulates for filter f of output pixel (i, j).
std::int64_t window_sum(const Image& x, const std::vector<std::int16_t>& kernel, const Window& window, int n, int i,
                        int j, int f, int filters, bool depthwise) {
  std::int64_t sum = 0;
  for (int ky = 0; ky < window.kh; ++ky)
    for (int kx = 0; kx < window.kw; ++kx)
      for (int c = depthwise ? f : 0; c < (depthwise ? f + 1 : x.c); ++c) {
        const int row = i * window.stride_h + ky - window.top, column = j * window.stride_w + kx - window.left;
        const std::size_t tap = std::size_t(ky) * window.kw + kx;
        const std::int32_t weight = depthwise ? kernel[tap * x.c + c] : kernel[(tap * x.c + c) * filters + f];
        if (row >= 0 && column >= 0) sum += std::int64_t{weight} * x.at(n, row, column, c);
      }
  return sum;
}

// Adds a convolution, full or depthwise, of `x`, and computes its image with plain loops.
Made convolve(Random& random, Program& program, const Made& x, int padded, int samples) {
  const Tensor& t = program.tensor(x.number);
  const bool depthwise = pick(random, 0, 1);
  const int kh = pick(random, 1, std::min(3, t.h + padded)), kw = pick(random, 1, std::min(3, t.w + padded));
  const Window window{kh, kw, pick(random, 1, 2), pick(random, 1, 2), padded, padded};
  const int filters = depthwise ? t.c : one_of(random, {1, 5, 16, 40, 130});
  const int limit = one_of(random, {1, 8, 127, 3000});
  std::vector<std::int16_t> kernel(std::size_t(kh) * kw * t.c * (depthwise ? 1 : filters));
  for (auto& w : kernel) w = pick(random, -limit, limit);
  const std::vector<std::int8_t> narrow(kernel.begin(), kernel.end());
  WeightsView weights = kernel.data();
  if (limit <= 127 && pick(random, 0, 1)) weights = narrow.data();
  const int h = (t.h + padded - kh) / window.stride_h + 1, w = (t.w + padded - kw) / window.stride_w + 1;
  const std::int64_t largest = std::max(std::abs(std::int64_t{x.low}), std::abs(std::int64_t{x.high}));
  const std::int64_t bound = largest * limit * kh * kw * (depthwise ? 1 : t.c);
  if (bound > INT32_MAX && (depthwise || kh * kw * t.c > 60000)) return {-1, 0, 0, {}};
  const Epilogue epilogue = random_epilogue(random, filters);
  const auto low = static_cast<std::int32_t>(epilogue.low), high = static_cast<std::int32_t>(epilogue.high);
  Made y{0, low, high, {samples, h, w, filters, {}}};
  y.number = program.add_tensor(tensor_for(h, w, filters, y.low, y.high));
  Output output{program.tensor(y.number), epilogue, -bound, bound};
  if (depthwise) {
    program.add_op(make_depthwise(t, weights, window, std::move(output)), {x.number, y.number});
  } else {
    std::vector<int> used{x.number, y.number};
    const Tensor& list = event_list(program, t, used);
    program.add_op(make_conv(t, weights, window, list, program.new_path_counts(), std::move(output)), used);
  }
  for (int n = 0; n < samples; ++n)
    for (int i = 0; i < h; ++i)
      for (int j = 0; j < w; ++j)
        for (int f = 0; f < filters; ++f) {
          const std::int64_t acc = window_sum(x.image, kernel, window, n, i, j, f, filters, depthwise);
          y.image.values.push_back(static_cast<std::int32_t>(epilogue(acc, f)));
        }
  return y;
}

// Returns whether a program of convolutions gives what plain loops give.
bool check_convolutions(std::uint64_t seed) {
  Random random(seed);
  const int samples = pick(random, 1, 6), padded = pick(random, 0, 1);
  const auto [low, high] = one_of<std::pair<int, int>>(
      random, {{0, 1}, {0, 255}, {-128, 127}, {0, 65535}, {-1000, 70000}, {-(1 << 22), 1 << 22}});
  Tensor t =
      tensor_for(pick(random, 1, 9), pick(random, 1, 9), one_of(random, {1, 3, 4, 8, 17, 33, 64, 70, 132}), low, high);
  t.top = t.left = padded, t.counter = 0;
  Program program;
  Made x{program.add_tensor(t), low, high, {samples, t.h, t.w, t.c, {}}};
  const int density = one_of(random, {0, 5, 50, 100});
  for (int i = 0; i < samples * t.h * t.w * t.c; ++i)
    x.image.values.push_back(pick(random, 1, 100) <= density ? pick(random, low, high) : 0);
  Made y = convolve(random, program, x, padded, samples);
  if (y.number < 0) return true;
  std::vector<Made> kept{y};
  Made z = convolve(random, program, y, 0, samples);
  if (z.number >= 0) kept.push_back(z);
  std::vector<int> outputs;
  std::vector<std::vector<std::int32_t>> got;
  for (const Made& made : kept) {
    outputs.push_back(made.number);
    got.emplace_back(made.image.values.size());
  }
  program.finalize({x.number}, outputs, std::vector<Real>(outputs.size()));
  std::vector<Array> arrays;
  for (auto& values : got) arrays.push_back({values.data(), 4, true, false});
  for (int round = 0; round < 2; ++round) {
    const auto counts =
        program.run({{x.image.values.data(), 4, true, false}}, arrays, samples, pick(random, 1, 4), true);
    const auto events = x.image.values.size() - std::count(x.image.values.begin(), x.image.values.end(), 0);
    if (counts.at(0) != static_cast<std::int64_t>(events)) return false;
    for (std::size_t i = 0; i < kept.size(); ++i)
      if (got[i] != kept[i].image.values) return false;
  }
  return true;
}

using Values = std::vector<std::int32_t>;

// Runs a program of word arrays, for several callers at the same time, and compares what it gives with what is wanted.
bool gives(Random& random, Program& program, std::vector<Values>& given, const std::vector<Values>& wanted,
           int samples) {
  std::vector<Array> in;
  for (auto& values : given) in.push_back({values.data(), 4, true, false});
  std::vector<std::vector<Values>> got(pick(random, 1, 3), wanted);
  std::vector<std::thread> callers;
  for (auto& outputs : got) {
    std::vector<Array> out;
    for (auto& values : outputs) {
      std::fill(values.begin(), values.end(), -1);
      out.push_back({values.data(), 4, true, false});
    }
    callers.emplace_back(
        [&program, &in, out, samples, threads = pick(random, 1, 4)] { program.run(in, out, samples, threads, false); });
  }
  for (auto& caller : callers) caller.join();
  return std::count(got.begin(), got.end(), wanted) == static_cast<std::ptrdiff_t>(got.size());
}

// Tokens of `channels` values, one after the other.
struct Tokens {
  int channels;
  std::vector<Values> given;  // queries, keys, values
  const std::int32_t* row(int which, int token) const { return given[which].data() + std::ptrdiff_t{token} * channels; }
};

// Returns what one token gets from one head of `width` channels, over tokens [first, first + count), channel by
// channel.
std::vector<std::int64_t> attend(const Tokens& t, int first, int count, int token, int head, int width, int multiplier,
                                 int shift) {
  std::vector<std::int64_t> powers(count), mixed(width);
  for (int j = 0; j < count; ++j) {
    for (int c = head * width; c < (head + 1) * width; ++c)
      powers[j] += std::int64_t{t.row(0, token)[c]} * t.row(1, first + j)[c];
    powers[j] = (powers[j] * multiplier) >> shift;
  }
  const std::int64_t top = *std::max_element(powers.begin(), powers.end());
  std::int64_t total = 0;
  for (auto& p : powers) {
    const std::int64_t below = std::min<std::int64_t>(top - p, 20 << 8);
    total += p = ((512 - below % 256) * 64) >> (below / 256);
  }
  for (int c = 0; c < width; ++c)
    for (int j = 0; j < count; ++j)
      mixed[c] += ((powers[j] << 11) + total) / (2 * total) * t.row(2, first + j)[head * width + c];
  return mixed;
}

// Appends a normalised token.
void normalise(const std::int32_t* x, int channels, Values& to) {
  std::int64_t sum = 0, apart = 0;
  for (int c = 0; c < channels; ++c) sum += x[c];
  for (int c = 0; c < channels; ++c) apart += std::abs(std::int64_t{channels} * x[c] - sum);
  const std::int64_t deviation = std::max<std::int64_t>(apart / channels, 1);
  for (int c = 0; c < channels; ++c) {
    const std::int64_t centred = (std::int64_t{channels} * x[c] - sum) * 256;
    to.push_back(static_cast<std::int32_t>(centred / deviation - (centred % deviation < 0)));
  }
}

// Returns whether attention and normalisation give what spica/semantics/primitives.py says.
bool check_tokens(std::uint64_t seed) {
  Random random(seed);
  const int samples = pick(random, 1, 4), tokens = pick(random, 1, 40), heads = pick(random, 1, 3);
  const int width = one_of(random, {1, 5, 16, 20}), channels = heads * width;
  const int multiplier = pick(random, 0, 1000), shift = pick(random, 0, 12);
  const auto [low, high] = one_of<std::pair<int, int>>(random, {{0, 1}, {0, 255}, {-128, 127}});
  Program program;
  std::vector<int> inputs;
  Tokens t{channels, std::vector<Values>(3)};
  for (auto& values : t.given) {
    inputs.push_back(program.add_tensor(tensor_for(1, tokens, channels, low, high)));
    for (int i = 0; i < samples * tokens * channels; ++i) values.push_back(pick(random, low, high));
  }
  const std::int64_t reach = std::int64_t{channels} << 8, most = (1024 + tokens) * std::max(-low, high);
  const Epilogue epilogue = random_epilogue(random, channels);
  const Epilogue plain{channels, {}, {}, {}, {}, 62, 32, false, 0, 0};
  const auto y = program.add_tensor(tensor_for(1, tokens, channels, epilogue.low, epilogue.high));
  const auto z = program.add_tensor(tensor_for(1, tokens, channels, -reach, reach));
  const auto tensor = [&](int i) -> const Tensor& { return program.tensor(i); };
  program.add_op(make_attention(tensor(inputs[0]), tensor(inputs[1]), tensor(inputs[2]), heads, multiplier, shift,
                                {tensor(y), epilogue, -most, most}),
                 {inputs[0], inputs[1], inputs[2], y});
  program.add_op(make_norm(tensor(inputs[0]), {tensor(z), plain, -reach, reach}), {inputs[0], z});
  program.finalize(inputs, {y, z}, std::vector<Real>(2));
  std::vector<Values> wanted(2);
  for (int token = 0; token < samples * tokens; ++token) {
    for (int head = 0; head < heads; ++head) {
      const auto mixed = attend(t, token / tokens * tokens, tokens, token, head, width, multiplier, shift);
      for (int c = 0; c < width; ++c)
        wanted[0].push_back(static_cast<std::int32_t>(epilogue(mixed[c], head * width + c)));
    }
    normalise(t.row(0, token), channels, wanted[1]);
  }
  return gives(random, program, t.given, wanted, samples);
}

// Appends the states of a scan to wanted[0], and leaves the last ones in wanted[1] and wanted[2].
void scan(const ScanParameters& p, const Values& x, int samples, int steps, int channels, std::vector<Values>& wanted) {
  const auto sat = [&](std::int64_t v) {
    return std::clamp<std::int64_t>(v, -(std::int64_t{1} << p.bits), (std::int64_t{1} << p.bits) - 1);
  };
  for (int n = 0; n < samples; ++n)
    for (int t = 0; t < steps; ++t)
      for (int c = 0; c < channels; ++c) {
        std::int32_t &real = wanted[1][n * channels + c], &imaginary = wanted[2][n * channels + c];
        const std::int64_t re = real, im = imaginary;
        const std::int64_t arriving = p.arrive(x[(n * steps + t) * channels + c], c);
        const std::int64_t kept = sat(sat(re * p.real[c]) - sat(im * p.imaginary[c]));
        const std::int64_t crossed = sat(re * p.imaginary[c]) + sat(im * p.real[c]);
        wanted[0].push_back(real = static_cast<std::int32_t>(p.leave(sat(kept + arriving), c)));
        wanted[0].push_back(imaginary = static_cast<std::int32_t>(p.leave(sat(crossed), c)));
      }
}

// A scan over `steps` steps: its tensors are x and the state before; the states, and the state after.
struct ScanProgram {
  Program program;

  ScanProgram(int steps, int wide, const ScanParameters& p) {
    const int low = static_cast<int>(p.leave.low), high = static_cast<int>(p.leave.high);
    const int channels = p.leave.channels;
    const int x = program.add_tensor(tensor_for(1, steps, channels, -wide, wide));
    const auto state = [&] { return program.add_tensor(tensor_for(1, 1, channels, low, high)); };
    const int real = state(), imaginary = state();
    const int y = program.add_tensor(tensor_for(steps, channels, 2, low, high));
    const int real_after = state(), imaginary_after = state();
    const auto tensor = [&](int i) -> const Tensor& { return program.tensor(i); };
    program.add_op(make_scan(tensor(x), {tensor(real), tensor(imaginary)}, tensor(y),
                             {tensor(real_after), tensor(imaginary_after)}, p),
                   {x, real, imaginary, y, real_after, imaginary_after});
    program.finalize({x, real, imaginary}, {y, real_after, imaginary_after}, std::vector<Real>(3));
  }
};

// Returns whether a scan gives what `scan` of spica/semantics/reference.py says, at once and step by step, as a stream.
bool check_scan(std::uint64_t seed) {
  Random random(seed);
  const int samples = pick(random, 1, 4), steps = pick(random, 1, 9), channels = one_of(random, {1, 5, 33});
  const int low = -(1 << 15), high = (1 << 15) - 1, wide = 1 << 27, bits = one_of(random, {16, 31});
  ScanParameters p{{}, {}, random_epilogue(random, channels), random_epilogue(random, channels), bits};
  p.leave.low = low, p.leave.high = high;
  for (int c = 0; c < channels; ++c) {
    p.real.push_back(pick(random, low, high));
    p.imaginary.push_back(pick(random, low, high));
  }
  std::vector<Values> given(3);
  for (int i = 0; i < samples * steps * channels; ++i) given[0].push_back(pick(random, -wide, wide));
  for (int i = 0; i < samples * channels; ++i) {
    given[1].push_back(pick(random, low, high));
    given[2].push_back(pick(random, low, high));
  }
  std::vector<Values> wanted{{}, given[1], given[2]};
  scan(p, given[0], samples, steps, channels, wanted);
  ScanProgram whole(steps, wide, p);
  if (!gives(random, whole.program, given, wanted, samples)) return false;
  ScanProgram one(1, wide, p);
  std::vector<Values> frame{{}, given[1], given[2]};
  for (int t = 0; t < steps; ++t) {
    frame[0].clear();
    for (int i = 0; i < samples * channels; ++i)
      frame[0].push_back(given[0][(i / channels * steps + t) * channels + i % channels]);
    std::vector<Values> after{{}, frame[1], frame[2]};
    scan(p, frame[0], samples, 1, channels, after);
    if (!gives(random, one.program, frame, after, samples)) return false;
    frame[1] = after[1], frame[2] = after[2];
  }
  return frame[1] == wanted[1] && frame[2] == wanted[2];
}

// A learning layer, and its rules as spica/learning/rules.py has them.
struct Learner {
  std::int64_t inputs, neurons, each, weights, min_plasticity, decay, competition;
  std::uint64_t seed;
  std::vector<std::int8_t> kernel;
  std::vector<std::int16_t> memory;
  std::vector<std::int64_t> plasticity, threshold, learned;
  static constexpr std::int64_t unit = 1024, limit = 127;

  bool operator==(const Learner&) const = default;

  Learning view() {
    return {inputs,
            neurons,
            kernel.data(),
            memory.empty() ? nullptr : memory.data(),
            plasticity.data(),
            threshold.data(),
            learned.data(),
            each,
            weights,
            min_plasticity,
            decay,
            competition,
            unit,
            limit,
            seed};
  }

  std::uint64_t lot(std::int64_t neuron, std::int64_t input) const {
    std::uint64_t z = seed * 0x9E3779B97F4A7C15u + neuron * 0xBF58476D1CE4E5B9u;
    z += learned[neuron] * 0x94D049BB133111EBu + input * 0xD6E8FEB86659FD93u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

  std::int64_t potential(std::int64_t neuron, const std::uint8_t* spikes) const {
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < inputs; ++i) sum += kernel[neuron * inputs + i] * spikes[i];
    return sum;
  }

  void learn(const std::uint8_t* spikes, std::int64_t label) {
    if (std::count(spikes, spikes + inputs, 1) == 0) return;
    const std::int64_t first = label < 0 ? 0 : label * each, last = label < 0 ? neurons : first + each;
    std::int64_t winner = first;
    const auto value = [&](std::int64_t n) { return std::pair(potential(n, spikes) - threshold[n], -learned[n]); };
    for (std::int64_t n = first + 1; n < last; ++n)
      if (value(n) > value(winner)) winner = n;
    if (memory.empty()) swap(winner, spikes);
    else remember(winner, spikes);
    threshold[winner] = potential(winner, spikes) * competition / unit;
    const std::int64_t before = plasticity[winner];
    plasticity[winner] = std::max(before - before * decay / unit, min_plasticity);
    ++learned[winner];
  }

  void swap(std::int64_t n, const std::uint8_t* spikes) {
    std::vector<std::int64_t> lists[2];  // connected without a spike, a spike without a connection
    for (std::int64_t i = 0; i < inputs; ++i)
      if (kernel[n * inputs + i] != spikes[i]) lists[spikes[i]].push_back(i);
    const auto most = static_cast<std::int64_t>(std::min(lists[0].size(), lists[1].size()));
    const std::int64_t count = (most * plasticity[n] + unit - 1) / unit;
    for (auto& list : lists) {
      std::sort(list.begin(), list.end(), [&](auto a, auto b) { return lot(n, a) < lot(n, b); });
      for (std::int64_t k = 0; k < count; ++k) kernel[n * inputs + list[k]] ^= 1;
    }
  }

  void remember(std::int64_t n, const std::uint8_t* spikes) {
    std::vector<std::int64_t> order(inputs);
    for (std::int64_t i = 0; i < inputs; ++i) {
      const std::int64_t change = spikes[i] ? plasticity[n] : -(plasticity[n] / 4), step = unit / 16;
      std::int16_t& m = memory[n * inputs + i];
      m = static_cast<std::int16_t>(std::clamp(m + change / step - (change % step < 0), -limit, limit));
      order[i] = i;
    }
    const auto rank = [&](std::int64_t i) {
      return std::tuple(-memory[n * inputs + i], -kernel[n * inputs + i], lot(n, i));
    };
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return rank(a) < rank(b); });
    std::fill_n(kernel.begin() + n * inputs, inputs, 0);
    for (std::int64_t k = 0; k < weights; ++k) kernel[n * inputs + order[k]] = 1;
  }
};

// Returns whether learning gives what the rules say, for labels and for none.
bool check_learning(std::uint64_t seed) {
  Random random(seed);
  const bool remembers = pick(random, 0, 1);
  Learner a{};
  a.inputs = one_of(random, {1, 7, 8, 33, 200}), a.each = pick(random, 1, 3);
  const int classes = pick(random, 1, 4);
  a.neurons = classes * a.each, a.weights = pick(random, 1, static_cast<int>(a.inputs));
  a.decay = pick(random, 0, Learner::unit), a.competition = pick(random, 0, Learner::unit);
  a.min_plasticity = pick(random, 0, Learner::unit), a.seed = random();
  a.kernel.resize(a.inputs * a.neurons);
  for (std::int64_t n = 0; n < a.neurons; ++n) {
    const auto row = a.kernel.begin() + n * a.inputs;
    std::fill_n(row, a.weights, 1);
    std::shuffle(row, row + a.inputs, random);
    a.plasticity.push_back(pick(random, static_cast<int>(a.min_plasticity), Learner::unit));
    a.threshold.push_back(pick(random, 0, 20));
    a.learned.push_back(pick(random, 0, 3));
  }
  if (remembers)
    for (std::int64_t i = 0; i < a.inputs * a.neurons; ++i) a.memory.push_back(pick(random, -127, 127));
  const int samples = pick(random, 1, 20), density = one_of(random, {0, 5, 50, 100});
  std::vector<std::uint8_t> spikes(samples * a.inputs);
  std::vector<std::int64_t> labels(samples);
  for (auto& spike : spikes) spike = pick(random, 1, 100) <= density;
  for (auto& label : labels) label = pick(random, -1, classes - 1);
  Learner b = a;
  Learning layer = a.view();
  learn(layer, spikes.data(), labels.data(), samples);
  for (int i = 0; i < samples; ++i) b.learn(spikes.data() + i * a.inputs, labels[i]);
  return a == b;
}

bool check_all(std::uint64_t seed) {
  return check_convolutions(seed) && check_tokens(seed) && check_scan(seed) && check_learning(seed);
}

}  // namespace
}  // namespace spica

#if defined(SPICA_LIBFUZZER)
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::uint64_t seed = size;
  for (std::size_t i = 0; i < size; ++i) seed = seed * 1099511628211u ^ data[i];
  if (!spica::check_all(seed)) std::abort();
  return 0;
}
#else
int main(int count, char** arguments) {
  const std::uint64_t first = count > 1 ? std::strtoull(arguments[1], nullptr, 10) : 0;
  const std::uint64_t programs = count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 1000;
  for (std::uint64_t seed = first; seed < first + programs; ++seed)
    if (!spica::check_all(seed)) {
      std::printf("%s: the program of seed %llu differs from plain loops\n", spica::isa().name,
                  static_cast<unsigned long long>(seed));
      return 1;
    }
  std::printf("%s: %llu programs give what plain loops give\n", spica::isa().name,
              static_cast<unsigned long long>(programs));
  return 0;
}
#endif

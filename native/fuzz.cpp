// Random programs against plain loops, without Python: a fuzz target over plan and run, and what the sanitizers watch.
//
//   fuzz FIRST COUNT    runs COUNT programs, each made from a seed; prints the seed of one that differs, and exits with 1
//
// With -DSPICA_LIBFUZZER it is a libFuzzer target instead: the input's bytes are the seed.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>

#include "program.hpp"

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
  std::int32_t& at(int i, int y, int x, int k) { return values[((std::size_t(i) * h + y) * w + x) * c + k]; }
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

Stage random_stage(Random& random, int channels) {
  Stage s{channels, {}, {}, {}, {}, one_of(random, {6, 12, 27, 31}), one_of(random, {20, 32}), pick(random, 0, 1) == 1, 0, 255};
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

// Adds a convolution, full or depthwise, of `x`; its plain result is the image of what is returned.
Made convolve(Random& random, Program& program, const Made& x, const std::function<std::int32_t(int, int, int, int)>& value,
              int padded, int samples) {
  const Tensor& t = program.tensor(x.number);
  const bool depthwise = pick(random, 0, 1);
  const int kh = pick(random, 1, std::min(3, t.h + padded)), kw = pick(random, 1, std::min(3, t.w + padded));
  const Window window{kh, kw, pick(random, 1, 2), pick(random, 1, 2), padded, padded};
  const int filters = depthwise ? t.c : one_of(random, {1, 5, 16, 40, 130});
  const int limit = one_of(random, {1, 8, 127, 3000});
  std::vector<std::int16_t> kernel(std::size_t(kh) * kw * t.c * (depthwise ? 1 : filters));
  for (auto& w : kernel) w = pick(random, -limit, limit);
  const int h = (t.h + padded - kh) / window.stride_h + 1, w = (t.w + padded - kw) / window.stride_w + 1;
  const std::int64_t largest = std::max(std::abs(std::int64_t{x.low}), std::abs(std::int64_t{x.high}));
  const std::int64_t bound = largest * limit * kh * kw * (depthwise ? 1 : t.c);
  Made y{0, 0, 0, {samples, h, w, filters, {}}};
  const Stage stage = random_stage(random, filters);
  y.low = static_cast<std::int32_t>(stage.low), y.high = static_cast<std::int32_t>(stage.high);
  if (bound > INT32_MAX && (depthwise || kh * kw * t.c > 60000)) return {-1, 0, 0, {}};
  y.number = program.add_tensor(tensor_for(h, w, filters, y.low, y.high));
  Finish finish{program.tensor(y.number), stage, -bound, bound};
  if (depthwise) {
    program.add_step(make_depthwise(t, kernel.data(), window, std::move(finish)), {x.number, y.number});
  } else {
    static const Tensor none;
    std::vector<int> used{x.number, y.number};
    const Tensor* list = &none;
    if (t.c % 4 == 0 && t.planes == 1 && t.zero == 0) {
      const int columns = t.w + t.left + t.right;
      Tensor events;
      events.h = t.h + t.top + t.bottom, events.w = 1, events.c = 2 * (columns * (t.c / 4) + columns + 1);
      used.push_back(program.add_tensor(events));
      list = &program.tensor(used.back());
    }
    program.add_step(make_convolution(t, kernel.data(), window, *list, program.new_paths(), std::move(finish)), used);
  }
  for (int n = 0; n < samples; ++n)
    for (int i = 0; i < h; ++i)
      for (int j = 0; j < w; ++j)
        for (int f = 0; f < filters; ++f) {
          std::int64_t sum = 0;
          for (int ky = 0; ky < kh; ++ky)
            for (int kx = 0; kx < kw; ++kx)
              for (int c = depthwise ? f : 0; c < (depthwise ? f + 1 : t.c); ++c) {
                const int row = i * window.stride_h + ky - padded, column = j * window.stride_w + kx - padded;
                const std::size_t tap = std::size_t(ky) * kw + kx;
                const std::int32_t weight = depthwise ? kernel[tap * t.c + c] : kernel[(tap * t.c + c) * filters + f];
                if (row >= 0 && column >= 0) sum += std::int64_t{weight} * value(n, row, column, c);
              }
          y.image.values.push_back(static_cast<std::int32_t>(stage(sum, f)));
        }
  return y;
}

// Whether the program of this seed gives what plain loops give.
bool check(std::uint64_t seed) {
  Random random(seed);
  const int samples = pick(random, 1, 6), padded = pick(random, 0, 1);
  const auto [low, high] = one_of<std::pair<int, int>>(random, {{0, 1}, {0, 255}, {-128, 127}, {0, 65535}, {-1000, 70000}, {-(1 << 22), 1 << 22}});
  Tensor t = tensor_for(pick(random, 1, 9), pick(random, 1, 9), one_of(random, {1, 3, 4, 8, 17, 33, 64, 70, 132}), low, high);
  t.top = t.left = padded, t.counter = 0;
  Program program;
  Made x{program.add_tensor(t), low, high, {samples, t.h, t.w, t.c, {}}};
  const int density = one_of(random, {0, 5, 50, 100});
  for (int i = 0; i < samples * t.h * t.w * t.c; ++i)
    x.image.values.push_back(pick(random, 1, 100) <= density ? pick(random, low, high) : 0);
  Made y = convolve(random, program, x, [&](int n, int i, int j, int c) { return x.image.at(n, i, j, c); }, padded, samples);
  if (y.number < 0) return true;
  std::vector<Made> kept{y};
  Made z = convolve(random, program, y, [&](int n, int i, int j, int c) { return y.image.at(n, i, j, c); }, 0, samples);
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
    const auto counts = program.run({{x.image.values.data(), 4, true, false}}, arrays, samples, pick(random, 1, 4), true);
    const auto events = x.image.values.size() - std::count(x.image.values.begin(), x.image.values.end(), 0);
    if (counts.at(0) != static_cast<std::int64_t>(events)) return false;
    for (std::size_t i = 0; i < kept.size(); ++i)
      if (got[i] != kept[i].image.values) return false;
  }
  return true;
}

// The same for attention and normalisation, as spica/semantics/primitives.py has them.
bool check_tokens(std::uint64_t seed) {
  Random random(seed);
  const int samples = pick(random, 1, 4), tokens = pick(random, 1, 40), heads = pick(random, 1, 3), width = one_of(random, {1, 5, 16, 20});
  const int channels = heads * width, multiplier = pick(random, 0, 1000), shift = pick(random, 0, 12);
  const auto [low, high] = one_of<std::pair<int, int>>(random, {{0, 1}, {0, 255}, {-128, 127}});
  Program program;
  std::vector<int> inputs;
  std::vector<std::vector<std::int32_t>> given(3), got(2), wanted(2);
  for (auto& values : given) {
    inputs.push_back(program.add_tensor(tensor_for(1, tokens, channels, low, high)));
    for (int i = 0; i < samples * tokens * channels; ++i) values.push_back(pick(random, low, high));
  }
  const std::int64_t reach = std::int64_t{channels} << 8, mixed = (1024 + tokens) * std::max(-low, high);
  const Stage stage = random_stage(random, channels);
  const Stage plain{channels, {}, {}, {}, {}, 62, 32, false, 0, 0};
  const auto y = program.add_tensor(tensor_for(1, tokens, channels, stage.low, stage.high));
  const auto z = program.add_tensor(tensor_for(1, tokens, channels, -reach, reach));
  const auto tensor = [&](int i) -> const Tensor& { return program.tensor(i); };
  program.add_step(make_attend(tensor(inputs[0]), tensor(inputs[1]), tensor(inputs[2]), heads, multiplier, shift,
                               {tensor(y), stage, -mixed, mixed}), {inputs[0], inputs[1], inputs[2], y});
  program.add_step(make_normalise(tensor(inputs[0]), {tensor(z), plain, -reach, reach}), {inputs[0], z});
  for (int n = 0; n < samples; ++n)
    for (int i = 0; i < tokens; ++i) {
      const auto row = [&](int which, int token) { return given[which].data() + (std::ptrdiff_t{n} * tokens + token) * channels; };
      for (int head = 0; head < heads; ++head) {
        std::vector<std::int64_t> powers(tokens);
        for (int j = 0; j < tokens; ++j) {
          for (int c = head * width; c < (head + 1) * width; ++c) powers[j] += std::int64_t{row(0, i)[c]} * row(1, j)[c];
          powers[j] = (powers[j] * multiplier) >> shift;
        }
        const std::int64_t top = *std::max_element(powers.begin(), powers.end());
        std::int64_t total = 0;
        for (auto& p : powers) {
          const std::int64_t below = std::min<std::int64_t>(top - p, 20 << 8);
          total += p = ((512 - below % 256) * 64) >> (below / 256);
        }
        for (int c = head * width; c < (head + 1) * width; ++c) {
          std::int64_t sum = 0;
          for (int j = 0; j < tokens; ++j) sum += ((powers[j] << 11) + total) / (2 * total) * row(2, j)[c];
          wanted[0].push_back(static_cast<std::int32_t>(stage(sum, c)));
        }
      }
      std::int64_t sum = 0, apart = 0;
      for (int c = 0; c < channels; ++c) sum += row(0, i)[c];
      for (int c = 0; c < channels; ++c) apart += std::abs(std::int64_t{channels} * row(0, i)[c] - sum);
      const std::int64_t deviation = std::max<std::int64_t>(apart / channels, 1);
      for (int c = 0; c < channels; ++c) {
        const std::int64_t centred = (std::int64_t{channels} * row(0, i)[c] - sum) * 256;
        wanted[1].push_back(static_cast<std::int32_t>(centred / deviation - (centred % deviation < 0)));
      }
    }
  program.finalize(inputs, {y, z}, std::vector<Real>(2));
  std::vector<Array> in, out;
  for (auto& values : given) in.push_back({values.data(), 4, true, false});
  for (std::size_t i = 0; i < got.size(); ++i) {
    got[i].resize(wanted[i].size());
    out.push_back({got[i].data(), 4, true, false});
  }
  program.run(in, out, samples, pick(random, 1, 4), false);
  return got == wanted;
}

// The same for recurrences, as arithmetic.turn has them.
bool check_recurrence(std::uint64_t seed) {
  Random random(seed);
  const int samples = pick(random, 1, 4), steps = pick(random, 1, 9), channels = one_of(random, {1, 5, 33});
  const int low = -(1 << 15), high = (1 << 15) - 1, wide = 1 << 27, bits = one_of(random, {16, 31});
  Program program;
  const int x = program.add_tensor(tensor_for(1, steps, channels, -wide, wide));
  const auto state = [&] { return program.add_tensor(tensor_for(1, 1, channels, low, high)); };
  const int real = state(), imaginary = state(), y = program.add_tensor(tensor_for(steps, channels, 2, low, high));
  const int real_after = state(), imaginary_after = state();
  Recurrence r{{}, {}, random_stage(random, channels), random_stage(random, channels), bits};
  r.leave.low = low, r.leave.high = high;
  for (int c = 0; c < channels; ++c) r.real.push_back(pick(random, low, high)), r.imaginary.push_back(pick(random, low, high));
  const auto tensor = [&](int i) -> const Tensor& { return program.tensor(i); };
  program.add_step(make_recurrence(tensor(x), {tensor(real), tensor(imaginary)}, tensor(y),
                                   {tensor(real_after), tensor(imaginary_after)}, r),
                   {x, real, imaginary, y, real_after, imaginary_after});
  std::vector<std::vector<std::int32_t>> given(3), wanted(3), got(3);
  for (int i = 0; i < samples * steps * channels; ++i) given[0].push_back(pick(random, -wide, wide));
  for (int i = 0; i < samples * channels; ++i) given[1].push_back(pick(random, low, high)), given[2].push_back(pick(random, low, high));
  const auto sat = [&](std::int64_t v) { return std::clamp<std::int64_t>(v, -(std::int64_t{1} << bits), (std::int64_t{1} << bits) - 1); };
  wanted[1] = given[1], wanted[2] = given[2];
  for (int n = 0; n < samples; ++n)
    for (int t = 0; t < steps; ++t)
      for (int c = 0; c < channels; ++c) {
        const std::int64_t re = wanted[1][n * channels + c], im = wanted[2][n * channels + c];
        const std::int64_t arriving = r.arrive(given[0][(n * steps + t) * channels + c], c);
        const std::int64_t kept = sat(sat(re * r.real[c]) - sat(im * r.imaginary[c]));
        const std::int64_t crossed = sat(re * r.imaginary[c]) + sat(im * r.real[c]);
        wanted[0].push_back(wanted[1][n * channels + c] = static_cast<std::int32_t>(r.leave(sat(kept + arriving), c)));
        wanted[0].push_back(wanted[2][n * channels + c] = static_cast<std::int32_t>(r.leave(sat(crossed), c)));
      }
  program.finalize({x, real, imaginary}, {y, real_after, imaginary_after}, std::vector<Real>(3));
  std::vector<Array> in, out;
  for (std::size_t i = 0; i < 3; ++i) {
    got[i].resize(wanted[i].size());
    in.push_back({given[i].data(), 4, true, false});
    out.push_back({got[i].data(), 4, true, false});
  }
  program.run(in, out, samples, pick(random, 1, 4), false);
  return got == wanted;
}

bool check_all(std::uint64_t seed) { return check(seed) && check_tokens(seed) && check_recurrence(seed); }

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
      std::printf("%s: the program of seed %llu differs from plain loops\n", spica::isa().name, static_cast<unsigned long long>(seed));
      return 1;
    }
  std::printf("%s: %llu programs give what plain loops give\n", spica::isa().name, static_cast<unsigned long long>(programs));
  return 0;
}
#endif

// Sums of products of weights, of two tensors, of pixels; and what a table says.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include "sums.hpp"

namespace spica {
namespace {

// Byte planes of weights, lowest first; the highest is signed.
int weight_planes(const std::int16_t* weights, std::int64_t size) {
  const auto [low, high] = std::minmax_element(weights, weights + size);
  if (size == 0 || (*low >= -128 && *high <= 127)) return 1;
  if (*low < -32640 || *high > 32639) throw std::invalid_argument("weights do not fit two bytes");
  return 2;
}

std::int8_t weight_plane(std::int32_t weight, int plane, int planes) {
  const auto low = static_cast<std::int8_t>(weight & 0xff);
  if (planes == 1) return static_cast<std::int8_t>(weight);
  return plane == 0 ? low : static_cast<std::int8_t>((weight - low) >> 8);
}

// Products of all planes of x and of the weights, highest first.
std::vector<Term> horner(const Tensor& x, int planes, std::ptrdiff_t weight_plane_bytes) {
  std::vector<Term> terms;
  int last = x.planes + planes - 2;
  for (int power = last; power >= 0; --power)
    for (int wp = planes; wp-- > 0;) {
      const int xp = power - wp;
      if (xp < 0 || xp >= x.planes) continue;
      // Shifts of more than a byte do not occur: every power has a term.
      terms.push_back({last - power, xp * x.plane(), wp * weight_plane_bytes});
      last = power;
    }
  return terms;
}

enum class Path { automatic, dense, events };

// SPICA_PATH (dense, events) takes the choice away, for measurements.
Path asked_path() {
  const char* asked = std::getenv("SPICA_PATH");
  const std::string_view path = asked ? asked : "";
  return path == "dense" ? Path::dense : path == "events" ? Path::events : Path::automatic;
}

// Below this share of non-zero groups of channels the event path is faster: the more so the more filters each event
// has to go to. Measured with benchmarks/engine/layers.py.
double event_share(int vectors) { return std::min(0.45, 0.075 * vectors); }
constexpr int share_probes = 256;

class Convolution final : public Sums {
 public:
  Convolution(const Tensor& x, const std::int16_t* kernel, Window window, const Tensor& list, Paths& paths, Finish finish)
      : Sums(std::move(finish), block_vectors * isa().width, isa().width, std::ptrdiff_t{window.kh} * window.kw * x.c * finish.y.c),
        x_(x),
        window_(window),
        list_(list),
        paths_(paths) {
    const int kh = window.kh, kw = window.kw, channels = x.c, filters = y_.c;
    const int row = kw * channels;  // bytes of a window's row
    filters_.rows = kh;
    filters_.groups = round_up((row + 3) / 4, isa().group_round);
    filters_.vectors = (filters + isa().width - 1) / isa().width;
    filters_.vector_bytes = isa().vector_bytes;
    filters_.planes = weight_planes(kernel, std::int64_t{kh} * row * filters);
    filters_.data.resize(filters_.plane_bytes(filters_.vectors) * filters_.planes);
    const std::size_t padded = std::size_t(filters_.vectors) * isa().width;
    start_.resize(padded);
    if (has_near()) near_start_.resize(padded);
    if (wide()) no_start_.resize(padded), wide_start_.resize(filters);
    terms_ = horner(x, filters_.planes, filters_.plane_bytes(1));
    std::vector<std::int64_t> total(filters);
    const std::int16_t* weight = kernel;
    for (int ky = 0; ky < kh; ++ky)
      for (int position = 0; position < row; ++position)
        for (int f = 0; f < filters; ++f, ++weight) {
          total[f] += *weight;
          const int vector = f / isa().width, block = vector / block_vectors * block_vectors;
          const int block_size = std::min(block_vectors, filters_.vectors - block);
          for (int plane = 0; plane < filters_.planes; ++plane) {
            std::int8_t* to = filters_.data.data() + filters_.plane_bytes(block) * filters_.planes +
                              filters_.plane_bytes(block_size) * plane +
                              ((std::ptrdiff_t{ky} * filters_.groups + position / 4) * block_size + vector - block) *
                                  filters_.vector_bytes;
            isa().pack(to, f % isa().width, position % 4, weight_plane(*weight, plane, filters_.planes));
          }
        }
    for (int f = 0; f < filters; ++f) {
      start_[f] = static_cast<std::int32_t>(total[f] * x.zero);  // wraps, like the sums
      if (wide()) wide_start_[f] = total[f] * x.zero;
      if (has_near()) near_start_[f] = static_cast<std::int32_t>(total[f] * (x.zero + (std::int64_t{near_top} << 16)));
    }
  }

  bool prepares(const Frame& frame) const override {
    static const Path asked = asked_path();
    if (list_.c == 0 || terms_.size() > 1 || wide() || asked == Path::dense) return false;
    return asked == Path::events || share_of_groups(frame) < event_share(filters_.vectors * isa().width / 16);
  }

  void prepare(const Frame& frame, int part, int parts) const override {
    const int rows = x_.h + x_.top + x_.bottom;
    for (std::int64_t unit = part; unit < std::int64_t{frame.samples} * rows; unit += parts) {
      const int n = static_cast<int>(unit / rows), y = static_cast<int>(unit % rows);
      std::uint16_t* list = list_of(frame, n) + y * list_row();
      isa().list(frame.at(x_, n) + y * x_.row(), columns(), x_.c / 4, list, list + columns() * (x_.c / 4));
    }
  }

  void run(const Frame& frame, Worker& worker, bool prepared, int part, int parts) const override {
    if (part == 0) ++(prepared ? paths_.events : paths_.dense);
    Sums::run(frame, worker, prepared, part, parts);
  }

 protected:
  void sums(const Frame& frame, Worker& worker, bool prepared, std::int64_t pixel, int count, int channel, int width,
            std::int32_t* sums, int stride) const override {
    find_windows(frame, worker, prepared, pixel, count);
    const int groups = x_.c / 4;
    if (!prepared) {
      const int skipped = near(worker, count);
      const Aligned<std::int32_t>& start = skipped ? near_start_ : start_;
      return multiply(worker, count, channel, width, terms_.data() + skipped, static_cast<int>(terms_.size()) - skipped, start, sums, stride);
    }
    const Windows windows{worker.pixels.data(), count, x_.row(), nullptr, 0, start_.data(), sums, stride};
    const int first = channel / isa().width, last = (channel + width + isa().width - 1) / isa().width;
    const Events events{worker.lists.data(), list_row(), list_row(), groups, window_.kw};
    isa().events(filters_, windows, events, first, last);
  }

  void wide_sums(const Frame& frame, Worker& worker, std::int64_t pixel, int count, int channel, int width,
                 int stride) const override {
    find_windows(frame, worker, false, pixel, count);
    int power = x_.planes + filters_.planes - 2;
    for (const Term& term : terms_) {
      power -= term.shift;
      const Term alone{0, term.x, term.weights};
      multiply(worker, count, channel, width, &alone, 1, no_start_, worker.sums.data(), stride);
      for (std::ptrdiff_t i = 0; i < std::ptrdiff_t{count} * stride; ++i)
        worker.wide[i] += worker.sums[i] * (std::int64_t{1} << (8 * power));
    }
    for (int i = 0; i < count; ++i)
      for (int c = 0; c < width; ++c) worker.wide[std::ptrdiff_t{i} * stride + c] += wide_start_[channel + c];
  }

 private:
  void multiply(const Worker& worker, int count, int channel, int width, const Term* terms, int term_count,
                const Aligned<std::int32_t>& start, std::int32_t* sums, int stride) const {
    const Windows windows{worker.pixels.data(), count, x_.row(), terms, term_count, start.data(), sums, stride};
    isa().dense(filters_, windows, channel / isa().width, (channel + width + isa().width - 1) / isa().width);
  }

  // How many of the terms, from the first, these windows do without. In a tensor of three planes most values lie near
  // zero, where the highest plane is the same everywhere: what it adds is then known, and it need not be multiplied.
  int near(const Worker& worker, int count) const {
    if (!has_near()) return 0;
    const std::ptrdiff_t bytes = std::ptrdiff_t{window_.kw} * x_.c;
    for (int i = 0; i < count; ++i)
      if (isa().count(worker.pixels[i] + 2 * x_.plane(), bytes, near_top) != 0) return 0;
    return 1;
  }

  bool has_near() const { return x_.planes == 3 && filters_.planes == 1 && x_.zero == near_zero && filters_.rows == 1; }

  // Where the windows of `count` output pixels begin, and their events.
  void find_windows(const Frame& frame, Worker& worker, bool prepared, std::int64_t pixel, int count) const {
    worker.pixels.resize(chunk_pixels);
    worker.lists.resize(chunk_pixels);
    const int groups = x_.c / 4;
    Cursor at(y_, pixel);
    for (int done = 0, run; done < count; done += run, at.advance(y_, run)) {
      run = at.run(y_, count - done);
      const std::ptrdiff_t row = at.row * window_.stride_h + x_.top - window_.top;
      const std::ptrdiff_t column = at.column * window_.stride_w + x_.left - window_.left;
      const std::uint8_t* first = frame.at(x_, at.sample) + row * x_.row() + column * x_.pixel();
      const std::ptrdiff_t step = window_.stride_w * x_.pixel();
      for (int i = 0; i < run; ++i) worker.pixels[done + i] = first + i * step;
      if (!prepared) continue;
      const std::uint16_t *list = list_of(frame, at.sample) + row * list_row(), *starts = list + columns() * groups + column;
      for (int i = 0; i < run; ++i) {
        const int right = i * window_.stride_w;
        worker.lists[done + i] = {list, starts + right, static_cast<int>(column + right) * groups};
      }
    }
  }

  int columns() const { return x_.w + x_.left + x_.right; }
  // A row's list: its groups, then the start of each pixel and their end.
  std::ptrdiff_t list_row() const { return columns() * (x_.c / 4) + columns() + 1; }
  std::uint16_t* list_of(const Frame& frame, int n) const { return reinterpret_cast<std::uint16_t*>(frame.at(list_, n)); }

  // Share of non-zero groups of four channels, by probes spread over the first sample.
  double share_of_groups(const Frame& frame) const {
    const std::uint8_t* data = frame.at(x_, 0);
    const std::ptrdiff_t groups = x_.bytes() / 4, step = std::max<std::ptrdiff_t>(groups / share_probes, 1) | 1;
    int seen = 0, found = 0;
    for (std::ptrdiff_t i = 0; i < groups; i += step, ++seen) {
      std::uint32_t group;
      std::memcpy(&group, data + i * 4, sizeof group);
      found += group != 0;
    }
    return static_cast<double>(found) / std::max(seen, 1);
  }

  const Tensor& x_;
  const Window window_;
  const Tensor& list_;
  Paths& paths_;
  Filters filters_;
  std::vector<Term> terms_;
  Aligned<std::int32_t> start_, near_start_, no_start_;
  std::vector<std::int64_t> wide_start_;
};

class Depthwise final : public Sums {
 public:
  Depthwise(const Tensor& x, const std::int16_t* kernel, Window window, Finish finish)
      : Sums(std::move(finish), 4 * channel_round, channel_round, 0), x_(x), window_(window) {
    const int taps = window.kh * window.kw, channels = x.c;
    padded_taps_ = round_up(taps, tap_round);
    const int blocks = (channels + channel_round - 1) / channel_round, planes = weight_planes(kernel, std::int64_t{taps} * channels);
    const std::ptrdiff_t plane_bytes = block_bytes() * blocks;
    weights_.resize(plane_bytes * planes);
    start_.resize(std::size_t(blocks) * channel_round);
    terms_ = horner(x, planes, plane_bytes);
    for (int tap = 0; tap < padded_taps_; ++tap) {
      const int ky = tap < taps ? tap / window.kw : 0, kx = tap < taps ? tap % window.kw : 0;
      taps_.push_back(static_cast<std::int32_t>(ky * x.row() + kx * x.pixel()));
      for (int c = 0; c < channels && tap < taps; ++c) {
        const std::int32_t weight = kernel[tap * channels + c];
        start_[c] = static_cast<std::int32_t>(static_cast<std::uint32_t>(start_[c]) +
                                              static_cast<std::uint32_t>(weight) * static_cast<std::uint32_t>(x.zero));
        for (int plane = 0; plane < planes; ++plane)
          weights_[plane_bytes * plane + block_bytes() * (c / channel_round) + isa().depthwise_slot(tap, c % channel_round)] =
              weight_plane(weight, plane, planes);
      }
    }
  }

 protected:
  void sums(const Frame& frame, Worker&, bool, std::int64_t pixel, int count, int channel, int width, std::int32_t* sums,
            int stride) const override {
    Cursor at(y_, pixel);
    for (int run; count > 0; count -= run, sums += std::ptrdiff_t{run} * stride, at.advance(y_, run)) {
      run = at.run(y_, count);
      const std::ptrdiff_t row = at.row * window_.stride_h + x_.top - window_.top;
      const std::ptrdiff_t column = at.column * window_.stride_w + x_.left - window_.left;
      const std::uint8_t* first = frame.at(x_, at.sample) + row * x_.row() + column * x_.pixel();
      for (int c = 0; c < width; c += channel_round)
        sum_block(first + channel + c, (channel + c) / channel_round, std::min(width - c, channel_round), {sums + c, stride, run});
    }
  }

 private:
  std::ptrdiff_t block_bytes() const { return std::ptrdiff_t{padded_taps_} * channel_round; }

  void sum_block(const std::uint8_t* x, int block, int channels, const SumRows& sums) const {
    const std::int32_t* start = start_.data() + std::ptrdiff_t{block} * channel_round;
    for (const Term& term : terms_) {
      const bool first = &term == &terms_.front(), last = &term == &terms_.back();
      if (!first)
        for (int pixel = 0; pixel < sums.pixels; ++pixel)
          for (int c = 0; c < channel_round; ++c) {
            std::int32_t& sum = sums.data[pixel * sums.stride + c];
            sum = static_cast<std::int32_t>((static_cast<std::uint32_t>(sum) << (8 * term.shift)) +
                                            (last ? static_cast<std::uint32_t>(start[c]) : 0));
          }
      isa().depthwise({x + term.x, window_.stride_w * x_.pixel(), taps_.data(), padded_taps_},
                      weights_.data() + term.weights + block * block_bytes(), channels,
                      first ? (last ? start : zeros_.data()) : nullptr, sums);
    }
  }

  const Tensor& x_;
  const Window window_;
  int padded_taps_;
  std::vector<std::int32_t> taps_;
  Aligned<std::int32_t> start_, zeros_ = Aligned<std::int32_t>(channel_round);
  Aligned<std::int8_t> weights_;
  std::vector<Term> terms_;
};

// Sums that come from the same pixel of two tensors.
class Add final : public Sums {
 public:
  Add(const Tensor& a, const Tensor& b, const std::vector<int>& shift_a, const std::vector<int>& shift_b, Finish finish)
      : Sums(std::move(finish), 4 * channel_round, 16, 0), a_(a), b_(b) {
    for (int shift : shift_a) factor_a_.push_back(1 << shift);
    for (int shift : shift_b) factor_b_.push_back(1 << shift);
    for (auto* factors : {&factor_a_, &factor_b_}) factors->resize(round_up(a.c, channel_round));
  }

 protected:
  void sums(const Frame& frame, Worker&, bool, std::int64_t pixel, int count, int channel, int width, std::int32_t* sums,
            int stride) const override {
    Cursor at(y_, pixel);
    for (int run; count > 0; count -= run, sums += std::ptrdiff_t{run} * stride, at.advance(y_, run)) {
      run = at.run(y_, count);
      const std::uint8_t* a = frame.origin(a_, at.sample) + at.row * a_.row() + at.column * a_.pixel();
      const std::uint8_t* b = frame.origin(b_, at.sample) + at.row * b_.row() + at.column * b_.pixel();
      const std::int32_t *factor_a = factor_a_.data() + channel, *factor_b = factor_b_.data() + channel;
      if (a_.planes == 1 && b_.planes == 1) {
        isa().add({a + channel, a_.pixel(), a_.zero, factor_a}, {b + channel, b_.pixel(), b_.zero, factor_b}, width, {sums, stride, run});
        continue;
      }
      for (int i = 0; i < run; ++i)
        for (int c = 0; c < width; ++c)
          sums[i * stride + c] = decode(a_, a + i * a_.pixel(), channel + c) * factor_a[c] + decode(b_, b + i * b_.pixel(), channel + c) * factor_b[c];
    }
  }

 private:
  const Tensor &a_, &b_;
  Aligned<std::int32_t> factor_a_, factor_b_;
};

class Map final : public Sums {
 public:
  Map(const Tensor& x, std::vector<std::int32_t> table, std::int32_t first, Finish finish)
      : Sums(std::move(finish), 4 * channel_round, channel_round, 0), x_(x), table_(std::move(table)), first_(first) {}

 protected:
  void sums(const Frame& frame, Worker&, bool, std::int64_t pixel, int count, int channel, int width, std::int32_t* sums,
            int stride) const override {
    Cursor at(y_, pixel);
    for (int i = 0; i < count; ++i, sums += stride, at.advance(y_, 1)) {
      const std::uint8_t* x = frame.origin(x_, at.sample) + at.row * x_.row() + at.column * x_.pixel();
      decode_to(sums, 1, x_, x, channel, width);
      if (table_.empty()) continue;
      for (int c = 0; c < width; ++c) sums[c] = table_[sums[c] - first_];
    }
  }

 private:
  const Tensor& x_;
  const std::vector<std::int32_t> table_;
  const std::int32_t first_;
};

// The sum over a sample's pixels may pass 32 bits, and there are few of them: in 64 bits, then.
class SumOfPixels final : public Step {
 public:
  SumOfPixels(const Tensor& x, Finish finish) : x_(x), y_(finish.y), stage_(std::move(finish.stage)) {}

  void run(const Frame& frame, Worker& worker, bool, int part, int parts) const override {
    fill_border(frame, y_, part, parts);
    for (int n = 0; n < frame.samples; ++n) {
      const int first = x_.c * part / parts, last = x_.c * (part + 1) / parts;
      std::uint8_t* y = frame.origin(y_, n);
      for (int c = first; c < last; c += chunk) sum(frame, n, y, c, std::min(chunk, last - c));
      if (worker.counting && y_.counter >= 0) worker.counts[y_.counter] += count_events(y_, y, 1, first, last - first);
    }
  }

 private:
  static constexpr int chunk = 64;

  void sum(const Frame& frame, int n, std::uint8_t* y, int first, int count) const {
    std::int64_t sums[chunk] = {};
    for (int row = 0; row < x_.h; ++row) {
      const std::uint8_t* x = frame.origin(x_, n) + row * x_.row();
      if (x_.planes == 1) {
        isa().sum_bytes(x + first, x_.w, x_.pixel(), count, x_.zero, sums);
        continue;
      }
      if (x_.planes == 0) {
        isa().sum_words(x + first * x_.item(), x_.w, x_.pixel(), count, sums);
        continue;
      }
      for (int column = 0; column < x_.w; ++column, x += x_.pixel())
        for (int c = 0; c < count; ++c) sums[c] += decode(x_, x, first + c);
    }
    for (int c = 0; c < count; ++c) encode(y_, y, first + c, static_cast<std::int32_t>(stage_(sums[c], first + c)));
  }

  const Tensor &x_, &y_;
  const Stage stage_;
};

// No window may reach beyond the border.
void check_windows(const Tensor& x, const Tensor& y, const Window& w) {
  const auto inside = [](int out, int step, int size, int before, int in, int border_before, int border_after) {
    return step > 0 && size > 0 && before >= 0 && before <= border_before &&
           std::int64_t{out - 1} * step + size - before <= std::int64_t{in} + border_after;
  };
  require(x.planes > 0, "windows slide over byte planes only");
  require(inside(y.h, w.stride_h, w.kh, w.top, x.h, x.top, x.bottom) && inside(y.w, w.stride_w, w.kw, w.left, x.w, x.left, x.right),
          "a window reaches beyond its tensor");
}

}  // namespace

StepPointer make_convolution(const Tensor& x, const std::int16_t* kernel, Window window, const Tensor& list, Paths& paths, Finish finish) {
  check_windows(x, finish.y, window);
  return std::make_unique<Convolution>(x, kernel, window, list, paths, std::move(finish));
}

StepPointer make_depthwise(const Tensor& x, const std::int16_t* kernel, Window window, Finish finish) {
  check_windows(x, finish.y, window);
  require(fits(finish), "sums do not fit 32 bits");
  require(x.c == finish.y.c, "a depthwise convolution keeps its channels");
  return std::make_unique<Depthwise>(x, kernel, window, std::move(finish));
}

StepPointer make_add(const Tensor& a, const Tensor& b, const std::vector<int>& shift_a, const std::vector<int>& shift_b,
                     Finish finish) {
  require(fits(finish), "sums do not fit 32 bits");
  require(same_pixels(a, finish.y) && same_pixels(b, finish.y), "tensors of different shapes cannot be added");
  require(static_cast<int>(shift_a.size()) == a.c && static_cast<int>(shift_b.size()) == b.c, "a shift is needed for each channel");
  return std::make_unique<Add>(a, b, shift_a, shift_b, std::move(finish));
}

StepPointer make_map(const Tensor& x, std::vector<std::int32_t> table, std::int32_t first, Finish finish) {
  require(fits(finish), "sums do not fit 32 bits");
  require(same_pixels(x, finish.y), "a map keeps the shape");
  return std::make_unique<Map>(x, std::move(table), first, std::move(finish));
}

StepPointer make_sum_of_pixels(const Tensor& x, Finish finish) {
  require(finish.y.h == 1 && finish.y.w == 1 && finish.y.c == x.c, "the sum of all pixels is one pixel");
  return std::make_unique<SumOfPixels>(x, std::move(finish));
}

}  // namespace spica

// Convolution, over all bytes of its input or over its events alone.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "accumulators.hpp"
#include "ops.hpp"
#include "window.hpp"

namespace spica {
namespace {

enum class Path { automatic, dense, events };

// Returns the path that SPICA_PATH (dense, events) asks for; it takes the choice away, for measurements.
Path asked_path() {
  const char* asked = std::getenv("SPICA_PATH");
  const std::string_view path = asked ? asked : "";
  return path == "dense" ? Path::dense : path == "events" ? Path::events : Path::automatic;
}

// Returns the share of non-zero groups of channels below which the event path is faster: the more filters each event
// has to go to, the higher. Measured with benchmarks/engine/layers.py.
double event_share(int vectors) { return std::min(0.45, 0.075 * vectors); }
constexpr int share_probes = 256;

class Conv final : public AccumulatorOp {
 public:
  Conv(const Tensor& x, WeightsView kernel, Window window, const Tensor& list, PathCounts& paths, Output output)
      : AccumulatorOp(std::move(output), block_vectors * isa().width, isa().width,
                      std::ptrdiff_t{window.kh} * window.kw * x.c * output.y.c),
        x_(x),
        window_(window),
        list_(list),
        paths_(paths) {
    PackedConv packed = pack_conv(isa(), kernel, window.kh, window.kw * x.c, y_.c);
    filters_ = std::move(packed.filters);
    terms_ = horner(x, filters_.planes, filters_.plane_bytes(1));
    const std::size_t padded = std::size_t(filters_.vectors) * isa().width;
    start_.resize(padded);
    if (has_near()) near_start_.resize(padded);
    if (wide()) no_start_.resize(padded), wide_start_.resize(y_.c);
    for (int f = 0; f < y_.c; ++f) {
      const std::int64_t total = packed.totals[f];
      start_[f] = static_cast<std::int32_t>(total * x.zero);  // wraps, like the accumulators
      if (wide()) wide_start_[f] = total * x.zero;
      if (has_near()) near_start_[f] = static_cast<std::int32_t>(total * (x.zero + (std::int64_t{near_top} << 16)));
    }
  }

  bool prepares(const Frame& frame) const override {
    static const Path asked = asked_path();
    if (list_.c == 0 || terms_.size() > 1 || wide() || asked == Path::dense) return false;
    return asked == Path::events || share_of_groups(frame) < event_share(filters_.vectors * isa().width / 16);
  }

  // Lists the events of the input.
  void prepare(const Frame& frame, int part, int parts) const override {
    const int rows = x_.h + x_.top + x_.bottom;
    for (std::int64_t unit = part; unit < std::int64_t{frame.samples} * rows; unit += parts) {
      const int n = static_cast<int>(unit / rows), y = static_cast<int>(unit % rows);
      std::uint16_t* list = list_of(frame, n) + y * list_row();
      isa().list_events(frame.at(x_, n) + y * x_.row(), columns(), x_.c / 4, list, list + columns() * (x_.c / 4));
    }
  }

  void run(const Frame& frame, Worker& worker, bool prepared, int part, int parts) const override {
    if (part == 0) ++(prepared ? paths_.events : paths_.dense);
    AccumulatorOp::run(frame, worker, prepared, part, parts);
  }

 protected:
  void accumulate(const Frame& frame, Worker& worker, bool prepared, const Tile& tile,
                  std::int32_t* acc) const override {
    find_windows(frame, worker, prepared, tile);
    if (!prepared) {
      const int skipped = near(worker, tile.count);
      const Aligned<std::int32_t>& start = skipped ? near_start_ : start_;
      return multiply(worker, tile, terms_.data() + skipped, static_cast<int>(terms_.size()) - skipped, start, acc);
    }
    const Windows windows{worker.pixels.data(), tile.count, x_.row(), nullptr, 0, start_.data(), acc, tile.stride};
    const Events events{worker.lists.data(), list_row(), list_row(), x_.c / 4, window_.kw};
    isa().conv_events(filters_, windows, events, first_vector(tile), last_vector(tile));
  }

  void accumulate_wide(const Frame& frame, Worker& worker, const Tile& tile) const override {
    find_windows(frame, worker, false, tile);
    int power = x_.planes + filters_.planes - 2;
    for (const Term& term : terms_) {
      power -= term.shift;
      const Term alone{0, term.x, term.weights};
      multiply(worker, tile, &alone, 1, no_start_, worker.acc.data());
      for (std::ptrdiff_t i = 0; i < std::ptrdiff_t{tile.count} * tile.stride; ++i)
        worker.wide_acc[i] += worker.acc[i] * (std::int64_t{1} << (8 * power));
    }
    for (int i = 0; i < tile.count; ++i)
      for (int c = 0; c < tile.width; ++c)
        worker.wide_acc[std::ptrdiff_t{i} * tile.stride + c] += wide_start_[tile.channel + c];
  }

 private:
  static int first_vector(const Tile& tile) { return tile.channel / isa().width; }
  static int last_vector(const Tile& tile) { return (tile.channel + tile.width + isa().width - 1) / isa().width; }

  void multiply(const Worker& worker, const Tile& tile, const Term* terms, int term_count,
                const Aligned<std::int32_t>& start, std::int32_t* acc) const {
    const std::uint8_t* const* pixels = worker.pixels.data();
    const Windows windows{pixels, tile.count, x_.row(), terms, term_count, start.data(), acc, tile.stride};
    isa().conv_dense(filters_, windows, first_vector(tile), last_vector(tile));
  }

  // Returns how many terms, from the first on, these windows do without. In a tensor of three planes most values lie
  // near zero, where the highest plane is the same everywhere: its products are then known and need not be computed.
  int near(const Worker& worker, int count) const {
    if (!has_near()) return 0;
    const std::ptrdiff_t bytes = std::ptrdiff_t{window_.kw} * x_.c;
    for (int i = 0; i < count; ++i)
      if (isa().count(worker.pixels[i] + 2 * x_.plane(), bytes, near_top) != 0) return 0;
    return 1;
  }

  bool has_near() const { return x_.planes == 3 && filters_.planes == 1 && x_.zero == near_zero && filters_.rows == 1; }

  // Finds where the windows of a tile's pixels begin and, if `prepared`, their events.
  void find_windows(const Frame& frame, Worker& worker, bool prepared, const Tile& tile) const {
    worker.pixels.resize(tile_most_pixels);
    worker.lists.resize(tile_most_pixels);
    const int groups = x_.c / 4;
    Cursor at(y_, tile.pixel);
    for (int done = 0, run; done < tile.count; done += run, at.advance(y_, run)) {
      run = at.run(y_, tile.count - done);
      const std::ptrdiff_t row = at.row * window_.stride_h + x_.top - window_.top;
      const std::ptrdiff_t column = at.column * window_.stride_w + x_.left - window_.left;
      const std::uint8_t* first = frame.at(x_, at.sample) + row * x_.row() + column * x_.pixel();
      const std::ptrdiff_t step = window_.stride_w * x_.pixel();
      for (int i = 0; i < run; ++i) worker.pixels[done + i] = first + i * step;
      if (!prepared) continue;
      const std::uint16_t* list = list_of(frame, at.sample) + row * list_row();
      const std::uint16_t* starts = list + columns() * groups + column;
      for (int i = 0; i < run; ++i) {
        const int right = i * window_.stride_w;
        worker.lists[done + i] = {list, starts + right, static_cast<int>(column + right) * groups};
      }
    }
  }

  int columns() const { return x_.w + x_.left + x_.right; }
  // Returns the length of a row's list: its groups, then the start of each pixel and their end.
  std::ptrdiff_t list_row() const { return columns() * (x_.c / 4) + columns() + 1; }
  std::uint16_t* list_of(const Frame& frame, int n) const {
    return reinterpret_cast<std::uint16_t*>(frame.at(list_, n));
  }

  // Estimates the share of non-zero groups of four channels by probes spread over the first sample.
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
  PathCounts& paths_;
  PackedFilters filters_;
  std::vector<Term> terms_;
  Aligned<std::int32_t> start_, near_start_, no_start_;
  std::vector<std::int64_t> wide_start_;
};

}  // namespace

OpPointer make_conv(const Tensor& x, WeightsView kernel, Window window, const Tensor& list, PathCounts& paths,
                    Output output) {
  check_windows(x, output.y, window);
  return std::make_unique<Conv>(x, kernel, window, list, paths, std::move(output));
}

}  // namespace spica

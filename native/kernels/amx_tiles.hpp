// The dense micro-kernel of AMX tiles: 16 pixels times 16 filters of 64 bytes each in one instruction.
//
// The file that includes this one provides the instructions (_tile_loadd, _tile_dpbusd, ...), in silicon or emulated.
// A row of the window is padded to whole tiles with weights of zero, so a tile may read what lies beyond it.
#pragma once

#include <algorithm>
#include <cstring>

#include "isa.hpp"

namespace spica {
namespace {

inline constexpr int tile_rows = 16, tile_bytes = 64, tile_groups = 16, tile_filters = 16;

struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {};
  std::uint8_t rows[16] = {};
  TileConfig() {
    std::fill(bytes, bytes + 8, static_cast<std::uint16_t>(tile_bytes));
    std::fill(rows, rows + 8, static_cast<std::uint8_t>(tile_rows));
  }
};

// The windows of 16 pixels as a tile reads them: at even distances, or copied one after the other.
struct TileRows {
  const std::uint8_t* data;
  std::ptrdiff_t pixel, row;  // bytes between pixels, and between rows of a window
};

// Pixels [first, first + 16) of `count`; beyond the last one, it stands in.
inline TileRows tile_windows(const Windows& w, const PackedFilters& f, std::ptrdiff_t plane, int first,
                             std::uint8_t* copied) {
  const auto window = [&](int i) { return w.pixels[std::min(first + i, w.count - 1)] + plane; };
  const std::ptrdiff_t step = window(1) - window(0);
  bool even = true;
  for (int i = 2; i < tile_rows; ++i) even &= window(i) - window(i - 1) == step;
  if (even) return {window(0), step, w.row};
  const std::ptrdiff_t row = std::ptrdiff_t{f.groups} * 4;
  for (int i = 0; i < tile_rows; ++i)
    for (int y = 0; y < f.rows; ++y) std::memcpy(copied + (i * f.rows + y) * row, window(i) + y * w.row, row);
  return {copied, f.rows * row, row};
}

// Multiplies 32 pixels with 32 filters for one product of planes, into `products`: four tiles of 16 x 16.
inline void tile_products(const PackedFilters& f, const TileRows (&x)[2], const std::int8_t* weights,
                          std::ptrdiff_t step, bool two_pixels, bool two_vectors,
                          std::int32_t (*products)[tile_rows][tile_filters]) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int row = 0; row < f.rows; ++row)
    for (int g = 0; g < f.groups; g += tile_groups, weights += tile_groups * step) {
      _tile_loadd(4, x[0].data + row * x[0].row + g * 4, x[0].pixel);
      _tile_loadd(6, weights, step);
      _tile_dpbusd(0, 4, 6);
      if (two_vectors) {
        _tile_loadd(7, weights + tile_bytes, step);
        _tile_dpbusd(1, 4, 7);
      }
      if (two_pixels) {
        _tile_loadd(5, x[1].data + row * x[1].row + g * 4, x[1].pixel);
        _tile_dpbusd(2, 5, 6);
        if (two_vectors) _tile_dpbusd(3, 5, 7);
      }
    }
  _tile_stored(0, products[0], tile_bytes);
  _tile_stored(1, products[1], tile_bytes);
  _tile_stored(2, products[2], tile_bytes);
  _tile_stored(3, products[3], tile_bytes);
}

// Accumulates pixels [pixel, pixel + 32) and vectors [vector, vector + 2).
inline void tile_block(const PackedFilters& f, const Windows& w, const std::int8_t* block, int block_size, int pixel,
                       int vector, bool two_vectors, std::uint8_t* copied) {
  alignas(64) std::int32_t products[4][tile_rows][tile_filters];
  const int pixels = std::min(2 * tile_rows, w.count - pixel), vectors = 1 + two_vectors;
  const std::ptrdiff_t window_bytes = std::ptrdiff_t{f.rows} * f.groups * 4;
  for (int t = 0; t < w.term_count; ++t) {
    const Term& term = w.terms[t];
    const bool first = t == 0, last = t + 1 == w.term_count, two_pixels = pixels > tile_rows;
    const TileRows lower = tile_windows(w, f, term.x, pixel, copied);
    const TileRows upper =
        two_pixels ? tile_windows(w, f, term.x, pixel + tile_rows, copied + tile_rows * window_bytes) : lower;
    tile_products(f, {lower, upper}, block + term.weights * block_size, std::ptrdiff_t{block_size} * tile_bytes,
                  two_pixels, two_vectors, products);
    for (int p = 0; p < pixels; ++p)
      for (int v = 0; v < vectors; ++v) {
        const std::int32_t* made = products[p / tile_rows * 2 + v][p % tile_rows];
        const std::int32_t* start = w.start + (vector + v) * tile_filters;
        std::int32_t* acc = w.acc + (pixel + p) * w.stride + v * tile_filters;
        for (int i = 0; i < tile_filters; ++i)
          acc[i] = static_cast<std::int32_t>((first ? 0 : static_cast<std::uint32_t>(acc[i]) << (8 * term.shift)) +
                                             static_cast<std::uint32_t>(made[i]) +
                                             (last ? static_cast<std::uint32_t>(start[i]) : 0));
      }
  }
}

inline void tile_dense(const PackedFilters& f, const Windows& w, int first, int last) {
  static const TileConfig config;
  thread_local Aligned<std::uint8_t> copied;
  copied.resize(std::size_t(2) * tile_rows * f.rows * f.groups * 4);
  _tile_loadconfig(&config);
  Windows part = w;
  for (int vector = first; vector < last;) {
    const int start = vector / block_vectors * block_vectors, block_size = std::min(block_vectors, f.vectors - start);
    const std::int8_t* block =
        f.data.data() + f.plane_bytes(start) * f.planes + std::ptrdiff_t{vector - start} * tile_bytes;
    const bool two = std::min(last, start + block_size) - vector > 1;
    for (int pixel = 0; pixel < w.count; pixel += 2 * tile_rows)
      tile_block(f, part, block, block_size, pixel, vector, two, copied.data());
    part.acc += (1 + two) * tile_filters;
    vector += 1 + two;
  }
  _tile_release();
}

}  // namespace
}  // namespace spica

// The micro-kernels of a convolution, dense and by events, for one instruction set whose vectors class V describes.
//
//   Reg                     a vector of 32-bit accumulators, one a filter
//   width, vector_bytes     filters in it, and packed bytes of their weights for one group of four bytes
//   zero, load, store, add, shift_byte
//   Bytes broadcast(p)      the four bytes at p, for every filter
//   Weights weights(p)      the packed weights at p
//   Reg dot(sum, bytes, weights)
#pragma once

#include <algorithm>

#include "isa.hpp"

namespace spica {
namespace {

inline constexpr int group_bytes = 4;

// Pixels that share the weights of K vectors while all their accumulators stay in registers.
template <class V, int K>
inline constexpr int tile_pixels = std::min(V::tile_registers / K, 12);

// Accumulates P pixels and K vectors of filters.
template <class V, int K, int P>
void dense_tile(const PackedFilters& f, const Windows& w, int pixel, const std::int8_t* block, int block_size,
                int vector) {
  typename V::Reg sum[P][K];
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 16
    for (int k = 0; k < K; ++k) sum[p][k] = V::zero();
  const std::ptrdiff_t step = std::ptrdiff_t{block_size} * V::vector_bytes;
  for (int t = 0; t < w.term_count; ++t) {
    const Term& term = w.terms[t];
    if (term.shift) {
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p)
#pragma GCC unroll 16
        for (int k = 0; k < K; ++k) sum[p][k] = V::shift_byte(sum[p][k]);
    }
    const std::int8_t* weights = block + term.weights * block_size;
    for (int row = 0; row < f.rows; ++row) {
      const std::uint8_t* x[P];
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) x[p] = w.pixels[pixel + p] + term.x + row * w.row;
      for (int g = 0; g < f.groups; ++g, weights += step) {
        // Of bytes and weights, the fewer stay in registers.
        if constexpr (P < K) {
          typename V::Bytes bytes[P];
#pragma GCC unroll 16
          for (int p = 0; p < P; ++p) bytes[p] = V::broadcast(x[p] + g * group_bytes);
#pragma GCC unroll 16
          for (int k = 0; k < K; ++k) {
            const typename V::Weights packed = V::weights(weights + k * V::vector_bytes);
#pragma GCC unroll 16
            for (int p = 0; p < P; ++p) sum[p][k] = V::dot(sum[p][k], bytes[p], packed);
          }
        } else {
          typename V::Weights packed[K];
#pragma GCC unroll 16
          for (int k = 0; k < K; ++k) packed[k] = V::weights(weights + k * V::vector_bytes);
#pragma GCC unroll 16
          for (int p = 0; p < P; ++p) {
            const typename V::Bytes bytes = V::broadcast(x[p] + g * group_bytes);
#pragma GCC unroll 16
            for (int k = 0; k < K; ++k) sum[p][k] = V::dot(sum[p][k], bytes, packed[k]);
          }
        }
      }
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 16
    for (int k = 0; k < K; ++k) {
      const int filter = (vector + k) * V::width;
      V::store(w.acc + (pixel + p) * w.stride + k * V::width, V::add(sum[p][k], V::load(w.start + filter)));
    }
}

// Calls dense_tile<K, P> for `pixels` pixels.
template <class V, int K, int P>
void dense_pixels(int pixels, const PackedFilters& f, const Windows& w, int pixel, const std::int8_t* block,
                  int block_size, int vector) {
  if constexpr (P > 0) {
    if (pixels == P) dense_tile<V, K, P>(f, w, pixel, block, block_size, vector);
    else dense_pixels<V, K, P - 1>(pixels, f, w, pixel, block, block_size, vector);
  }
}

// Accumulates all pixels and `vectors` vectors of filters.
template <class V, int K>
void dense_vectors(int vectors, const PackedFilters& f, Windows w, const std::int8_t* block, int block_size,
                   int vector) {
  if constexpr (K > 0) {
    if (vectors < K) return dense_vectors<V, K - 1>(vectors, f, w, block, block_size, vector);
    constexpr int most = tile_pixels<V, K>;
    const int tiles = (w.count + most - 1) / most;
    // Tiles of even size: a last one of one pixel would cost as much as a full one.
    for (int tile = 0; tile < tiles; ++tile) {
      const int pixel = static_cast<int>(std::int64_t{w.count} * tile / tiles);
      const int next = static_cast<int>(std::int64_t{w.count} * (tile + 1) / tiles);
      dense_pixels<V, K, most>(next - pixel, f, w, pixel, block, block_size, vector);
    }
  }
}

// Returns the packed weights of `vector`, and in `block_size` how many vectors its block has.
template <class V>
const std::int8_t* block_of(const PackedFilters& f, int vector, int& block_size) {
  const int first = vector / block_vectors * block_vectors;
  block_size = std::min(block_vectors, f.vectors - first);
  return f.data.data() + f.plane_bytes(first) * f.planes + std::ptrdiff_t{vector - first} * V::vector_bytes;
}

template <class V>
void conv_dense(const PackedFilters& f, const Windows& w, int first, int last) {
  Windows part = w;
  for (int vector = first; vector < last;) {
    int block_size;
    const std::int8_t* block = block_of<V>(f, vector, block_size);
    const int vectors = std::min({V::tile_vectors, last - vector, block_size - vector % block_vectors});
    dense_vectors<V, V::tile_vectors>(vectors, f, part, block, block_size, vector);
    part.acc += vectors * V::width;
    vector += vectors;
  }
}

// Bytes of weights that stay in the nearest cache while pixels go by, and how many pixels go by at a time.
inline constexpr int near_bytes = 48 * 1024;
inline constexpr int event_pixels = 48;

// Accumulates only the groups of bytes that are not zero. Pixels share no weights in registers here, so they share them
// in the nearest cache: all pixels take some columns of the window's row before the next columns.
template <class V, int K>
void event_vectors(int vectors, const PackedFilters& f, const Windows& w, const Events& e, const std::int8_t* block,
                   int block_size, int vector) {
  if constexpr (K > 0) {
    if (vectors < K) return event_vectors<V, K - 1>(vectors, f, w, e, block, block_size, vector);
    const std::ptrdiff_t step = std::ptrdiff_t{block_size} * V::vector_bytes;
    const int columns = std::clamp(near_bytes / (e.groups * K * V::vector_bytes), 1, e.columns);
    for (int p = 0; p < w.count; ++p)
      for (int k = 0; k < K; ++k)
        V::store(w.acc + p * w.stride + k * V::width, V::load(w.start + (vector + k) * V::width));
    for (int row = 0; row < f.rows; ++row, block += f.groups * step)
      for (int column = 0; column < e.columns; column += columns) {
        const int next = std::min(column + columns, e.columns);
        for (int p = 0; p < w.count; ++p) {
          const EventRow& pixel = e.pixels[p];
          const std::uint16_t* starts = pixel.starts + row * e.start_row;
          const std::uint16_t *event = pixel.groups + row * e.group_row + starts[column],
                              *end = pixel.groups + row * e.group_row + starts[next];
          if (event == end) continue;
          const std::uint8_t* x = w.pixels[p] + row * w.row - std::ptrdiff_t{pixel.first} * group_bytes;
          const std::int8_t* weights = block - pixel.first * step;
          std::int32_t* acc = w.acc + p * w.stride;
          typename V::Reg sum[K];
#pragma GCC unroll 16
          for (int k = 0; k < K; ++k) sum[k] = V::load(acc + k * V::width);
          for (; event != end; ++event) {
            const typename V::Bytes bytes = V::broadcast(x + std::ptrdiff_t{*event} * group_bytes);
            const std::int8_t* packed = weights + *event * step;
#pragma GCC unroll 16
            for (int k = 0; k < K; ++k) sum[k] = V::dot(sum[k], bytes, V::weights(packed + k * V::vector_bytes));
          }
#pragma GCC unroll 16
          for (int k = 0; k < K; ++k) V::store(acc + k * V::width, sum[k]);
        }
      }
  }
}

template <class V>
void conv_events(const PackedFilters& f, const Windows& w, const Events& e, int first, int last) {
  for (int start = 0; start < w.count; start += event_pixels) {
    Windows part = w;
    part.pixels += start;
    part.count = std::min(event_pixels, w.count - start);
    part.acc += start * w.stride;
    const Events lists{e.pixels + start, e.group_row, e.start_row, e.groups, e.columns};
    for (int vector = first; vector < last;) {
      int block_size;
      const std::int8_t* block = block_of<V>(f, vector, block_size);
      const int vectors = std::min({V::event_vectors, last - vector, block_size - vector % block_vectors});
      event_vectors<V, V::event_vectors>(vectors, f, part, lists, block, block_size, vector);
      part.acc += vectors * V::width;
      vector += vectors;
    }
  }
}

}  // namespace
}  // namespace spica

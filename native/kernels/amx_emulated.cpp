// The tiles of AMX in plain C++, so that amx_tiles.hpp can be tested on any processor. Never chosen unless asked for.
#include <cstdint>
#include <cstring>

namespace spica {
namespace {

constexpr int tiles = 8, rows = 16, row_bytes = 64;
thread_local std::uint8_t tile[tiles][rows][row_bytes];

inline void _tile_loadconfig(const void*) {}
inline void _tile_release() {}
inline void _tile_zero(int t) { std::memset(tile[t], 0, sizeof tile[t]); }
inline void _tile_loadd(int t, const void* from, std::ptrdiff_t step) {
  for (int r = 0; r < rows; ++r) std::memcpy(tile[t][r], static_cast<const std::uint8_t*>(from) + r * step, row_bytes);
}
inline void _tile_stored(int t, void* to, std::ptrdiff_t step) {
  for (int r = 0; r < rows; ++r) std::memcpy(static_cast<std::uint8_t*>(to) + r * step, tile[t][r], row_bytes);
}
inline void _tile_dpbusd(int c, int a, int b) {
  for (int m = 0; m < rows; ++m)
    for (int n = 0; n < row_bytes / 4; ++n) {
      std::uint32_t sum;
      std::memcpy(&sum, tile[c][m] + n * 4, sizeof sum);
      for (int k = 0; k < row_bytes; ++k)
        sum += static_cast<std::uint32_t>(tile[a][m][k] * static_cast<std::int8_t>(tile[b][k / 4][n * 4 + k % 4]));
      std::memcpy(tile[c][m] + n * 4, &sum, sizeof sum);
    }
}

}  // namespace
}  // namespace spica

#include "amx_tiles.hpp"
#include "plain_vector.hpp"

namespace spica {
namespace {

using V = PlainVector<tile_filters>;

}  // namespace

const Isa isa_amx_emulated = [] {
  Isa made = isa_portable;
  made.name = "amx-emulated";
  made.width = tile_filters;
  made.vector_bytes = tile_bytes;
  made.group_round = tile_groups;
  made.conv_dense = tile_dense;
  made.conv_events = conv_events<V>;
  return made;
}();

}  // namespace spica

// AMX for dense convolutions, AVX-512 for the rest. Never run on a processor that has AMX: see amx_emulated.cpp.
#if defined(__AMX_INT8__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "amx_tiles.hpp"

namespace spica {
namespace {

// The kernel lets a process use tiles only once it has asked.
bool allowed() {
  constexpr int request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

double peak(std::int64_t rounds) {
  static const TileConfig config;
  _tile_loadconfig(&config);
  for (std::int64_t i = 0; i < rounds; ++i) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_release();
  return static_cast<double>(rounds) * 4 * tile_rows * tile_filters * tile_bytes;
}

}  // namespace

const Isa* isa_amx() {
  if (!allowed()) return nullptr;
  static const Isa amx = [] {
    Isa made = isa_avx512;
    made.name = "amx";
    made.group_round = tile_groups;
    made.conv_dense = tile_dense;
    made.peak = peak;
    return made;
  }();
  return &amx;
}

}  // namespace spica
#endif

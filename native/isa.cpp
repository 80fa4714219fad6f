#include "isa.hpp"

#include <cstdlib>
#include <string_view>

namespace spica {
namespace {

const Isa& choose() {
  const char* asked = std::getenv("SPICA_ISA");
  const std::string_view name = asked ? asked : "";
#if defined(SPICA_X86)
  if (name != "portable" && __builtin_cpu_supports("avx2")) {
    const bool vnni = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vnni");
    return vnni && name != "avx2" ? isa_avx512 : isa_avx2;
  }
#endif
  return isa_portable;
}

}  // namespace

const Isa& isa() {
  static const Isa& chosen = choose();
  return chosen;
}

}  // namespace spica

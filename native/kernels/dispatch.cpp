// Chooses the instruction set when the program starts.
#include "isa.hpp"

#include <cstdlib>
#include <string_view>

#if defined(SPICA_X86)
#include <cpuid.h>
#elif defined(SPICA_ARM) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace spica {
namespace {

#if defined(SPICA_X86)
bool has_amx() {
  constexpr unsigned tile = 1u << 24, int8 = 1u << 25;  // leaf 7, edx
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & tile) && (d & int8);
}

bool has_avxvnni() {
  constexpr unsigned avx_vnni = 1u << 4;  // leaf 7, subleaf 1, eax
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & avx_vnni);
}

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}
#endif

const Isa& choose() {
  const char* asked = std::getenv("SPICA_ISA");
  const std::string_view name = asked ? asked : "";
  if (name == "portable") return isa_portable;
#if defined(SPICA_X86)
  if (name == "amx-emulated") return isa_amx_emulated;
  if (!__builtin_cpu_supports("avx2")) return isa_portable;
  if (name == "avx2") return isa_avx2;
  if (name == "avxvnni" || !has_avx512()) return has_avxvnni() ? isa_avxvnni : isa_avx2;
  if (name != "avx512" && has_amx())
    if (const Isa* amx = isa_amx()) return *amx;
  return isa_avx512;
#elif defined(SPICA_ARM)
#if defined(__linux__)
  constexpr unsigned long i8mm = 1ul << 13;  // HWCAP2_I8MM
  if (!(getauxval(AT_HWCAP2) & i8mm)) return isa_portable;
#endif
  return isa_neon;
#else
  return isa_portable;
#endif
}

}  // namespace

const Isa& isa() {
  static const Isa& chosen = choose();
  return chosen;
}

}  // namespace spica

#!/usr/bin/env bash
# Random programs under sanitizers, on every instruction set that this processor has, and on ARM where a cross compiler
# and an emulator are installed. PROGRAMS sets how many; CXX the compiler.
set -euo pipefail
cd "$(dirname "$0")"
programs=${PROGRAMS:-300} cxx=${CXX:-g++} out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
common=(program.cpp sums.cpp tokens.cpp moves.cpp recurrence.cpp tensors.cpp stage.cpp team.cpp isa.cpp isa_portable.cpp fuzz.cpp)
avx512=(-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni)

x86() {  # x86 NAME FLAGS...
  local name=$1; shift
  local flags=(-std=c++20 -O1 -g "$@" -DSPICA_X86)
  "$cxx" "${flags[@]}" -mavx2 -c isa_avx2.cpp -o "$out/avx2.o"
  "$cxx" "${flags[@]}" -mavx2 -mavxvnni -c isa_avxvnni.cpp -o "$out/avxvnni.o"
  "$cxx" "${flags[@]}" "${avx512[@]}" -c isa_avx512.cpp -o "$out/avx512.o"
  "$cxx" "${flags[@]}" "${avx512[@]}" -mamx-tile -mamx-int8 -c isa_amx.cpp -o "$out/amx.o"
  "$cxx" "${flags[@]}" "${common[@]}" isa_amx_emulated.cpp "$out"/{avx2,avxvnni,avx512,amx}.o -pthread -o "$out/$name"
  for isa in best avxvnni avx2 portable amx-emulated; do SPICA_ISA=$isa "$out/$name" 0 "$programs"; done
  for path in dense events; do SPICA_PATH=$path "$out/$name" 0 "$programs"; done
}

if [[ $(uname -m) == x86_64 ]]; then
  echo "address and undefined behaviour"; x86 asan -fsanitize=address,undefined -fno-sanitize-recover=all
  echo "threads"; x86 tsan -fsanitize=thread
fi
if command -v aarch64-linux-gnu-g++ qemu-aarch64 > /dev/null; then
  echo "ARM, emulated"
  aarch64-linux-gnu-g++ -std=c++20 -O2 -march=armv8.2-a+dotprod+i8mm -DSPICA_ARM "${common[@]}" isa_neon.cpp -static -pthread -o "$out/arm"
  qemu-aarch64 -cpu max "$out/arm" 0 "$programs"
fi

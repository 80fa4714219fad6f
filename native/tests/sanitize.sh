#!/usr/bin/env bash
# Runs the packing test and random programs under sanitizers, on every instruction set that this processor has, and on
# ARM where a cross compiler and an emulator are installed. PROGRAMS sets how many programs; CXX the compiler.
set -euo pipefail
cd "$(dirname "$0")/.."
programs=${PROGRAMS:-300} cxx=${CXX:-g++} out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
kernels=(kernels/{dispatch,pack,portable}.cpp)
engine=({program,tensor,epilogue,thread_pool}.cpp
  ops/{accumulators,add,attention,conv,copy,depthwise,learning,lut,norm,pool,scan,sum_pixels,window}.cpp)
avx512=(-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni)

x86() {  # x86 NAME FLAGS...
  local name=$1; shift
  local flags=(-std=c++20 -O1 -g "$@" -DSPICA_X86)
  "$cxx" "${flags[@]}" -mavx2 -c kernels/avx2.cpp -o "$out/avx2.o"
  "$cxx" "${flags[@]}" -mavx2 -mavxvnni -c kernels/avxvnni.cpp -o "$out/avxvnni.o"
  "$cxx" "${flags[@]}" "${avx512[@]}" -c kernels/avx512.cpp -o "$out/avx512.o"
  "$cxx" "${flags[@]}" "${avx512[@]}" -mamx-tile -mamx-int8 -c kernels/amx.cpp -o "$out/amx.o"
  local sets=(kernels/amx_emulated.cpp "$out"/{avx2,avxvnni,avx512,amx}.o)
  "$cxx" "${flags[@]}" tests/pack_test.cpp "${kernels[@]}" "${sets[@]}" -o "$out/pack"
  "$cxx" "${flags[@]}" tests/fuzz.cpp "${kernels[@]}" "${engine[@]}" "${sets[@]}" -pthread -o "$out/$name"
  for isa in best avxvnni avx2 portable amx-emulated; do
    SPICA_ISA=$isa "$out/pack"
    SPICA_ISA=$isa "$out/$name" 0 "$programs"
  done
  for path in dense events; do SPICA_PATH=$path "$out/$name" 0 "$programs"; done
}

if [[ $(uname -m) == x86_64 ]]; then
  echo "address and undefined behaviour"; x86 asan -fsanitize=address,undefined -fno-sanitize-recover=all
  echo "threads"; x86 tsan -fsanitize=thread
fi
if command -v aarch64-linux-gnu-g++ qemu-aarch64 > /dev/null; then
  echo "ARM, emulated"
  arm=(aarch64-linux-gnu-g++ -std=c++20 -O2 -march=armv8.2-a+dotprod+i8mm -DSPICA_ARM)
  "${arm[@]}" tests/pack_test.cpp "${kernels[@]}" kernels/neon.cpp -static -o "$out/pack"
  "${arm[@]}" tests/fuzz.cpp "${kernels[@]}" "${engine[@]}" kernels/neon.cpp -static -pthread -o "$out/arm"
  qemu-aarch64 -cpu max "$out/pack"
  qemu-aarch64 -cpu max "$out/arm" 0 "$programs"
fi

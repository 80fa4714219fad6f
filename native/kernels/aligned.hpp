// Vectors whose memory begins at a cache line: a load that crosses lines costs two.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace spica {

template <class T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t line{64};
  LineAllocator() = default;
  template <class U>
  LineAllocator(const LineAllocator<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), line)); }
  void deallocate(T* p, std::size_t) { ::operator delete(p, line); }
  friend bool operator==(const LineAllocator&, const LineAllocator&) { return true; }
};
template <class T>
using Aligned = std::vector<T, LineAllocator<T>>;

}  // namespace spica

// Plain C++, for any processor.
#include "plain_vector.hpp"
#include "table.hpp"

namespace spica {
namespace {

using V = PlainVector<4>;

double peak(std::int64_t rounds) {
  std::uint8_t x[4] = {1, 2, 3, 4};
  std::int8_t w[V::vector_bytes] = {1};
  constexpr int chains = 8;
  V::Reg sum[chains] = {};
  for (std::int64_t i = 0; i < rounds; ++i) {
    for (int k = 0; k < chains; ++k) sum[k] = V::dot(sum[k], V::broadcast(x), w);
    x[i % 4] = static_cast<std::uint8_t>(sum[i % chains].v[0]);
  }
  volatile std::uint32_t kept = sum[0].v[0];
  static_cast<void>(kept);
  return static_cast<double>(rounds) * chains * 4 * V::width;
}

}  // namespace

constinit const Isa isa_portable = make_isa<V>("portable", peak);

}  // namespace spica

// What convolutions share: their windows, and the products of byte planes that they add up.
#pragma once

#include <vector>

#include "op.hpp"

namespace spica {

// Throws std::invalid_argument if a window of x reaches beyond its border.
void check_windows(const Tensor& x, const Tensor& y, const Window&);

// Returns the products of all planes of x with `weight_planes` planes of weights, highest first.
std::vector<Term> horner(const Tensor& x, int weight_planes, std::ptrdiff_t weight_plane_bytes);

}  // namespace spica

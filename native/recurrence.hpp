// A diagonal recurrence over complex integers: see Reference.recur in spica/engine/reference.py.
#pragma once

#include "stage.hpp"

namespace spica {

struct Recurrence {
  int streams, steps, channels;
  const std::int64_t *real, *imaginary;                  // the state it starts from, streams x channels
  const std::int64_t *factor_real, *factor_imaginary;    // one a channel
  int bits;                                              // to which every product and sum saturates
};

// x: streams x steps x channels; states: the same, real and imaginary part of each.
void recur(const Recurrence&, const std::int64_t* x, const Stage& arrive, const Stage& leave, std::int64_t* states);

}  // namespace spica

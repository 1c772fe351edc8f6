// canary.h: a value in the first and in the last place of an output. Where it still is after the call, the hook has not
// written, or has written this very value: then it is called again with the other one, which no pure hook writes too.
#pragma once

#include <cstdint>
#include <cstring>

#include "dtypes.h"
#include "loop.h"

namespace linops {

constexpr int kFirst = 1, kLast = 2;  // places, as bits

namespace canaries {

// Of one component of a number: a hook that writes real parts only has not written all.
template <typename Word>
void put(const Layout& layout, char* data, int which) {
  const auto canary = static_cast<Word>(layout.type->canaries[which]);
  std::memcpy(data, &canary, sizeof canary);
  std::memcpy(data + layout.last, &canary, sizeof canary);
}

template <typename Word>
int find(const Layout& layout, const char* data, int which) {
  const auto canary = static_cast<Word>(layout.type->canaries[which]);
  Word first, last;
  std::memcpy(&first, data, sizeof first);
  std::memcpy(&last, data + layout.last, sizeof last);
  return (first == canary ? kFirst : 0) | (last == canary ? kLast : 0);
}

}  // namespace canaries

// The output has elements.
inline void place_canary(const Layout& layout, char* data, int which) {
  switch (layout.type->component) {
    case 1:
      return canaries::put<uint8_t>(layout, data, which);
    case 2:
      return canaries::put<uint16_t>(layout, data, which);
    case 4:
      return canaries::put<uint32_t>(layout, data, which);
    default:
      return canaries::put<uint64_t>(layout, data, which);
  }
}

// The places where it still is.
inline int find_canary(const Layout& layout, const char* data, int which) {
  switch (layout.type->component) {
    case 1:
      return canaries::find<uint8_t>(layout, data, which);
    case 2:
      return canaries::find<uint16_t>(layout, data, which);
    case 4:
      return canaries::find<uint32_t>(layout, data, which);
    default:
      return canaries::find<uint64_t>(layout, data, which);
  }
}

}  // namespace linops

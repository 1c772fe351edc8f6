// floats.h: floating point as Python has it, on XLA's threads.
#pragma once

#if defined(__SSE2__)
#include <xmmintrin.h>
#else
#include <cfenv>
#endif

namespace linops {

// XLA computes with denormals flushed to zero; hooks are to compute as they do when NumPy calls them.
class DefaultFloats {
 public:
#if defined(__SSE2__)
  DefaultFloats() : before_(_mm_getcsr()) { _mm_setcsr(before_ & ~kFlush); }
  ~DefaultFloats() { _mm_setcsr((_mm_getcsr() & ~kFlush) | (before_ & kFlush)); }

 private:
  static constexpr unsigned kFlush = 0x8040;  // flush to zero, denormals are zero
  unsigned before_;
#else
  DefaultFloats() {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloats() { std::fesetenv(&before_); }

 private:
  std::fenv_t before_;
#endif
};

}  // namespace linops

// What a user of plain JAX would write by hand: an XLA FFI handler that negates an array.
#include <cstddef>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

// Also called from a hook in Python, to compare the call alone.
extern "C" void linops_jax_bench_loop(const float* from, float* to, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) to[i] = -from[i];
}

static ffi::Error Negate(ffi::Buffer<ffi::F32> x, ffi::ResultBuffer<ffi::F32> y) {
  linops_jax_bench_loop(x.typed_data(), y->typed_data(), x.element_count());
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(linops_jax_bench_negate, Negate,
                              ffi::Ffi::Bind().Arg<ffi::Buffer<ffi::F32>>().Ret<ffi::Buffer<ffi::F32>>());

// What a user of plain JAX would write by hand: an XLA FFI handler that negates an array.
#include <cstddef>
#include <cstdint>

#include "linops_jax/native.h"
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

// The same as a C function of linops_jax.
extern "C" int linops_jax_bench_function(linops_call* call) {
  const linops_buffer& x = call->inputs[0];
  linops_jax_bench_loop(static_cast<const float*>(x.data), static_cast<float*>(call->outputs[0].data), x.size);
  return 0;
}

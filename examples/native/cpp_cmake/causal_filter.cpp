// causal_filter.cpp: y[i] = x[i] + memory * y[i - 1] as an XLA FFI handler, and its adjoint, which runs backwards.
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using Array = ffi::Buffer<ffi::F32>;

// The attributes are the static fields of the operator.
static ffi::Error Filter(double memory, bool backwards, Array x, ffi::Result<Array> y) {
  const auto n = static_cast<int64_t>(x.element_count());
  const float* in = x.typed_data();
  float* out = y->typed_data();
  double last = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t at = backwards ? n - 1 - i : i;
    last = in[at] + memory * last;
    out[at] = static_cast<float>(last);
  }
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    CausalFilter, Filter, ffi::Ffi::Bind().Attr<double>("memory").Attr<bool>("backwards").Arg<Array>().Ret<Array>());

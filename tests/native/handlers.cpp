// handlers.cpp: hand-written XLA FFI handlers, and a C++ function of our interface.
#include <linops_jax/native.h>

#include <stdexcept>
#include <string_view>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using F32 = ffi::Buffer<ffi::F32>;

static ffi::Error Scale(double factor, bool negate, int64_t n, ffi::Span<const int64_t> sizes, std::string_view name,
                        F32 d, F32 x, ffi::ResultBuffer<ffi::F32> y) {
  if (n != 3 || sizes.size() != 2 || sizes[1] != 5 || name != "blur") {
    return ffi::Error::InvalidArgument("these are not the attributes of a blur");
  }
  const size_t period = d.element_count(), count = y->element_count(), given = x.element_count();
  for (size_t i = 0; i < count; ++i) {
    y->typed_data()[i] =
        static_cast<float>(negate ? -factor : factor) * d.typed_data()[i % period] * x.typed_data()[i % given];
  }
  return ffi::Error::Success();
}
XLA_FFI_DEFINE_HANDLER_SYMBOL(ScaleHandler, Scale,
                              ffi::Ffi::Bind()
                                  .Attr<double>("factor")
                                  .Attr<bool>("negate")
                                  .Attr<int64_t>("n")
                                  .Attr<ffi::Span<const int64_t>>("sizes")
                                  .Attr<std::string_view>("name")
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Ret<F32>());

static ffi::Error Double(F32 x, ffi::ResultBuffer<ffi::F32> y) {
  const size_t count = x.element_count();
  for (size_t i = 0; i < count; ++i) y->typed_data()[i] = 2 * x.typed_data()[i];
  return ffi::Error::Success();
}
XLA_FFI_DEFINE_HANDLER_SYMBOL(DoubleHandler, Double, ffi::Ffi::Bind().Arg<F32>().Ret<F32>());

// As if built with headers from the far future.
extern "C" XLA_FFI_Error* FutureHandler(XLA_FFI_CallFrame* frame) {
  if (frame->extension_start != nullptr && frame->extension_start->type == XLA_FFI_Extension_Metadata) {
    auto* extension = reinterpret_cast<XLA_FFI_Metadata_Extension*>(frame->extension_start);
    extension->metadata->api_version.major_version = 99;
  }
  return nullptr;
}

extern "C" int throws(linops_call*) { throw std::runtime_error("out of cheese"); }

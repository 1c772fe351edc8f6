// native.h: the XLA FFI handler behind native hooks, which calls C functions without Python and without the GIL.
#pragma once

#include <memory>

#include "executable.h"

namespace linops {

std::unique_ptr<Executable> make_native_executable();

}  // namespace linops

extern "C" XLA_FFI_Error* linops_native_instantiate(XLA_FFI_CallFrame* frame);
extern "C" XLA_FFI_Error* linops_native_execute(XLA_FFI_CallFrame* frame);

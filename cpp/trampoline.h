// trampoline.h: the XLA FFI handler behind host hooks, which calls Python.
#pragma once

#include <memory>

#include "executable.h"

namespace linops {

std::unique_ptr<Executable> make_host_executable();

}  // namespace linops

extern "C" XLA_FFI_Error* linops_instantiate(XLA_FFI_CallFrame* frame);
extern "C" XLA_FFI_Error* linops_execute(XLA_FFI_CallFrame* frame);

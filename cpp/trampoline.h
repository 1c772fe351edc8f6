// trampoline.h: the XLA FFI handler behind host hooks, which calls Python.
#pragma once

#include "xla/ffi/api/c_api.h"

extern "C" XLA_FFI_Error* linops_instantiate(XLA_FFI_CallFrame* frame);
extern "C" XLA_FFI_Error* linops_execute(XLA_FFI_CallFrame* frame);

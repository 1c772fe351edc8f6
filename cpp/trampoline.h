// trampoline.h: the one XLA FFI handler behind all operators.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "registry.h"
#include "xla/ffi/api/c_api.h"

namespace linops {

// What the handler needs from Python, given once at import.
struct Services {
  PyObject* resolve = nullptr;            // key -> Target, for keys that reached this process inside a program
  PyObject* report = nullptr;             // (name, exception) -> the text that XLA carries
  PyObject* collect = nullptr;            // gc.collect
  PyObject* derived_arrays = nullptr;     // view -> list of the arrays that share its memory
  PyObject* swap_no_execution = nullptr;  // sets JAX's no_execution on this thread, returns the old value
  unsigned long main_thread = 0;
};
extern Services services;

extern std::atomic<int64_t> in_flight;
extern std::atomic<bool> closing;
struct InFlight {
  InFlight() { ++in_flight; }
  ~InFlight() { --in_flight; }
};

// With the GIL held: the text in which XLA carries the current Python exception, which is kept for lo.last_error().
std::string report_exception(const std::string& name);
// With the GIL held: the target of a key from elsewhere; null with a Python exception.
TargetPtr resolve_key(const std::string& key);

// With the GIL held: whether shapes and dtypes of a call are such as its operator promises; false with a Python
// exception.
bool is_promised(const Target& target, const std::string& batch, const XLA_FFI_CallFrame& frame);

void close_trampoline(double seconds);  // refuses further calls and waits for those in flight; GIL held

}  // namespace linops

extern "C" XLA_FFI_Error* linops_instantiate(XLA_FFI_CallFrame* frame);
extern "C" XLA_FFI_Error* linops_execute(XLA_FFI_CallFrame* frame);

// interpreter.h: the way into Python from XLA's threads, and its errors as text.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <atomic>
#include <cstdint>
#include <string>

namespace linops {

// What the handlers need from Python, given once at import.
struct Services {
  PyObject* resolve = nullptr;            // key -> Target, for keys that reached this process inside a program
  PyObject* report = nullptr;             // (name, exception) -> the text that XLA carries
  PyObject* collect = nullptr;            // gc.collect, of a generation
  PyObject* derived_arrays = nullptr;     // view -> list of the arrays that share its memory
  PyObject* swap_no_execution = nullptr;  // sets JAX's no_execution on this thread, returns the old value
  unsigned long main_thread = 0;
};
extern Services services;

constexpr const char* kShuttingDown = "the interpreter is shutting down";

// The GIL, during a call that counts as in flight; false, and without it, where the interpreter is shutting down.
class Entry {
 public:
  Entry();
  ~Entry();
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;
  explicit operator bool() const { return entered_; }

 private:
  bool entered_;
  PyGILState_STATE gil_;
};

void close_entries(double seconds);  // refuses new ones and waits for those in flight; GIL held

// With the GIL held: the current Python exception, a new reference.
PyObject* take_exception();
// With the GIL held: the text in which XLA carries the current Python exception, which is kept for lo.last_error().
std::string report_exception(const std::string& name);

}  // namespace linops

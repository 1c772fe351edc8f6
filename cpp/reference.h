// reference.h: Python references that are given back, with the GIL and without.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <utility>

namespace linops {

struct Reference {  // owns a Python reference
  PyObject* object;
  explicit Reference(PyObject* object) : object(object) {}
  Reference(Reference&& other) noexcept : object(std::exchange(other.object, nullptr)) {}
  Reference& operator=(Reference&& other) noexcept {
    std::swap(object, other.object);
    return *this;
  }
  ~Reference() { Py_XDECREF(object); }
};

// Gives back a reference on any thread. XLA destroys executables where taking the GIL could deadlock: without it, the
// reference waits for Python's main thread.
void drop(PyObject* object);

}  // namespace linops

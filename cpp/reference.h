// reference.h: a Python reference that is given back.
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

}  // namespace linops

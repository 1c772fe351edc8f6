// views.h: XLA buffers seen as NumPy arrays, without a copy.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <vector>

#include "loop.h"
#include "xla/ffi/api/c_api.h"

namespace linops {

bool import_numpy();                                                   // false: Python error set
bool set_dtype(int code, PyObject* dtype);                             // XLA element type -> numpy dtype
PyObject* make_view(const Layout& layout, char* data, bool writable);  // new reference, or null with an error set

// Whether a view could serve again: the hook left it as it was made, and nobody refers to it, not even weakly.
bool is_as_made(PyObject* view, const Layout& layout, bool writable);
void aim(PyObject* view, char* data);  // at other memory of the same layout

// Views that serve again, by operand: making them takes a tenth of a small call. A call in an executable has the same
// types and shapes whenever it runs. GIL held, but for the destructor.
class IdleViews {
 public:
  ~IdleViews();
  PyObject* take(size_t operand);             // new reference; null where there is none
  void give(size_t operand, PyObject* view);  // steals the reference

 private:
  std::vector<PyObject*> views_;
};

// The other way round: a contiguous array as XLA would describe its buffer. False with a Python exception.
bool read_array(PyObject* array, XLA_FFI_Buffer& buffer);

const char* data_of(PyObject* array);

bool has_type_and_shape(PyObject* value, const Layout& layout);
bool copy_array(PyObject* array, const Layout& layout, char* data);  // of the same type and shape

// Points a view that outlived its call, and a list of arrays that see its memory, at a copy of its own.
void detach(PyObject* view, PyObject* derived);

}  // namespace linops

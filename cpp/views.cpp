// views.cpp: the one file that uses NumPy's C API.
#include "views.h"

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>

#include <cstring>
#include <utility>

#include "reference.h"

namespace linops {
namespace {

static_assert(sizeof(npy_intp) == sizeof(int64_t), "XLA's dimensions are handed to NumPy as they are");
constexpr int64_t kLargeCopy = 1 << 20;  // bytes from which other threads may use the GIL meanwhile
PyArray_Descr* dtypes[kDtypes] = {};
char empty[16];  // XLA may pass null for arrays without elements; NumPy would allocate

}  // namespace

bool import_numpy() { return PyArray_ImportNumPyAPI() == 0; }

bool set_dtype(int code, PyObject* dtype) {
  const Dtype* known = find_dtype(code);
  if (known == nullptr || !PyArray_DescrCheck(dtype) ||
      PyDataType_ELSIZE(reinterpret_cast<PyArray_Descr*>(dtype)) != known->bytes) {
    PyErr_SetString(PyExc_TypeError, "expected an XLA element type and its numpy dtype");
    return false;
  }
  Py_INCREF(dtype);
  Py_XDECREF(reinterpret_cast<PyObject*>(dtypes[code]));
  dtypes[code] = reinterpret_cast<PyArray_Descr*>(dtype);
  return true;
}

PyObject* make_view(const Layout& layout, char* data, bool writable) {
  PyArray_Descr* dtype = layout.dtype >= 0 && layout.dtype < kDtypes ? dtypes[layout.dtype] : nullptr;
  if (dtype == nullptr) {
    return PyErr_Format(PyExc_TypeError, "NumPy has no dtype for XLA's element type %d", layout.dtype);
  }
  Py_INCREF(dtype);
  return PyArray_NewFromDescr(&PyArray_Type, dtype, layout.rank, reinterpret_cast<const npy_intp*>(layout.dims),
                              layout.contiguous ? nullptr : reinterpret_cast<const npy_intp*>(layout.strides),
                              data != nullptr ? data : empty, writable ? NPY_ARRAY_CARRAY : NPY_ARRAY_CARRAY_RO,
                              nullptr);
}

bool is_as_made(PyObject* view, const Layout& layout, bool writable) {
  auto* array = reinterpret_cast<PyArrayObject_fields*>(view);
  constexpr int kAccess = NPY_ARRAY_WRITEABLE | NPY_ARRAY_ALIGNED | NPY_ARRAY_OWNDATA | NPY_ARRAY_WRITEBACKIFCOPY;
  const auto axes = sizeof(npy_intp) * static_cast<size_t>(layout.rank);
  return Py_REFCNT(view) == 1 && array->weakreflist == nullptr && array->base == nullptr &&
         array->descr == dtypes[layout.dtype] && array->nd == layout.rank &&
         (array->flags & kAccess) == (NPY_ARRAY_ALIGNED | (writable ? NPY_ARRAY_WRITEABLE : 0)) &&
         std::memcmp(array->dimensions, layout.dims, axes) == 0 &&
         std::memcmp(array->strides, layout.strides, axes) == 0;
}

void aim(PyObject* view, char* data) {
  reinterpret_cast<PyArrayObject_fields*>(view)->data = data != nullptr ? data : empty;
}

IdleViews::~IdleViews() {
  for (PyObject* view : views_) {
    if (view != nullptr) drop(view);
  }
}

PyObject* IdleViews::take(size_t operand) {
  return operand < views_.size() ? std::exchange(views_[operand], nullptr) : nullptr;
}

void IdleViews::give(size_t operand, PyObject* view) {
  if (operand >= views_.size()) views_.resize(operand + 1);
  Py_XDECREF(std::exchange(views_[operand], view));  // another thread may have been faster
}

bool read_array(PyObject* value, XLA_FFI_Buffer& buffer) {
  auto* array = reinterpret_cast<PyArrayObject*>(value);
  if (!PyArray_CheckExact(value) || !PyArray_IS_C_CONTIGUOUS(array)) {
    PyErr_SetString(PyExc_TypeError, "expected a contiguous array");
    return false;
  }
  for (int code = 0; code < kDtypes; ++code) {
    if (dtypes[code] == nullptr || !PyArray_EquivTypes(dtypes[code], PyArray_DESCR(array))) continue;
    buffer = {};
    buffer.struct_size = XLA_FFI_Buffer_STRUCT_SIZE;
    buffer.dtype = static_cast<XLA_FFI_DataType>(code);
    buffer.data = PyArray_DATA(array);
    buffer.rank = PyArray_NDIM(array);
    buffer.dims = reinterpret_cast<int64_t*>(PyArray_DIMS(array));
    return true;
  }
  PyErr_SetString(PyExc_TypeError, "XLA has no such element type");
  return false;
}

const char* data_of(PyObject* array) { return PyArray_BYTES(reinterpret_cast<PyArrayObject*>(array)); }

bool has_type_and_shape(PyObject* value, const Layout& layout) {
  if (!PyArray_CheckExact(value)) return false;  // what a subclass means by its numbers, Python finds out
  auto* array = reinterpret_cast<PyArrayObject*>(value);
  if (PyArray_NDIM(array) != layout.rank) return false;
  if (PyArray_DESCR(array) != dtypes[layout.dtype] && !PyArray_EquivTypes(PyArray_DESCR(array), dtypes[layout.dtype])) {
    return false;
  }
  return std::memcmp(PyArray_DIMS(array), layout.dims, sizeof(npy_intp) * static_cast<size_t>(layout.rank)) == 0;
}

bool copy_array(PyObject* value, const Layout& layout, char* data) {
  auto* array = reinterpret_cast<PyArrayObject*>(value);
  if (layout.contiguous && PyArray_IS_C_CONTIGUOUS(array) && PyArray_ISNOTSWAPPED(array)) {
    const int64_t bytes = layout.bytes;
    if (bytes == 0) return true;
    const void* source = PyArray_DATA(array);
    if (bytes < kLargeCopy) {
      std::memcpy(data, source, static_cast<size_t>(bytes));
    } else {
      Py_BEGIN_ALLOW_THREADS std::memcpy(data, source, static_cast<size_t>(bytes));
      Py_END_ALLOW_THREADS
    }
    return true;
  }
  PyObject* view = make_view(layout, data, true);
  if (view == nullptr) return false;
  const int status = PyArray_CopyInto(reinterpret_cast<PyArrayObject*>(view), array);
  Py_DECREF(view);
  return status == 0;
}

void detach(PyObject* view, PyObject* derived) {
  auto* array = reinterpret_cast<PyArrayObject*>(view);
  PyObject* copy = PyArray_NewCopy(array, NPY_CORDER);
  if (copy == nullptr) {
    PyErr_Clear();
    return;
  }
  auto* fields = reinterpret_cast<PyArrayObject_fields*>(array);
  auto* owner = reinterpret_cast<PyArrayObject*>(copy);
  for (Py_ssize_t i = 0; PyArray_IS_C_CONTIGUOUS(array) && i < PyList_GET_SIZE(derived); ++i) {
    auto* other = reinterpret_cast<PyArrayObject_fields*>(PyList_GET_ITEM(derived, i));
    other->data = PyArray_BYTES(owner) + (other->data - fields->data);
  }
  fields->data = PyArray_BYTES(owner);
  if (fields->nd > 0) {
    std::memcpy(fields->strides, PyArray_STRIDES(owner), sizeof(npy_intp) * static_cast<size_t>(fields->nd));
  }
  if (PyArray_SetBaseObject(array, copy) != 0) PyErr_Clear();
}

}  // namespace linops

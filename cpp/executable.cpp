// executable.cpp: see executable.h.
#include "executable.h"

#include <nanobind/nanobind.h>

#include <string_view>
#include <utility>
#include <vector>

#include "interpreter.h"
#include "reference.h"

namespace nb = nanobind;
namespace ffi = xla::ffi;

namespace linops {
namespace {

// Of a key from elsewhere. Null with a Python exception.
TargetPtr target_of(const std::string& key) {
  Reference found(PyObject_CallFunction(services.resolve, "s#", key.data(), static_cast<Py_ssize_t>(key.size())));
  if (found.object == nullptr) return nullptr;
  TargetHandle* handle = nullptr;
  if (!nb::try_cast<TargetHandle*>(nb::handle(found.object), handle) || handle == nullptr) {
    PyErr_SetString(PyExc_TypeError, "resolve() must return a Target");
    return nullptr;
  }
  return handle->target;
}

std::vector<Shape> shapes(void* const* buffers, int64_t count) {
  std::vector<Shape> found;
  for (int64_t i = 0; i < count; ++i) {
    const auto& buffer = *static_cast<const XLA_FFI_Buffer*>(buffers[i]);
    found.push_back({buffer.dtype, buffer.rank, buffer.dims});
  }
  return found;
}

// (dtype, *dims)
PyObject* make_tuple(const Shape& shape) {
  Reference tuple(PyTuple_New(static_cast<Py_ssize_t>(shape.rank) + 1));
  if (tuple.object == nullptr) return nullptr;
  for (int64_t i = 0; i <= shape.rank; ++i) {
    PyObject* number = PyLong_FromLongLong(i == 0 ? shape.dtype : shape.dims[i - 1]);
    if (number == nullptr) return nullptr;
    PyTuple_SET_ITEM(tuple.object, static_cast<Py_ssize_t>(i), number);
  }
  return std::exchange(tuple.object, nullptr);
}

PyObject* make_list(const std::vector<Shape>& shapes) {
  Reference list(PyList_New(0));
  if (list.object == nullptr) return nullptr;
  for (const Shape& shape : shapes) {
    Reference tuple(make_tuple(shape));
    if (tuple.object == nullptr || PyList_Append(list.object, tuple.object) != 0) return nullptr;
  }
  return std::exchange(list.object, nullptr);
}

// Checks that the operator promises such shapes and dtypes, and finds its plans. False with a Python exception.
bool start(Resolved& made, const std::string& batch, const std::vector<Shape>& operands,
           const std::vector<Shape>& results) {
  Reference given(make_list(operands)), wanted(make_list(results));
  if (given.object == nullptr || wanted.object == nullptr) return false;
  Reference answer(PyObject_CallFunction(made.target->start, "s#OO", batch.data(),
                                         static_cast<Py_ssize_t>(batch.size()), given.object, wanted.object));
  if (answer.object == nullptr || answer.object == Py_None) return answer.object != nullptr;
  made.plans = Plans::make(answer.object);
  return made.plans != nullptr;
}

// False with a Python exception.
bool complete(Resolved& made, bool is_native, const std::string& batch, const XLA_FFI_CallFrame& frame) {
  static const char* const kinds[] = {"a host hook", "a native hook"};
  const bool found_native = made.target->function != nullptr;
  if (found_native != is_native) {
    PyErr_Format(PyExc_ValueError, "this program calls it as %s, but it is %s. Export the program again.",
                 kinds[is_native], kinds[found_native]);
    return false;
  }
  const auto operands = shapes(frame.args.args, frame.args.size), results = shapes(frame.rets.rets, frame.rets.size);
  std::string error;
  made.loop = Loop::make(made.target->signature, batch, operands, results, error);
  if (made.loop == nullptr) PyErr_SetString(PyExc_ValueError, error.c_str());
  return made.loop != nullptr && start(made, batch, operands, results);
}

}  // namespace

ffi::Error Executable::read(const ffi::Dictionary& attributes) {
  auto key = attributes.get<std::string_view>("key");
  auto batch = attributes.get<std::string_view>("batch");
  if (key.has_error()) return key.error();
  if (batch.has_error()) return batch.error();
  key_ = std::string(*key);
  batch_ = std::string(*batch);
  target_ = find_target(key_);
  return ffi::Error::Success();
}

void Executable::set(TargetPtr target, std::string batch) {
  target_ = std::move(target);
  batch_ = std::move(batch);
}

const Resolved* Executable::resolve(bool is_native, const XLA_FFI_CallFrame& frame, std::string& error) {
  auto made = std::make_unique<Resolved>();
  made->target = target_ != nullptr ? target_ : target_of(key_);
  if (made->target == nullptr || !complete(*made, is_native, batch_, frame)) {
    error = report_exception(made->target != nullptr ? made->target->name : "linops_jax");
    return nullptr;
  }
  const Resolved* first = nullptr;  // another thread may be
  return resolved_.compare_exchange_strong(first, made.get()) ? made.release() : first;
}

XLA_FFI_Error* answer_metadata(XLA_FFI_CallFrame* frame) {
  static const auto* const handler =
      ffi::Ffi::Bind()
          .RemainingArgs()
          .RemainingRets()
          .To([](ffi::RemainingArgs, ffi::RemainingRets) { return ffi::Error::Success(); })
          .release();
  return handler->Call(frame);
}

}  // namespace linops

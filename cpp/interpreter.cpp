// interpreter.cpp: see interpreter.h.
#include "interpreter.h"

#include <chrono>
#include <thread>

#include "reference.h"

namespace linops {
namespace {

std::atomic<int64_t> in_flight{0};
std::atomic<bool> closing{false};

}  // namespace

Services services;

Entry::Entry() {
  ++in_flight;  // before the flag is read: see close_entries
  entered_ = !closing;
  if (entered_) gil_ = PyGILState_Ensure();
}

Entry::~Entry() {
  if (entered_) PyGILState_Release(gil_);
  --in_flight;
}

void close_entries(double seconds) {
  closing = true;
  Py_BEGIN_ALLOW_THREADS;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (in_flight > 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  Py_END_ALLOW_THREADS;
}

PyObject* take_exception() {
#if PY_VERSION_HEX >= 0x030C0000
  return PyErr_GetRaisedException();
#else
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return value;
#endif
}

std::string report_exception(const std::string& name) {
  Reference exception(take_exception());
  const bool interrupt = PyErr_GivenExceptionMatches(exception.object, PyExc_KeyboardInterrupt) != 0;
  Reference text(PyObject_CallFunction(services.report, "sO", name.c_str(), exception.object));
  const char* message = text.object != nullptr ? PyUnicode_AsUTF8(text.object) : nullptr;
  std::string error = message != nullptr ? message : name + " failed";
  PyErr_Clear();
  // XLA swallowed the interrupt that Python raised in the hook: raise it again where Python is back in charge.
  if (interrupt && PyThread_get_thread_ident() == services.main_thread) PyErr_SetInterrupt();
  return error;
}

}  // namespace linops

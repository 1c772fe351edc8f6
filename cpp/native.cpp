// native.cpp: from XLA to a native hook and back: without Python, but for the first execution and for errors.
#include "native.h"

#include <cstdint>
#include <memory>
#include <string>

#include "executable.h"
#include "interpreter.h"
#include "team.h"
#include "worker.h"

namespace linops {
namespace {

// Errors take the detour through Python, where lo.last_error() and eager calls find them.
std::string report_text(const std::string& name, const std::string& text) {
  Entry entry;
  if (!entry) return name + " failed: " + text;
  PyObject* message = PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
  if (message != nullptr) PyErr_SetObject(PyExc_RuntimeError, message);
  Py_XDECREF(message);
  return report_exception(name);
}

struct State final : Executable {
  static constexpr const char* kType = "LinopsJaxNativeCpu";
  static xla::ffi::TypeId id;

  // Only the ways into Python count as calls in flight: to the interpreter's end a C function is no more than any other
  // part of a program.
  std::string run(const XLA_FFI_CallFrame& frame) override {
    std::string error;
    const Resolved* found = resolved();
    if (found == nullptr) found = resolve_in_python(frame, error);
    if (found == nullptr) return error;
    const Execution execution{*found->target, *found->loop, found->plans.get(), frame};
    const int64_t evaluations = execution.loop.evaluations;
    if (evaluations == 0) return {};
    const bool has_pool = frame.api != nullptr;
    const bool parallel = has_pool && execution.target.parallel && evaluations > 1;
    const Failure failure = parallel ? run_in_parallel(execution) : run_on_this_thread(execution, 0, evaluations);
    if (!failure) return {};
    return failure.is_reported ? failure.text : report_text(execution.target.name, failure.text);
  }

 private:
  [[gnu::noinline]] const Resolved* resolve_in_python(const XLA_FFI_CallFrame& frame, std::string& error) {
    Entry entry;
    if (entry) return resolve(true, frame, error);
    error = kShuttingDown;
    return nullptr;
  }
};
xla::ffi::TypeId State::id = {};

}  // namespace

std::unique_ptr<Executable> make_native_executable() { return std::make_unique<State>(); }

}  // namespace linops

extern "C" XLA_FFI_Error* linops_native_instantiate(XLA_FFI_CallFrame* frame) {
  return linops::instantiate<linops::State>(frame);
}

extern "C" XLA_FFI_Error* linops_native_execute(XLA_FFI_CallFrame* frame) {
  return linops::execute<linops::State>(frame);
}

// trampoline.cpp: from XLA into Python and back: the GIL, interrupts, errors.
#include "trampoline.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "evaluation.h"
#include "executable.h"
#include "floats.h"
#include "interpreter.h"
#include "interrupt.h"
#include "reference.h"

namespace linops {
namespace {

// XLA's number of this run of the program. A call that is not XLA's is a run of its own.
int64_t run_of(const XLA_FFI_CallFrame& frame) {
  static std::atomic<int64_t> others{-1};
  if (frame.api == nullptr) return --others;
  XLA_FFI_RunId_Get_Args args = {};
  args.struct_size = XLA_FFI_RunId_Get_Args_STRUCT_SIZE;
  args.ctx = frame.ctx;
  if (XLA_FFI_Error* error = frame.api->XLA_FFI_RunId_Get(&args)) {
    xla::ffi::internal::DestroyError(frame.api, error);
  }
  return args.run_id;
}

class State final : public Executable {
 public:
  static constexpr const char* kType = "LinopsJaxStateCpu";
  static xla::ffi::TypeId id;

  std::string run(const XLA_FFI_CallFrame& frame) override {
    Entry entry;
    if (!entry) return kShuttingDown;
    DefaultFloats floats;
    return call(frame);
  }

 private:
  // Everything that needs the GIL. JAX inside a hook would wait for the program that waits for the hook: it is refused.
  std::string call(const XLA_FFI_CallFrame& frame) {
    std::string error;
    const Resolved* found = resolved();
    if (found == nullptr) found = resolve(false, frame, error);
    if (found == nullptr) return error;
    const Target& target = *found->target;
    const bool on_main = PyThread_get_thread_ident() == services.main_thread;
    if (!on_main) {
      begin_run(run_of(frame));
      if (interrupted()) {
        PyErr_SetNone(PyExc_KeyboardInterrupt);
        return report_exception(target.name);
      }
    }
    Reference before(PyObject_CallOneArg(services.swap_no_execution, Py_True));
    if (before.object == nullptr) return report_exception(target.name);
    Evaluation evaluation(*found, views_, frame);
    const auto watch = [](void* state) { return static_cast<State*>(state)->interrupted(); };
    bool done = on_main ? evaluation.run(nullptr, nullptr) : evaluation.run(watch, this);
    Reference failure(done ? nullptr : take_exception());
    Reference after(PyObject_CallOneArg(services.swap_no_execution, before.object));
    if (after.object == nullptr) PyErr_Clear();
    if (done && !on_main && interrupted()) {
      failure = Reference(PyObject_CallNoArgs(PyExc_KeyboardInterrupt));
      done = false;
    }
    if (done) return {};
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(failure.object)), failure.object);
    failure = Reference(nullptr);
    error = report_exception(evaluation.failed());
    evaluation.detach_kept();
    return error;
  }

  void begin_run(int64_t run) {
    if (run_ == run) return;
    watch_interrupts();
    run_ = run;
    interrupts_ = count_interrupts();
  }

  // True once a Ctrl-C arrived during this run while the main thread may be waiting for it.
  bool interrupted() const { return count_interrupts() != interrupts_; }

  // With the GIL held:
  int64_t run_ = -1;  // the run whose interrupts are counted from `interrupts_`
  int64_t interrupts_ = 0;
  IdleViews views_;
};
xla::ffi::TypeId State::id = {};

}  // namespace

std::unique_ptr<Executable> make_host_executable() { return std::make_unique<State>(); }

}  // namespace linops

extern "C" XLA_FFI_Error* linops_instantiate(XLA_FFI_CallFrame* frame) {
  return linops::instantiate<linops::State>(frame);
}

extern "C" XLA_FFI_Error* linops_execute(XLA_FFI_CallFrame* frame) { return linops::execute<linops::State>(frame); }

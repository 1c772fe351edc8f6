// trampoline.cpp: from XLA into Python and back: the GIL, the state of an executable, interrupts, errors.
#include "trampoline.h"

#include <nanobind/nanobind.h>

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "evaluation.h"
#include "floats.h"
#include "frame.h"
#include "interrupt.h"
#include "plan.h"
#include "reference.h"
#include "registry.h"
#include "xla/ffi/api/ffi.h"

namespace nb = nanobind;
namespace ffi = xla::ffi;

namespace linops {

Services services;
std::atomic<int64_t> in_flight{0};
std::atomic<bool> closing{false};

namespace {

// Owned by the executable.
struct State {
  static ffi::TypeId id;
  static ffi::TypeInfo info;
  std::string key;
  std::string batch;                 // what each operand has of each batch axis, see batch.h
  TargetPtr target;                  // set at instantiation, or at the first execution of a program from elsewhere
  std::unique_ptr<const Plan> plan;  // set at the first execution; GIL held
  int64_t run = -1;                  // the run whose interrupts are counted from `interrupts`; GIL held
  int64_t interrupts = 0;
  IdleViews views;  // GIL held
};
ffi::TypeId State::id = {};
ffi::TypeInfo State::info = ffi::MakeTypeInfo<State>();

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

// Hands the exception to Python's side, which keeps it, and turns it into the text that XLA carries.
std::string report(const std::string& name) {
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

// True once a Ctrl-C arrived during this run while the main thread may be waiting for it.
bool interrupted(State& state) { return count_interrupts() != state.interrupts; }

// XLA's number of this run of the program.
int64_t run_of(const XLA_FFI_CallFrame& frame) {
  XLA_FFI_RunId_Get_Args args = {};
  args.struct_size = XLA_FFI_RunId_Get_Args_STRUCT_SIZE;
  args.ctx = frame.ctx;
  if (XLA_FFI_Error* error = frame.api->XLA_FFI_RunId_Get(&args)) ffi::internal::DestroyError(frame.api, error);
  return args.run_id;
}

void begin_run(State& state, int64_t run) {
  if (state.run == run) return;
  watch_interrupts();
  state.run = run;
  state.interrupts = count_interrupts();
}

bool resolve(State& state) {
  if (state.target != nullptr) return true;
  Reference found(
      PyObject_CallFunction(services.resolve, "s#", state.key.data(), static_cast<Py_ssize_t>(state.key.size())));
  if (found.object == nullptr) return false;
  TargetHandle* handle = nullptr;
  if (!nb::try_cast<TargetHandle*>(nb::handle(found.object), handle) || handle == nullptr) {
    PyErr_SetString(PyExc_TypeError, "resolve() must return a Target");
    return false;
  }
  state.target = handle->target;
  return true;
}

bool prepare(State& state, const XLA_FFI_CallFrame& frame) {
  if (state.plan != nullptr) return true;
  std::string error;
  std::unique_ptr<const Plan> plan;
  if (state.target->function != nullptr) {
    error = "this program calls it as a host hook, but it is a native one. Export the program again.";
  } else {
    plan = make_plan(state.target->signature, state.batch, frame, error);
  }
  if (plan == nullptr) PyErr_SetString(PyExc_ValueError, error.c_str());
  if (plan == nullptr || !is_promised(*state.target, state.batch, frame)) return false;
  if (state.plan == nullptr) state.plan = std::move(plan);  // otherwise another thread has been asked meanwhile
  return true;
}

// Everything that needs the GIL. JAX inside a hook would wait for the program that waits for the hook: it is refused.
std::string execute_with_gil(State& state, const XLA_FFI_CallFrame& frame) {
  if (!resolve(state)) return report("linops_jax");
  if (!prepare(state, frame)) return report(state.target->name);
  const bool on_main = PyThread_get_thread_ident() == services.main_thread;
  if (!on_main) {
    begin_run(state, run_of(frame));
    if (interrupted(state)) {
      PyErr_SetNone(PyExc_KeyboardInterrupt);
      return report(state.target->name);
    }
  }
  Reference before(PyObject_CallOneArg(services.swap_no_execution, Py_True));
  if (before.object == nullptr) return report(state.target->name);
  Evaluation evaluation(*state.target, *state.plan, state.views, frame);
  const auto watch = [](void* s) { return interrupted(*static_cast<State*>(s)); };
  bool done = on_main ? evaluation.run(nullptr, nullptr) : evaluation.run(watch, &state);
  Reference failure(done ? nullptr : take_exception());
  Reference after(PyObject_CallOneArg(services.swap_no_execution, before.object));
  if (after.object == nullptr) PyErr_Clear();
  if (done && !on_main && interrupted(state)) {
    failure = Reference(PyObject_CallNoArgs(PyExc_KeyboardInterrupt));
    done = false;
  }
  if (done) return {};
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(failure.object)), failure.object);
  failure = Reference(nullptr);
  std::string error = report(state.target->name);
  evaluation.detach_kept();
  return error;
}

XLA_FFI_Error* execute(const XLA_FFI_CallFrame& frame) {
  State* state = nullptr;
  if (XLA_FFI_Error* error = get_state(frame, state)) return error;
  InFlight guard;  // counted before the flag is read: see close_trampoline
  if (closing) return make_error(frame, XLA_FFI_Error_Code_ABORTED, "the interpreter is shutting down");
  nb::gil_scoped_acquire gil;
  DefaultFloats floats;
  try {
    const std::string error = execute_with_gil(*state, frame);
    return error.empty() ? nullptr : make_error(frame, XLA_FFI_Error_Code_INTERNAL, error);
  } catch (const std::exception& error) {
    return make_error(frame, XLA_FFI_Error_Code_INTERNAL, error.what());
  }
}

// No GIL here: XLA compiles on any thread.
ffi::ErrorOr<std::unique_ptr<State>> Instantiate(ffi::Dictionary attributes) {
  auto key = attributes.get<std::string_view>("key");
  auto batch = attributes.get<std::string_view>("batch");
  if (key.has_error()) return ffi::Unexpected(key.error());
  if (batch.has_error()) return ffi::Unexpected(batch.error());
  auto state = std::make_unique<State>();
  state->key = std::string(*key);
  state->batch = std::string(*batch);
  state->target = find_target(state->key);
  return state;
}

XLA_FFI_DEFINE_HANDLER(kInstantiate, Instantiate, ffi::Ffi::BindInstantiate().Attrs());
// Answers what XLA asks of every handler before the first call.
XLA_FFI_DEFINE_HANDLER(
    kMetadata, [](ffi::RemainingArgs, ffi::RemainingRets) { return ffi::Error::Success(); },
    ffi::Ffi::Bind().RemainingArgs().RemainingRets());

}  // namespace

std::string report_exception(const std::string& name) { return report(name); }

bool is_promised(const Target& target, const std::string& batch, const XLA_FFI_CallFrame& frame) {
  Reference operands(PyList_New(0)), results(PyList_New(0));
  const auto add = [](PyObject* list, const XLA_FFI_Buffer& buffer) {
    Reference shape(PyTuple_New(static_cast<Py_ssize_t>(buffer.rank) + 1));
    if (shape.object == nullptr) return false;
    for (Py_ssize_t i = 0; i <= static_cast<Py_ssize_t>(buffer.rank); ++i) {
      PyObject* number = PyLong_FromLongLong(i == 0 ? static_cast<long long>(buffer.dtype) : buffer.dims[i - 1]);
      if (number == nullptr) return false;
      PyTuple_SET_ITEM(shape.object, i, number);
    }
    return PyList_Append(list, shape.object) == 0;
  };
  if (operands.object == nullptr || results.object == nullptr) return false;
  for (size_t i = 0; i < static_cast<size_t>(frame.args.size); ++i) {
    if (!add(operands.object, argument(frame, i))) return false;
  }
  for (size_t i = 0; i < static_cast<size_t>(frame.rets.size); ++i) {
    if (!add(results.object, result(frame, i))) return false;
  }
  Reference answer(PyObject_CallFunction(target.check, "s#OO", batch.data(), static_cast<Py_ssize_t>(batch.size()),
                                         operands.object, results.object));
  return answer.object != nullptr;
}

TargetPtr resolve_key(const std::string& key) {
  State state;
  state.key = key;
  return resolve(state) ? state.target : nullptr;
}

void close_trampoline(double seconds) {
  closing = true;
  Py_BEGIN_ALLOW_THREADS;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (in_flight > 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  Py_END_ALLOW_THREADS;
}

}  // namespace linops

// The state's type must be known before the handler, on each platform: XLA asks for metadata first.
extern "C" XLA_FFI_Error* linops_instantiate(XLA_FFI_CallFrame* frame) {
  static std::once_flag once;
  XLA_FFI_Error* error = nullptr;
  std::call_once(once, [&] {
    error = xla::ffi::Ffi::RegisterTypeId(frame->api, "LinopsJaxStateCpu", &linops::State::id, &linops::State::info);
  });
  return error != nullptr ? error : linops::kInstantiate(frame);
}

extern "C" XLA_FFI_Error* linops_execute(XLA_FFI_CallFrame* frame) {
  return linops::asks_for_metadata(*frame) ? linops::kMetadata(frame) : linops::execute(*frame);
}

// native.cpp: from XLA to a native hook and back: the state of an executable, errors.
#include "native.h"

#include <nanobind/nanobind.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "frame.h"
#include "plan.h"
#include "registry.h"
#include "team.h"
#include "trampoline.h"
#include "worker.h"
#include "xla/ffi/api/ffi.h"

namespace nb = nanobind;
namespace ffi = xla::ffi;

namespace linops {
namespace {

// What the first execution finds out for all later ones.
struct Prepared {
  TargetPtr target;
  std::unique_ptr<const Plan> plan;
};

// Owned by the executable.
struct State {
  static ffi::TypeId id;
  static ffi::TypeInfo info;
  std::string key;
  std::string batch;  // what each operand has of each batch axis, see batch.h
  TargetPtr target;   // null for a program from elsewhere
  std::atomic<const Prepared*> prepared{nullptr};

  ~State() { delete prepared.load(); }
};
ffi::TypeId State::id = {};
ffi::TypeInfo State::info = ffi::MakeTypeInfo<State>();

// Errors take the detour through Python, where lo.last_error() and eager calls find them.
std::string report_text(const std::string& name, const std::string& text) {
  InFlight guard;  // counted before the flag is read: see close_trampoline
  if (closing) return name + " failed: " + text;
  nb::gil_scoped_acquire gil;
  PyObject* message = PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
  if (message != nullptr) PyErr_SetObject(PyExc_RuntimeError, message);
  Py_XDECREF(message);
  return report_exception(name);
}

// For a program that came from elsewhere. Null with the text of an error.
TargetPtr resolve(const std::string& key, std::string& error) {
  InFlight guard;
  if (closing) {
    error = "the interpreter is shutting down";
    return nullptr;
  }
  nb::gil_scoped_acquire gil;
  TargetPtr found = resolve_key(key);
  if (found == nullptr) error = report_exception("linops_jax");
  return found;
}

// The text of an error where the operator would not promise these shapes.
std::string check_promise(const Target& target, const std::string& batch, const XLA_FFI_CallFrame& frame) {
  InFlight guard;
  if (closing) return "the interpreter is shutting down";
  nb::gil_scoped_acquire gil;
  return is_promised(target, batch, frame) ? std::string() : report_exception(target.name);
}

// Null with the text of an error.
[[gnu::noinline]] const Prepared* prepare(State& state, const XLA_FFI_CallFrame& frame, std::string& error) {
  auto made = std::make_unique<Prepared>();
  made->target = state.target != nullptr ? state.target : resolve(state.key, error);
  if (made->target == nullptr) return nullptr;
  if (made->target->function == nullptr) {
    error = "this program calls it as a native hook, but it is a host hook. Export the program again.";
  } else {
    made->plan = make_plan(made->target->signature, state.batch, frame, error);
  }
  if (made->plan == nullptr) {
    error = report_text(made->target->name, error);
    return nullptr;
  }
  error = check_promise(*made->target, state.batch, frame);
  if (!error.empty()) return nullptr;
  const Prepared* first = nullptr;  // another thread may be
  return state.prepared.compare_exchange_strong(first, made.get()) ? made.release() : first;
}

// Only the ways into Python count as calls in flight: to the interpreter's end a C function is no more than any other
// part of a program.
XLA_FFI_Error* execute(const XLA_FFI_CallFrame& frame) {
  State* state = nullptr;
  if (XLA_FFI_Error* error = get_state(frame, state)) return error;
  try {
    std::string error;
    const Prepared* prepared = state->prepared;
    if (prepared == nullptr) prepared = prepare(*state, frame, error);
    if (prepared == nullptr) return make_error(frame, XLA_FFI_Error_Code_INTERNAL, error);
    const Execution execution{*prepared->target, *prepared->plan, frame};
    const int64_t evaluations = execution.plan.evaluations;
    if (evaluations == 0) return nullptr;
    const bool parallel = execution.target.parallel && evaluations > 1;
    error = parallel ? run_in_parallel(execution) : run_on_this_thread(execution, 0, evaluations);
    if (error.empty()) return nullptr;
    return make_error(frame, XLA_FFI_Error_Code_INTERNAL, report_text(execution.target.name, error));
  } catch (const std::exception& error) {
    return make_error(frame, XLA_FFI_Error_Code_INTERNAL, error.what());
  }
}

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
}  // namespace linops

extern "C" XLA_FFI_Error* linops_native_instantiate(XLA_FFI_CallFrame* frame) {
  static std::once_flag once;
  XLA_FFI_Error* error = nullptr;
  std::call_once(once, [&] {
    error = xla::ffi::Ffi::RegisterTypeId(frame->api, "LinopsJaxNativeCpu", &linops::State::id, &linops::State::info);
  });
  return error != nullptr ? error : linops::kInstantiate(frame);
}

extern "C" XLA_FFI_Error* linops_native_execute(XLA_FFI_CallFrame* frame) {
  return linops::asks_for_metadata(*frame) ? linops::kMetadata(frame) : linops::execute(*frame);
}

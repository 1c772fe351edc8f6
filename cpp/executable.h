// executable.h: what an executable keeps for its calls of a hook, and the two FFI handlers of every kind of hook.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "frame.h"
#include "loop.h"
#include "plans.h"
#include "registry.h"
#include "xla/ffi/api/ffi.h"

namespace linops {

// What the first execution finds out for all later ones.
struct Resolved {
  TargetPtr target;
  std::unique_ptr<const Loop> loop;
  std::unique_ptr<Plans> plans;  // null for a hook that takes none
};

class Executable {
 public:
  Executable() = default;
  virtual ~Executable() { delete resolved_.load(); }
  Executable(const Executable&) = delete;
  Executable& operator=(const Executable&) = delete;

  // One call, without the GIL. The text of an error; empty if there is none.
  virtual std::string run(const XLA_FFI_CallFrame& frame) = 0;

  // Where no program of XLA says it: see on_arrays.h.
  void set(TargetPtr target, std::string batch);

  // What the program says. No GIL here: XLA compiles on any thread.
  xla::ffi::Error read(const xla::ffi::Dictionary& attributes);

  const Resolved* resolved() const { return resolved_; }  // null before the first execution
  // With the GIL held; checks all that the program says of the call. Null with the text of an error.
  const Resolved* resolve(bool is_native, const XLA_FFI_CallFrame& frame, std::string& error);

 private:
  std::string key_;
  std::string batch_;  // what each operand has of each batch axis, see batch.h
  TargetPtr target_;   // null for a program from elsewhere
  std::atomic<const Resolved*> resolved_{nullptr};
};

// ---- the two handlers -----------------------------------------------------------------------------------------------

// State: an Executable with a type that XLA knows by kType and id.
template <typename State>
xla::ffi::ErrorOr<std::unique_ptr<State>> make_state(xla::ffi::Dictionary attributes) {
  auto state = std::make_unique<State>();
  xla::ffi::Error error = state->read(attributes);
  if (error.failure()) return xla::ffi::Unexpected(std::move(error));
  return state;
}

// The state's type must be known before the handler, on each platform: XLA asks for metadata first.
template <typename State>
XLA_FFI_Error* instantiate(XLA_FFI_CallFrame* frame) {
  static constexpr xla::ffi::TypeInfo info = xla::ffi::MakeTypeInfo<State>();
  static std::once_flag once;
  XLA_FFI_Error* error = nullptr;
  std::call_once(once, [&] { error = xla::ffi::Ffi::RegisterTypeId(frame->api, State::kType, &State::id, &info); });
  if (error != nullptr) return error;
  static const auto* const handler = xla::ffi::Ffi::BindInstantiate().Attrs().To(&make_state<State>).release();
  return handler->Call(frame);
}

XLA_FFI_Error* answer_metadata(XLA_FFI_CallFrame* frame);  // what XLA asks of every handler before the first call

template <typename State>
XLA_FFI_Error* execute(XLA_FFI_CallFrame* frame) {
  if (asks_for_metadata(*frame)) return answer_metadata(frame);
  State* state = nullptr;
  if (XLA_FFI_Error* error = get_state(*frame, state)) return error;
  try {
    const std::string error = state->run(*frame);
    return error.empty() ? nullptr : make_error(*frame, XLA_FFI_Error_Code_INTERNAL, error);
  } catch (const std::exception& error) {
    return make_error(*frame, XLA_FFI_Error_Code_INTERNAL, error.what());
  }
}

}  // namespace linops

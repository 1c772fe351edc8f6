// frame.h: XLA's call frame read by hand. The decoders of ffi.h cost as much as all the rest of a small call.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "plan.h"
#include "xla/ffi/api/ffi.h"

namespace linops {

inline bool asks_for_metadata(const XLA_FFI_CallFrame& frame) {
  return frame.extension_start != nullptr && frame.extension_start->type == XLA_FFI_Extension_Metadata;
}

inline const XLA_FFI_Buffer& argument(const XLA_FFI_CallFrame& frame, size_t i) {
  return *static_cast<const XLA_FFI_Buffer*>(frame.args.args[i]);
}

inline const XLA_FFI_Buffer& result(const XLA_FFI_CallFrame& frame, size_t i) {
  return *static_cast<const XLA_FFI_Buffer*>(frame.rets.rets[i]);
}

// Null with the text of an error.
inline std::unique_ptr<const Plan> make_plan(const Signature& signature, const std::string& batch,
                                             const XLA_FFI_CallFrame& frame, std::string& error) {
  std::vector<Shape> operands, results;
  auto describe = [](const XLA_FFI_Buffer& buffer) { return Shape{buffer.dtype, buffer.rank, buffer.dims}; };
  for (size_t i = 0; i < static_cast<size_t>(frame.args.size); ++i) operands.push_back(describe(argument(frame, i)));
  for (size_t i = 0; i < static_cast<size_t>(frame.rets.size); ++i) results.push_back(describe(result(frame, i)));
  return Plan::make(signature, batch, operands, results, error);
}

// The state of the executable. An error is XLA's own.
template <typename State>
XLA_FFI_Error* get_state(const XLA_FFI_CallFrame& frame, State*& state) {
  XLA_FFI_State_Get_Args args = {};
  args.struct_size = XLA_FFI_State_Get_Args_STRUCT_SIZE;
  args.ctx = frame.ctx;
  args.stage = XLA_FFI_ExecutionStage_INSTANTIATE;
  args.type_id = &State::id;
  XLA_FFI_Error* error = frame.api->XLA_FFI_State_Get(&args);
  state = static_cast<State*>(args.state);
  return error;
}

inline XLA_FFI_Error* make_error(const XLA_FFI_CallFrame& frame, XLA_FFI_Error_Code code, const std::string& text) {
  XLA_FFI_Error_Create_Args args = {};
  args.struct_size = XLA_FFI_Error_Create_Args_STRUCT_SIZE;
  args.message = text.c_str();
  args.errc = code;
  return frame.api->XLA_FFI_Error_Create(&args);
}

}  // namespace linops

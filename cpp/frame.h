// frame.h: XLA's call frame read by hand. The decoders of ffi.h cost as much as all the rest of a small call.
#pragma once

#include <cstddef>
#include <string>

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

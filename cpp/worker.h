// worker.h: evaluations of a native hook, one after the other, on one thread.
#pragma once

#include <cstdint>
#include <string>

#include "loop.h"
#include "registry.h"
#include "xla/ffi/api/c_api.h"

namespace linops {

struct Execution {
  const Target& target;
  const Loop& loop;
  const XLA_FFI_CallFrame& frame;
};

// Evaluations first to last - 1 of the batch. Nothing, or the text of an error.
std::string run_on_this_thread(const Execution& execution, int64_t first, int64_t last);

}  // namespace linops

// worker.h: evaluations of a native hook, one after the other, on one thread.
#pragma once

#include <cstdint>
#include <string>

#include "loop.h"
#include "plans.h"
#include "registry.h"
#include "xla/ffi/api/c_api.h"

namespace linops {

struct Execution {
  const Target& target;
  const Loop& loop;
  Plans* plans;  // null for a hook that takes none
  const XLA_FFI_CallFrame& frame;
};

// The text of an error; empty if there is none.
struct Failure {
  std::string text;
  bool is_reported = false;  // whether Python knows the exception already
  explicit operator bool() const { return !text.empty(); }
};

// Evaluations first to last - 1 of the batch.
Failure run_on_this_thread(const Execution& execution, int64_t first, int64_t last);

}  // namespace linops

// on_arrays.h: a hook called on NumPy arrays instead of XLA's buffers, for platforms where XLA cannot call the
// extension: JAX's own callback brings the arrays.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <memory>
#include <string>
#include <vector>

#include "executable.h"

namespace linops {

// It has the guards, the loop over a batch and the errors of a call in a program of XLA, and owns the target as that
// does.
class OnArrays {
 public:
  OnArrays(TargetPtr target, std::string batch);

  // Calls the hook, which fills the results. GIL held. The text of an error, which has been reported; empty if there is
  // none. Arrays that are not contiguous, or that XLA has no element type for, are a Python exception: false.
  bool run(const std::vector<PyObject*>& operands, const std::vector<PyObject*>& results, std::string& error);

 private:
  std::unique_ptr<Executable> executable_;
};

}  // namespace linops

// on_arrays.cpp: see on_arrays.h.
#include "on_arrays.h"

#include <exception>
#include <utility>

#include "native.h"
#include "trampoline.h"
#include "views.h"

namespace linops {
namespace {

struct Buffers {
  std::vector<XLA_FFI_Buffer> buffers;
  std::vector<void*> pointers;

  // False with a Python exception.
  bool read(const std::vector<PyObject*>& arrays) {
    buffers.resize(arrays.size());
    for (size_t i = 0; i < arrays.size(); ++i) {
      if (!read_array(arrays[i], buffers[i])) return false;
      pointers.push_back(&buffers[i]);
    }
    return true;
  }
};

}  // namespace

OnArrays::OnArrays(TargetPtr target, std::string batch)
    : executable_(target->function != nullptr ? make_native_executable() : make_host_executable()) {
  executable_->set(std::move(target), std::move(batch));
}

bool OnArrays::run(const std::vector<PyObject*>& operands, const std::vector<PyObject*>& results, std::string& error) {
  Buffers given, wanted;
  if (!given.read(operands) || !wanted.read(results)) return false;
  XLA_FFI_CallFrame frame = {};
  frame.args.size = static_cast<int64_t>(operands.size());
  frame.args.args = given.pointers.data();
  frame.rets.size = static_cast<int64_t>(results.size());
  frame.rets.rets = wanted.pointers.data();
  Py_BEGIN_ALLOW_THREADS;
  try {
    error = executable_->run(frame);
  } catch (const std::exception& raised) {  // nanobind would meet it without the GIL
    error = raised.what();
  }
  Py_END_ALLOW_THREADS;
  return true;
}

}  // namespace linops

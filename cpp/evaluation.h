// evaluation.h: one execution of a host hook: views of the buffers, the call for each element of a batch, what it
// returned.
#pragma once

#include "canary.h"
#include "few.h"
#include "loop.h"
#include "registry.h"
#include "views.h"
#include "xla/ffi/api/c_api.h"

namespace linops {

// The GIL is held throughout. What returns false has set a Python exception.
class Evaluation {
 public:
  Evaluation(const Target& target, const Loop& loop, IdleViews& idle, const XLA_FFI_CallFrame& frame);
  ~Evaluation() { drop_views(); }
  Evaluation(const Evaluation&) = delete;
  Evaluation& operator=(const Evaluation&) = delete;

  // interrupted: asked between the elements of a batch; may be null
  bool run(bool (*interrupted)(void*), void* context);
  // For a hook that failed and kept its arrays: they must not crash whoever reads them later.
  void detach_kept();

 private:
  bool call();
  bool call_once(int canary);
  bool call_again();
  bool show_views();
  void give_back_views();
  void drop_views();
  void guard_outputs(int canary);
  bool check_answer(PyObject* result) const;
  int unwritten(size_t output, int canary) const {
    return guarded_[output] ? find_canary(layout_of(output), data_of(output), canary) : 0;
  }
  bool store_results(PyObject* result);
  bool holds_an_input(size_t output) const;
  const Layout& layout_of(size_t output) const { return loop_.layouts[inputs_ + output]; }
  char* data_of(size_t output) const { return data_[inputs_ + output]; }
  bool ignored(size_t output) const { return target_.signature.ignored[output] == '1'; }
  bool any_kept() const;
  bool still_kept() const;

  const Target& target_;
  const Loop& loop_;
  IdleViews& idle_;
  const XLA_FFI_CallFrame& frame_;
  const size_t inputs_;
  const size_t outputs_;
  const size_t shown_;        // so many of inputs and outputs does the hook see
  Few<char*> data_;           // of inputs, then outputs, in the current element of the batch
  Few<bool> guarded_;         // outputs with canaries
  Few<PyObject*> arguments_;  // one free slot in front, as the vectorcall protocol likes it; then the views
  size_t views_ = 0;          // so many of them are owned
};

}  // namespace linops

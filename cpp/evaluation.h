// evaluation.h: one execution of a host hook: views of the buffers, the call for each element of a batch, what it
// returned.
#pragma once

#include <string>

#include "canary.h"
#include "executable.h"
#include "few.h"
#include "loop.h"
#include "plans.h"
#include "registry.h"
#include "views.h"
#include "xla/ffi/api/c_api.h"

namespace linops {

// The GIL is held throughout. What returns false has set a Python exception.
class Evaluation {
 public:
  Evaluation(const Resolved& resolved, IdleViews& idle, const XLA_FFI_CallFrame& frame);
  ~Evaluation() { drop_views(); }
  Evaluation(const Evaluation&) = delete;
  Evaluation& operator=(const Evaluation&) = delete;

  // interrupted: asked between the elements of a batch; may be null
  bool run(bool (*interrupted)(void*), void* context);
  // For a hook that failed and kept its arrays: they must not crash whoever reads them later.
  void detach_kept();
  // What failed, for messages: the hook, or `prepare`.
  const std::string& failed() const { return has_plan_failed_ ? plans_->name() : target_.name; }

 private:
  bool call();
  bool find_plan();
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
  Plans* const plans_;  // null for a hook that takes none
  IdleViews& idle_;
  const XLA_FFI_CallFrame& frame_;
  const size_t inputs_;
  const size_t outputs_;
  const size_t shown_;  // so many of inputs and outputs does the hook see
  Few<char*> data_;     // of inputs, then outputs, in the current element of the batch
  Few<bool> guarded_;   // outputs with canaries
  Few<PyObject*>
      arguments_;     // one free slot in front, as the vectorcall protocol likes it; then the views; then a plan
  size_t views_ = 0;  // so many of them are owned
  PlanPtr plan_;
  bool has_plan_failed_ = false;
};

}  // namespace linops

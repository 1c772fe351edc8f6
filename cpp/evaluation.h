// evaluation.h: one execution of a host hook: views of the buffers, the call for each element of a batch, what it
// returned.
#pragma once

#include "few.h"
#include "plan.h"
#include "registry.h"
#include "views.h"
#include "xla/ffi/api/c_api.h"

namespace linops {

// The canary of one output; another value in each call.
class Canary {
 public:
  void place(const Layout& layout, char* data);  // GIL held
  bool alive() const;

 private:
  uint64_t value_ = 0;
  char* data_ = nullptr;
  int64_t bytes_ = 0;
};

// The GIL is held throughout. What returns false has set a Python exception.
class Evaluation {
 public:
  Evaluation(const Target& target, const Plan& plan, IdleViews& idle, const XLA_FFI_CallFrame& frame);
  ~Evaluation() { drop_views(); }
  Evaluation(const Evaluation&) = delete;
  Evaluation& operator=(const Evaluation&) = delete;

  // interrupted: asked between the elements of a batch; may be null
  bool run(bool (*interrupted)(void*), void* context);
  // For a hook that failed and kept its arrays: they must not crash whoever reads them later.
  void detach_kept();

 private:
  bool call();
  bool show_views();
  void give_back_views();
  void drop_views();
  void guard_outputs();
  bool check_outputs(PyObject* result) const;
  bool store_results(PyObject* result);
  bool holds_an_input(size_t output) const;
  const Layout& layout_of(size_t output) const { return plan_.layouts[inputs_ + output]; }
  char* data_of(size_t output) const { return data_[inputs_ + output]; }
  bool ignored(size_t output) const { return target_.ignored[output] == '1'; }
  bool any_kept() const;
  bool still_kept() const;

  const Target& target_;
  const Plan& plan_;
  IdleViews& idle_;
  const XLA_FFI_CallFrame& frame_;
  const size_t inputs_;
  const size_t outputs_;
  const size_t shown_;  // so many of inputs and outputs does the hook see
  Few<char*> data_;     // of inputs, then outputs, in the current element of the batch
  Few<Canary> canaries_;
  Few<PyObject*> arguments_;  // one free slot in front, as the vectorcall protocol likes it; then the views
  size_t views_ = 0;          // so many of them are owned
};

}  // namespace linops

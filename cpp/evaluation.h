// evaluation.h: one execution of a host hook: buffers to views, the loop over batch axes, the call, what it returned.
#pragma once

#include <string>
#include <vector>

#include "few.h"
#include "registry.h"
#include "views.h"
#include "xla/ffi/api/c_api.h"

namespace linops {

struct Operand {
  Window window;
  int64_t steps[kMaxBatch];  // bytes per step of each batch axis in the loop, 0 where the operand does not have it
  int64_t offset;
};

// The batch axes of one execution: those looped over here, and those handed to the hook.
struct Batch {
  size_t axes = 0;
  int64_t sizes[kMaxBatch];
  bool looped[kMaxBatch];
};

// Random bytes at both ends of an output; a hook that wrote neither end did not write.
class Canary {
 public:
  void place(const Window& window, char* data);  // GIL held
  bool alive() const;

 private:
  static constexpr size_t kSize = 8;
  uint64_t value_ = 0;
  char* first_ = nullptr;
  char* last_ = nullptr;
};

// The GIL is held throughout. What returns false has set a Python exception.
class Evaluation {
 public:
  Evaluation(const Target& target, IdleViews& idle, const XLA_FFI_CallFrame& frame);
  ~Evaluation() { drop_views(); }
  Evaluation(const Evaluation&) = delete;
  Evaluation& operator=(const Evaluation&) = delete;

  // masks: what each operand has of each batch axis, see registry.h
  bool plan(const std::vector<std::string>& masks);
  // interrupted: asked between the elements of a batch; may be null
  bool run(bool (*interrupted)(void*), void* context);
  // For a hook that failed and kept its arrays: they must not crash whoever reads them later.
  void detach_kept();

 private:
  bool read_batch(const std::vector<std::string>& masks);
  bool add(size_t index, const XLA_FFI_Buffer& buffer, const char* mask, bool is_field);
  bool advance(int64_t* index);
  bool call();
  bool show_views();
  void give_back_views();
  void drop_views();
  void guard_outputs();
  bool check_outputs(PyObject* result) const;
  bool store_results(PyObject* result);
  bool holds_an_input(const Operand& output) const;
  bool ignored(size_t output) const { return target_.ignored[output] == '1'; }
  bool any_kept() const;
  bool still_kept() const;

  const Target& target_;
  IdleViews& idle_;
  const XLA_FFI_CallFrame& frame_;
  const size_t inputs_;
  const size_t outputs_;
  const size_t shown_;  // so many of inputs and outputs does the hook see
  Batch batch_;
  Few<Operand> operands_;  // inputs, then outputs
  Few<Canary> canaries_;
  Few<PyObject*> arguments_;  // one free slot in front, as the vectorcall protocol likes it; then the views
  size_t views_ = 0;          // so many of them are owned
};

}  // namespace linops

// evaluation.cpp: see evaluation.h.
#include "evaluation.h"

#include <chrono>
#include <cstring>
#include <string>
#include <thread>

#include "canary.h"
#include "frame.h"
#include "interpreter.h"
#include "reference.h"

namespace linops {
namespace {

std::string shape_of(const Layout& layout) {
  std::string text = "(";
  for (int i = 0; i < layout.rank; ++i) text += (i > 0 ? ", " : "") + std::to_string(layout.dims[i]);
  return text + (layout.rank == 1 ? ",)" : ")");
}

// What a hook finds in a result that nobody will look at.
void write_zeros(const Layout& layout, char* data, int axis = 0) {
  if (layout.contiguous) {
    std::memset(data, 0, static_cast<size_t>(layout.bytes));
  } else if (axis == layout.rank) {
    std::memset(data, 0, static_cast<size_t>(layout.type->bytes));
  } else {
    for (int64_t i = 0; i < layout.dims[axis]; ++i) write_zeros(layout, data + i * layout.strides[axis], axis + 1);
  }
}

}  // namespace

Evaluation::Evaluation(const Resolved& resolved, IdleViews& idle, const XLA_FFI_CallFrame& frame)
    : target_(*resolved.target),
      loop_(*resolved.loop),
      plans_(resolved.plans.get()),
      idle_(idle),
      frame_(frame),
      inputs_(static_cast<size_t>(frame.args.size)),
      outputs_(static_cast<size_t>(frame.rets.size)),
      shown_(target_.takes_out ? inputs_ + outputs_ : inputs_),
      data_(inputs_ + outputs_),
      guarded_(outputs_),
      arguments_(shown_ + 2) {
  for (size_t i = 0; i < inputs_; ++i) data_[i] = static_cast<char*>(argument(frame, i).data);
  for (size_t i = 0; i < outputs_; ++i) data_[inputs_ + i] = static_cast<char*>(result(frame, i).data);
}

bool Evaluation::run(bool (*interrupted)(void*), void* context) {
  if (loop_.evaluations == 0) return true;
  Loop::Position position(loop_);
  while (true) {
    if (!call()) return false;
    if (!position.next([this](size_t i, int64_t bytes) { data_[i] += bytes; })) return true;
    if (interrupted != nullptr && interrupted(context)) {
      PyErr_SetNone(PyExc_KeyboardInterrupt);
      return false;
    }
  }
}

// ---- the call -------------------------------------------------------------------------------------------------------

bool Evaluation::call() {
  if (plans_ != nullptr && !find_plan()) return false;
  if (!call_once(0)) return false;
  for (size_t i = 0; target_.takes_out && i < outputs_; ++i) {
    if (unwritten(i, 0) != 0) return call_again();
  }
  give_back_views();
  return true;
}

bool Evaluation::find_plan() {
  if (plan_ == nullptr || plans_->depends_on_element(loop_)) plan_ = plans_->find(loop_, data_.data());
  has_plan_failed_ = plan_ == nullptr;
  return plan_ != nullptr;
}

bool Evaluation::call_once(int canary) {
  if (!show_views()) return false;
  const size_t extra = plan_ != nullptr ? 1 : 0;
  if (plan_ != nullptr) arguments_[shown_ + 1] = plan_->object;
  if (target_.takes_out) guard_outputs(canary);
  static PyObject* const names = Py_BuildValue("(s)", "out");
  const bool keyword = target_.direct && target_.takes_out;
  target_.calls->fetch_add(1, std::memory_order_relaxed);
  Reference result(PyObject_Vectorcall(target_.call, arguments_.data() + 1,
                                       (keyword ? inputs_ : shown_ + extra) | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                       keyword ? names : nullptr));
  if (result.object == nullptr) return false;
  if (!(target_.takes_out ? check_answer(result.object) : store_results(result.object))) return false;
  result = Reference(nullptr);
  if (any_kept() && still_kept()) {
    PyErr_Format(PyExc_RuntimeError,
                 "%s kept a reference to one of its arrays after it returned. Arrays given to a hook are views of "
                 "XLA's memory, valid only during the call: keep a copy (x.copy()) instead.",
                 target_.name.c_str());
    return false;
  }
  return true;
}

// Whether what looks unwritten is, see canary.h. If not, the second call has written all results.
[[gnu::noinline]] bool Evaluation::call_again() {
  Few<int> before(outputs_);
  for (size_t i = 0; i < outputs_; ++i) before[i] = unwritten(i, 0);
  give_back_views();
  if (!call_once(1)) return false;
  for (size_t i = 0; i < outputs_; ++i) {
    if ((before[i] & unwritten(i, 1)) == 0) continue;
    PyErr_Format(PyExc_RuntimeError,
                 "%s did not write all of out%s of shape %s, which infer_shape promised. Fill it in place "
                 "(out[...] = ..., not out = ...).",
                 target_.name.c_str(), outputs_ == 1 ? "" : (" number " + std::to_string(i)).c_str(),
                 shape_of(layout_of(i)).c_str());
    return false;
  }
  give_back_views();
  return true;
}

bool Evaluation::show_views() {
  for (; views_ < shown_; ++views_) {
    PyObject* view = idle_.take(views_);
    if (view != nullptr) {
      aim(view, data_[views_]);
    } else {
      view = make_view(loop_.layouts[views_], data_[views_], views_ >= inputs_);
      if (view == nullptr) return false;
    }
    arguments_[views_ + 1] = view;
  }
  return true;
}

void Evaluation::give_back_views() {
  while (views_ > 0) {
    PyObject* view = arguments_[views_--];
    if (is_as_made(view, loop_.layouts[views_], views_ >= inputs_)) {
      idle_.give(views_, view);
    } else {
      Py_DECREF(view);
    }
  }
}

void Evaluation::drop_views() {
  while (views_ > 0) Py_DECREF(arguments_[views_--]);
}

// Where a hook works in place, nothing may be written before it has read.
bool Evaluation::holds_an_input(size_t output) const {
  for (size_t i = 0; i < inputs_; ++i) {
    if (argument(frame_, i).data == result(frame_, output).data) return true;
  }
  return false;
}

void Evaluation::guard_outputs(int canary) {
  for (size_t i = 0; i < outputs_; ++i) {
    guarded_[i] = false;
    if (holds_an_input(i)) continue;
    if (!ignored(i)) {
      guarded_[i] = layout_of(i).elements > 0;
      if (guarded_[i]) place_canary(layout_of(i), data_of(i), canary);
    } else {
      write_zeros(layout_of(i), data_of(i));
    }
  }
}

bool Evaluation::check_answer(PyObject* result) const {
  const bool written = result == Py_None || (target_.direct && result == arguments_[shown_]);
  if (!written) {
    PyErr_Format(PyExc_TypeError,
                 "%s takes out=, so it must fill it and return None or out itself, but it returned %.100s. Write into "
                 "out (out[...] = ...), or drop the parameter and return the result.",
                 target_.name.c_str(), Py_TYPE(result)->tp_name);
    return false;
  }
  return true;
}

bool Evaluation::store_results(PyObject* result) {
  for (size_t i = 0; i < outputs_; ++i) {
    PyObject* value = target_.direct ? result : PyTuple_GET_ITEM(result, static_cast<Py_ssize_t>(i));
    if (has_type_and_shape(value, layout_of(i))) {
      if (!copy_array(value, layout_of(i), data_of(i))) return false;
      continue;
    }
    Reference view(make_view(layout_of(i), data_of(i), true));
    if (view.object == nullptr) return false;
    Reference done(PyObject_CallFunction(target_.store, "nOO", static_cast<Py_ssize_t>(i), value, view.object));
    if (done.object == nullptr) return false;
  }
  return true;
}

// ---- views that outlive the call ------------------------------------------------------------------------------------

bool Evaluation::any_kept() const {
  for (size_t i = 1; i <= views_; ++i) {
    if (Py_REFCNT(arguments_[i]) > 1) return true;
  }
  return false;
}

// Cycles and threads that are about to let go are no offence: judge after a collection, and more than once. The cycles
// of a call are young; all garbage of a process with JAX takes a tenth of a second.
bool Evaluation::still_kept() const {
  for (int milliseconds = 0; milliseconds <= 16; milliseconds = milliseconds == 0 ? 1 : 2 * milliseconds) {
    Reference collected(PyObject_CallFunction(services.collect, "i", milliseconds == 0 ? 1 : 2));
    if (collected.object == nullptr) PyErr_Clear();
    if (!any_kept()) return false;
    Py_BEGIN_ALLOW_THREADS std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    Py_END_ALLOW_THREADS
  }
  return any_kept();
}

void Evaluation::detach_kept() {
  if (!any_kept() || !still_kept()) return;
  for (size_t i = 1; i <= views_; ++i) {
    if (Py_REFCNT(arguments_[i]) <= 1) continue;
    Reference derived(PyObject_CallOneArg(services.derived_arrays, arguments_[i]));
    if (derived.object == nullptr) PyErr_Clear();
    Reference none(PyList_New(0));
    detach(arguments_[i], derived.object != nullptr ? derived.object : none.object);
  }
}

}  // namespace linops

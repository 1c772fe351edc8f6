// evaluation.cpp: see evaluation.h.
#include "evaluation.h"

#include <chrono>
#include <cstring>
#include <thread>

#include "frame.h"
#include "reference.h"
#include "trampoline.h"

namespace linops {
namespace {

constexpr int64_t kGuarded = 16;  // bytes from which an unwritten output is noticed

char* data_of(const Operand& operand) { return operand.window.base + operand.offset; }

std::string shape_of(const Window& window) {
  std::string text = "(";
  for (int i = 0; i < window.rank; ++i) text += (i > 0 ? ", " : "") + std::to_string(window.dims[i]);
  return text + (window.rank == 1 ? ",)" : ")");
}

}  // namespace

void Canary::place(const Window& window, char* data) {
  first_ = nullptr;
  const int64_t bytes = window.elements * window.itemsize;
  if (!window.contiguous || bytes < kGuarded) return;
  static uint64_t state =
      0x9E3779B97F4A7C15ull ^ static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  value_ = state;
  first_ = data;
  last_ = data + bytes - kSize;
  std::memcpy(first_, &value_, kSize);
  std::memcpy(last_, &value_, kSize);
}

bool Canary::alive() const {
  return first_ != nullptr && (std::memcmp(first_, &value_, kSize) == 0 || std::memcmp(last_, &value_, kSize) == 0);
}

Evaluation::Evaluation(const Target& target, IdleViews& idle, const XLA_FFI_CallFrame& frame)
    : target_(target),
      idle_(idle),
      frame_(frame),
      inputs_(static_cast<size_t>(frame.args.size)),
      outputs_(static_cast<size_t>(frame.rets.size)),
      shown_(target.takes_out ? inputs_ + outputs_ : inputs_),
      operands_(inputs_ + outputs_),
      canaries_(outputs_),
      arguments_(shown_ + 1) {}

// ---- buffers --------------------------------------------------------------------------------------------------------

bool Evaluation::plan(const std::vector<std::string>& masks) {
  if (!read_batch(masks)) return false;
  for (size_t i = 0; i < inputs_; ++i) {
    const char* mask = masks.empty() ? nullptr : masks[i].c_str();
    if (!add(i, argument(frame_, i), mask, target_.looped[i] == '1')) return false;
  }
  for (size_t i = 0; i < outputs_; ++i) {
    if (!add(inputs_ + i, result(frame_, i), nullptr, false)) return false;
  }
  return true;
}

bool Evaluation::read_batch(const std::vector<std::string>& masks) {
  batch_.axes = masks.empty() ? 0 : masks[0].size();
  if (batch_.axes > static_cast<size_t>(kMaxBatch)) {
    PyErr_Format(PyExc_ValueError, "more than %d nested vmaps are not supported", kMaxBatch);
    return false;
  }
  for (size_t axis = 0; axis < batch_.axes; ++axis) {
    batch_.sizes[axis] = 1;
    batch_.looped[axis] = !target_.batched;
    for (size_t i = 0; i < masks.size(); ++i) {
      if (masks[i][axis] != kHas) continue;
      batch_.sizes[axis] = argument(frame_, i).dims[position_of(masks[i], axis)];
      if (target_.looped[i] == '1') batch_.looped[axis] = true;
    }
  }
  return true;
}

// Without a mask it has all batch axes.
bool Evaluation::add(size_t index, const XLA_FFI_Buffer& buffer, const char* mask, bool is_field) {
  const int64_t* dims = buffer.dims;
  const auto rank = static_cast<size_t>(buffer.rank);
  if (rank > static_cast<size_t>(kMaxRank)) {
    PyErr_Format(PyExc_ValueError, "arrays of rank %zu are not supported (at most %d, batch axes included)", rank,
                 kMaxRank);
    return false;
  }
  Operand& operand = operands_[index];
  Window& w = operand.window;
  w.base = static_cast<char*>(buffer.data);
  w.dtype = static_cast<int>(buffer.dtype);
  w.itemsize = itemsize(buffer);
  int64_t strides[kMaxRank];
  int64_t bytes = w.itemsize;
  for (size_t i = rank; i-- > 0;) {
    strides[i] = bytes;
    bytes *= dims[i];
  }
  operand.offset = 0;
  w.rank = 0;
  w.elements = 1;
  auto show = [&](int64_t size, int64_t stride) {
    w.dims[w.rank] = size;
    w.strides[w.rank++] = stride;
    w.elements *= size;
  };
  size_t position = 0;
  for (size_t axis = 0; axis < batch_.axes; ++axis) {
    const bool has = mask == nullptr || mask[axis] == kHas;
    if (batch_.looped[axis]) {
      operand.steps[axis] = has ? strides[position] : 0;
    } else {
      operand.steps[axis] = 0;
      if (!is_field) show(has ? dims[position] : 1, has ? strides[position] : 0);
    }
    position += has || mask[axis] == kCopied ? 1 : 0;
  }
  for (; position < rank; ++position) show(dims[position], strides[position]);
  w.contiguous = true;
  int64_t expected = w.itemsize;
  for (int i = w.rank; i-- > 0;) {
    if (w.dims[i] != 1 && w.strides[i] != expected) w.contiguous = false;
    expected *= w.dims[i];
  }
  return true;
}

// ---- the loop -------------------------------------------------------------------------------------------------------

bool Evaluation::run(bool (*interrupted)(void*), void* context) {
  for (size_t axis = 0; axis < batch_.axes; ++axis) {
    if (batch_.looped[axis] && batch_.sizes[axis] == 0) return true;
  }
  int64_t index[kMaxBatch] = {};
  while (true) {
    if (!call()) return false;
    if (!advance(index)) return true;
    if (interrupted != nullptr && interrupted(context)) {
      PyErr_SetNone(PyExc_KeyboardInterrupt);
      return false;
    }
  }
}

// To the next element of the batch; false after the last one.
bool Evaluation::advance(int64_t* index) {
  for (size_t axis = batch_.axes; axis-- > 0;) {
    if (!batch_.looped[axis]) continue;
    const bool inside = ++index[axis] < batch_.sizes[axis];
    const int64_t steps = inside ? 1 : 1 - index[axis];
    for (size_t i = 0; i < inputs_ + outputs_; ++i) operands_[i].offset += steps * operands_[i].steps[axis];
    if (inside) return true;
    index[axis] = 0;
  }
  return false;
}

// ---- the call -------------------------------------------------------------------------------------------------------

bool Evaluation::call() {
  if (!show_views()) return false;
  if (target_.takes_out) guard_outputs();
  static PyObject* const names = Py_BuildValue("(s)", "out");
  const bool keyword = target_.direct && target_.takes_out;
  Reference result(PyObject_Vectorcall(target_.call, arguments_.data() + 1,
                                       (keyword ? inputs_ : shown_) | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                       keyword ? names : nullptr));
  if (result.object == nullptr) return false;
  if (!(target_.takes_out ? check_outputs(result.object) : store_results(result.object))) return false;
  result = Reference(nullptr);
  if (any_kept() && still_kept()) {
    PyErr_Format(PyExc_RuntimeError,
                 "%s kept a reference to one of its arrays after it returned. Arrays given to a hook are views of "
                 "XLA's memory, valid only during the call: keep a copy (x.copy()) instead.",
                 target_.name.c_str());
    return false;
  }
  give_back_views();
  return true;
}

bool Evaluation::show_views() {
  for (; views_ < shown_; ++views_) {
    const Operand& o = operands_[views_];
    PyObject* view = idle_.take(views_);
    if (view != nullptr) {
      aim(view, data_of(o));
    } else {
      view = make_view(o.window, data_of(o), views_ >= inputs_);
      if (view == nullptr) return false;
    }
    arguments_[views_ + 1] = view;
  }
  return true;
}

void Evaluation::give_back_views() {
  while (views_ > 0) {
    PyObject* view = arguments_[views_--];
    if (is_as_made(view, operands_[views_].window, views_ >= inputs_)) {
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
bool Evaluation::holds_an_input(const Operand& output) const {
  for (size_t i = 0; i < inputs_; ++i) {
    if (operands_[i].window.base == output.window.base) return true;
  }
  return false;
}

void Evaluation::guard_outputs() {
  for (size_t i = 0; i < outputs_; ++i) {
    const Operand& o = operands_[inputs_ + i];
    if (holds_an_input(o)) continue;
    if (!ignored(i)) {
      canaries_[i].place(o.window, data_of(o));
    } else if (o.window.contiguous) {
      std::memset(data_of(o), 0, static_cast<size_t>(o.window.elements * o.window.itemsize));
    }
  }
}

bool Evaluation::check_outputs(PyObject* result) const {
  const bool written = result == Py_None || (target_.direct && result == arguments_[shown_]);
  if (!written) {
    PyErr_Format(PyExc_TypeError,
                 "%s takes out=, so it must fill it and return None or out itself, but it returned %.100s. Write into "
                 "out (out[...] = ...), or drop the parameter and return the result.",
                 target_.name.c_str(), Py_TYPE(result)->tp_name);
    return false;
  }
  for (size_t i = 0; i < outputs_; ++i) {
    if (!canaries_[i].alive()) continue;
    PyErr_Format(PyExc_RuntimeError,
                 "%s did not write all of out%s of shape %s, which infer_shape promised. Fill it in place "
                 "(out[...] = ..., not out = ...).",
                 target_.name.c_str(), outputs_ == 1 ? "" : (" number " + std::to_string(i)).c_str(),
                 shape_of(operands_[inputs_ + i].window).c_str());
    return false;
  }
  return true;
}

bool Evaluation::store_results(PyObject* result) {
  for (size_t i = 0; i < outputs_; ++i) {
    PyObject* value = target_.direct ? result : PyTuple_GET_ITEM(result, static_cast<Py_ssize_t>(i));
    const Operand& o = operands_[inputs_ + i];
    if (has_type_and_shape(value, o.window)) {
      if (!copy_array(value, o.window, data_of(o))) return false;
      continue;
    }
    Reference view(make_view(o.window, data_of(o), true));
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

// Cycles and threads that are about to let go are no offence: judge after a collection, and more than once.
bool Evaluation::still_kept() const {
  for (int milliseconds = 0; milliseconds <= 16; milliseconds = milliseconds == 0 ? 1 : 2 * milliseconds) {
    Reference collected(PyObject_CallNoArgs(services.collect));
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

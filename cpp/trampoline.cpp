// trampoline.cpp: buffers to views, the loop over batch axes, the call, what it returned, errors.
#include "trampoline.h"

#include <nanobind/nanobind.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#if defined(__SSE2__)
#include <xmmintrin.h>
#else
#include <cfenv>
#endif

#include "interrupt.h"
#include "registry.h"
#include "views.h"
#include "xla/ffi/api/ffi.h"

namespace nb = nanobind;
namespace ffi = xla::ffi;

namespace linops {

Services services;
std::atomic<int64_t> in_flight{0};
std::atomic<bool> closing{false};

namespace {

constexpr int64_t kGuarded = 16;  // bytes from which an unwritten output is noticed
constexpr size_t kCanary = 8;

// Owned by the executable.
struct State {
  static ffi::TypeId id;
  static ffi::TypeInfo info;
  std::string key;
  std::vector<std::string> masks;  // what each operand has of each batch axis, see registry.h
  TargetPtr target;                // set at instantiation, or at the first execution of a program from elsewhere
  int64_t run = -1;                // the run whose interrupts are counted from `interrupts`; GIL held
  int64_t interrupts = 0;
};
ffi::TypeId State::id = {};
ffi::TypeInfo State::info = ffi::MakeTypeInfo<State>();

// XLA computes with denormals flushed to zero; hooks are to compute as they do when NumPy calls them.
class DefaultFloats {
 public:
#if defined(__SSE2__)
  DefaultFloats() : before_(_mm_getcsr()) { _mm_setcsr(before_ & ~kFlush); }
  ~DefaultFloats() { _mm_setcsr((_mm_getcsr() & ~kFlush) | (before_ & kFlush)); }

 private:
  static constexpr unsigned kFlush = 0x8040;  // flush to zero, denormals are zero
  unsigned before_;
#else
  DefaultFloats() {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloats() { std::fesetenv(&before_); }

 private:
  std::fenv_t before_;
#endif
};

struct Reference {  // owns a Python reference
  PyObject* object;
  explicit Reference(PyObject* object) : object(object) {}
  Reference(Reference&& other) noexcept : object(std::exchange(other.object, nullptr)) {}
  Reference& operator=(Reference&& other) noexcept {
    std::swap(object, other.object);
    return *this;
  }
  ~Reference() { Py_XDECREF(object); }
};

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

template <typename Dims>
bool plan(Operand& operand, const Dims& dims, const ffi::AnyBuffer& buffer, const Batch& batch, const char* mask,
          bool is_field) {
  const size_t rank = dims.size();
  if (rank > static_cast<size_t>(kMaxRank)) {
    PyErr_Format(PyExc_ValueError, "arrays of rank %zu are not supported (at most %d, batch axes included)", rank,
                 kMaxRank);
    return false;
  }
  Window& w = operand.window;
  w.base = static_cast<char*>(buffer.untyped_data());
  w.dtype = static_cast<int>(buffer.element_type());
  w.itemsize = static_cast<int64_t>(ffi::ByteWidth(buffer.element_type()));
  int64_t strides[kMaxRank];
  int64_t bytes = w.itemsize;
  for (size_t i = rank; i-- > 0;) {
    strides[i] = bytes;
    bytes *= dims[i];
  }
  operand.offset = 0;
  w.rank = 0;
  w.elements = 1;
  auto add = [&](int64_t size, int64_t stride) {
    w.dims[w.rank] = size;
    w.strides[w.rank++] = stride;
    w.elements *= size;
  };
  size_t position = 0;
  for (size_t axis = 0; axis < batch.axes; ++axis) {
    const bool has = mask == nullptr || mask[axis] == kHas;
    if (batch.looped[axis]) {
      operand.steps[axis] = has ? strides[position] : 0;
    } else {
      operand.steps[axis] = 0;
      if (!is_field) add(has ? dims[position] : 1, has ? strides[position] : 0);
    }
    position += has || mask[axis] == kCopied ? 1 : 0;
  }
  for (; position < rank; ++position) add(dims[position], strides[position]);
  w.contiguous = true;
  int64_t expected = w.itemsize;
  for (int i = w.rank; i-- > 0;) {
    if (w.dims[i] != 1 && w.strides[i] != expected) w.contiguous = false;
    expected *= w.dims[i];
  }
  return true;
}

// Random bytes at both ends of an output; a hook that wrote neither end did not write.
class Canary {
 public:
  void place(const Window& window, char* data) {
    first_ = nullptr;
    const int64_t bytes = window.elements * window.itemsize;
    if (!window.contiguous || bytes < kGuarded) return;
    static uint64_t state =
        0x9E3779B97F4A7C15ull ^
        static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());  // GIL held
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    value_ = state;
    first_ = data;
    last_ = data + bytes - kCanary;
    std::memcpy(first_, &value_, kCanary);
    std::memcpy(last_, &value_, kCanary);
  }
  bool alive() const {
    return first_ != nullptr &&
           (std::memcmp(first_, &value_, kCanary) == 0 || std::memcmp(last_, &value_, kCanary) == 0);
  }

 private:
  uint64_t value_ = 0;
  char* first_ = nullptr;
  char* last_ = nullptr;
};

bool any_kept(const std::vector<Reference>& views) {
  for (const Reference& view : views) {
    if (view.object != nullptr && Py_REFCNT(view.object) > 1) return true;
  }
  return false;
}

// Cycles and threads that are about to let go are no offence: judge after a collection, and more than once.
bool still_kept(const std::vector<Reference>& views) {
  for (int milliseconds = 0; milliseconds <= 16; milliseconds = milliseconds == 0 ? 1 : 2 * milliseconds) {
    Reference collected(PyObject_CallNoArgs(services.collect));
    if (collected.object == nullptr) PyErr_Clear();
    if (!any_kept(views)) return false;
    Py_BEGIN_ALLOW_THREADS std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    Py_END_ALLOW_THREADS
  }
  return any_kept(views);
}

// The error has been made; what the hook kept must not crash whoever reads it later.
void detach_kept(const std::vector<Reference>& views) {
  for (const Reference& view : views) {
    if (view.object == nullptr || Py_REFCNT(view.object) <= 1) continue;
    Reference derived(PyObject_CallOneArg(services.derived_arrays, view.object));
    if (derived.object == nullptr) PyErr_Clear();
    Reference none(PyList_New(0));
    detach(view.object, derived.object != nullptr ? derived.object : none.object);
  }
}

std::string shape_of(const Window& window) {
  std::string text = "(";
  for (int i = 0; i < window.rank; ++i) text += (i > 0 ? ", " : "") + std::to_string(window.dims[i]);
  return text + (window.rank == 1 ? ",)" : ")");
}

// One evaluation of a hook: a Python error is set when it returns false.
class Evaluation {
 public:
  Evaluation(const Target& target, size_t inputs, size_t outputs)
      : target_(target), operands_(new Operand[inputs + outputs]), inputs_(inputs), outputs_(outputs) {
    views_.reserve(inputs + outputs);
    arguments_.resize(inputs + outputs + 1);
    canaries_.resize(target.takes_out ? outputs : 0);
  }

  Operand& operand(size_t i) { return operands_[i]; }

  bool loop(const Batch& batch) {
    int64_t index[kMaxBatch] = {};
    while (true) {
      if (!call()) return false;
      size_t axis = batch.axes;
      while (axis-- > 0) {
        if (!batch.looped[axis]) continue;
        if (++index[axis] < batch.sizes[axis]) {
          for (size_t i = 0; i < inputs_ + outputs_; ++i) operands_[i].offset += operands_[i].steps[axis];
          break;
        }
        for (size_t i = 0; i < inputs_ + outputs_; ++i) {
          operands_[i].offset -= (index[axis] - 1) * operands_[i].steps[axis];
        }
        index[axis] = 0;
      }
      if (axis == static_cast<size_t>(-1)) return true;
      if (interrupted_ != nullptr && interrupted_(context_)) {
        PyErr_SetNone(PyExc_KeyboardInterrupt);
        return false;
      }
    }
  }

  void watch(bool (*interrupted)(void*), void* context) {
    interrupted_ = interrupted;
    context_ = context;
  }

  std::vector<Reference>& views() { return views_; }

 private:
  char* data(const Operand& o) const { return o.window.base + o.offset; }

  bool call() {
    views_.clear();
    PyObject** arguments = arguments_.data() + 1;
    const size_t shown = target_.takes_out ? inputs_ + outputs_ : inputs_;
    for (size_t i = 0; i < shown; ++i) {
      PyObject* view = make_view(operands_[i].window, data(operands_[i]), i >= inputs_);
      if (view == nullptr) return false;
      views_.emplace_back(view);
      arguments[i] = view;
    }
    if (target_.takes_out) guard_outputs();
    static PyObject* const names = Py_BuildValue("(s)", "out");
    const bool keyword = target_.direct && target_.takes_out;
    Reference result(PyObject_Vectorcall(target_.call, arguments,
                                         (keyword ? inputs_ : shown) | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                         keyword ? names : nullptr));
    if (result.object == nullptr) return false;
    if (!(target_.takes_out ? check_outputs(result.object) : store_results(result.object))) return false;
    result = Reference(nullptr);
    if (any_kept(views_) && still_kept(views_)) {
      PyErr_Format(PyExc_RuntimeError,
                   "%s kept a reference to one of its arrays after it returned. Arrays given to a hook are views of "
                   "XLA's memory, valid only during the call: keep a copy (x.copy()) instead.",
                   target_.name.c_str());
      return false;
    }
    return true;
  }

  bool ignored(size_t output) const { return target_.ignored[output] == '1'; }

  // Where a hook works in place, nothing may be written before it has read.
  bool holds_an_input(const Operand& output) const {
    for (size_t i = 0; i < inputs_; ++i) {
      if (operands_[i].window.base == output.window.base) return true;
    }
    return false;
  }

  void guard_outputs() {
    for (size_t i = inputs_; i < inputs_ + outputs_; ++i) {
      const Operand& o = operands_[i];
      if (holds_an_input(o)) continue;
      if (!ignored(i - inputs_)) {
        canaries_[i - inputs_].place(o.window, data(o));
      } else if (o.window.contiguous) {
        std::memset(data(o), 0, static_cast<size_t>(o.window.elements * o.window.itemsize));
      }
    }
  }

  bool check_outputs(PyObject* result) const {
    const bool written = result == Py_None || (target_.direct && result == views_.back().object);
    if (!written) {
      PyErr_Format(
          PyExc_TypeError,
          "%s takes out=, so it must fill it and return None or out itself, but it returned %.100s. Write into "
          "out (out[...] = ...), or drop the parameter and return the result.",
          target_.name.c_str(), Py_TYPE(result)->tp_name);
      return false;
    }
    for (size_t i = 0; i < canaries_.size(); ++i) {
      if (!canaries_[i].alive()) continue;
      const Window& w = operands_[inputs_ + i].window;
      PyErr_Format(PyExc_RuntimeError,
                   "%s did not write all of out%s of shape %s, which infer_shape promised. Fill it in place "
                   "(out[...] = ..., not out = ...).",
                   target_.name.c_str(), canaries_.size() == 1 ? "" : (" number " + std::to_string(i)).c_str(),
                   shape_of(w).c_str());
      return false;
    }
    return true;
  }

  bool store_results(PyObject* result) {
    for (size_t i = inputs_; i < inputs_ + outputs_; ++i) {
      PyObject* value = target_.direct ? result : PyTuple_GET_ITEM(result, static_cast<Py_ssize_t>(i - inputs_));
      const Operand& o = operands_[i];
      if (has_type_and_shape(value, o.window)) {
        if (!copy_array(value, o.window, data(o))) return false;
        continue;
      }
      Reference view(make_view(o.window, data(o), true));
      if (view.object == nullptr) return false;
      Reference done(
          PyObject_CallFunction(target_.store, "nOO", static_cast<Py_ssize_t>(i - inputs_), value, view.object));
      if (done.object == nullptr) return false;
    }
    return true;
  }

  const Target& target_;
  std::unique_ptr<Operand[]> operands_;  // inputs, then outputs; large, so left uninitialized until planned
  size_t inputs_;
  size_t outputs_;
  std::vector<Reference> views_;
  std::vector<Canary> canaries_;
  std::vector<PyObject*> arguments_;  // one free slot in front, as the vectorcall protocol likes it
  bool (*interrupted_)(void*) = nullptr;
  void* context_ = nullptr;
};

PyObject* take_exception() {
#if PY_VERSION_HEX >= 0x030C0000
  return PyErr_GetRaisedException();
#else
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return value;
#endif
}

// Hands the exception to Python's side, which keeps it, and turns it into the text that XLA carries.
ffi::Error report(const std::string& name) {
  Reference exception(take_exception());
  const bool interrupt = PyErr_GivenExceptionMatches(exception.object, PyExc_KeyboardInterrupt) != 0;
  Reference text(PyObject_CallFunction(services.report, "sO", name.c_str(), exception.object));
  const char* message = text.object != nullptr ? PyUnicode_AsUTF8(text.object) : nullptr;
  ffi::Error error(ffi::ErrorCode::kInternal, message != nullptr ? message : name + " failed");
  PyErr_Clear();
  // XLA swallowed the interrupt that Python raised in the hook: raise it again where Python is back in charge.
  if (interrupt && PyThread_get_thread_ident() == services.main_thread) PyErr_SetInterrupt();
  return error;
}

// True once a Ctrl-C arrived during this run while the main thread may be waiting for it.
bool interrupted(State& state) { return count_interrupts() != state.interrupts; }

void begin_run(State& state, int64_t run) {
  if (state.run == run) return;
  watch_interrupts();
  state.run = run;
  state.interrupts = count_interrupts();
}

bool resolve(State& state) {
  if (state.target != nullptr) return true;
  Reference found(PyObject_CallFunction(services.resolve, "s", state.key.c_str()));
  if (found.object == nullptr) return false;
  TargetHandle* handle = nullptr;
  if (!nb::try_cast<TargetHandle*>(nb::handle(found.object), handle) || handle == nullptr) {
    PyErr_SetString(PyExc_TypeError, "resolve() must return a Target");
    return false;
  }
  state.target = handle->target;
  return true;
}

bool read_batch(const State& state, ffi::RemainingArgs& args, Batch& batch) {
  batch.axes = state.masks.empty() ? 0 : state.masks[0].size();
  if (batch.axes > static_cast<size_t>(kMaxBatch)) {
    PyErr_Format(PyExc_ValueError, "more than %d nested vmaps are not supported", kMaxBatch);
    return false;
  }
  const Target& target = *state.target;
  for (size_t axis = 0; axis < batch.axes; ++axis) {
    batch.sizes[axis] = 1;
    batch.looped[axis] = !target.batched;
    for (size_t i = 0; i < state.masks.size(); ++i) {
      const std::string& mask = state.masks[i];
      if (mask[axis] != kHas) continue;
      batch.sizes[axis] = args.get<ffi::AnyBuffer>(i)->dimensions()[position_of(mask, axis)];
      if (target.looped[i] == '1') batch.looped[axis] = true;
    }
  }
  return true;
}

bool evaluate(State& state, ffi::RemainingArgs& args, ffi::RemainingRets& rets, bool on_main,
              std::vector<Reference>& kept) {
  Batch batch;
  if (!read_batch(state, args, batch)) return false;
  const Target& target = *state.target;
  Evaluation evaluation(target, args.size(), rets.size());
  for (size_t i = 0; i < args.size(); ++i) {
    const ffi::AnyBuffer buffer = *args.get<ffi::AnyBuffer>(i);
    const char* mask = state.masks.empty() ? nullptr : state.masks[i].c_str();
    if (!plan(evaluation.operand(i), buffer.dimensions(), buffer, batch, mask, target.looped[i] == '1')) return false;
  }
  for (size_t i = 0; i < rets.size(); ++i) {
    const ffi::AnyBuffer buffer = **rets.get<ffi::AnyBuffer>(i);
    if (!plan(evaluation.operand(args.size() + i), buffer.dimensions(), buffer, batch, nullptr, false)) return false;
  }
  for (size_t axis = 0; axis < batch.axes; ++axis) {
    if (batch.looped[axis] && batch.sizes[axis] == 0) return true;
  }
  if (!on_main) {
    evaluation.watch([](void* s) { return interrupted(*static_cast<State*>(s)); }, &state);
  }
  const bool done = evaluation.loop(batch);
  if (!done) kept = std::move(evaluation.views());
  return done;
}

// Everything that needs the GIL. JAX inside a hook would wait for the program that waits for the hook: it is refused.
ffi::Error execute_with_gil(State& state, int64_t run, ffi::RemainingArgs& args, ffi::RemainingRets& rets) {
  if (!resolve(state)) return report("linops_jax");
  const bool on_main = PyThread_get_thread_ident() == services.main_thread;
  if (!on_main) {
    begin_run(state, run);
    if (interrupted(state)) {
      PyErr_SetNone(PyExc_KeyboardInterrupt);
      return report(state.target->name);
    }
  }
  Reference before(PyObject_CallOneArg(services.swap_no_execution, Py_True));
  if (before.object == nullptr) return report(state.target->name);
  std::vector<Reference> kept;
  bool done = evaluate(state, args, rets, on_main, kept);
  Reference failure(done ? nullptr : take_exception());
  Reference after(PyObject_CallOneArg(services.swap_no_execution, before.object));
  if (after.object == nullptr) PyErr_Clear();
  if (done && !on_main && interrupted(state)) {
    failure = Reference(PyObject_CallNoArgs(PyExc_KeyboardInterrupt));
    done = false;
  }
  if (done) return ffi::Error::Success();
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(failure.object)), failure.object);
  failure = Reference(nullptr);
  ffi::Error error = report(state.target->name);
  if (any_kept(kept) && still_kept(kept)) detach_kept(kept);
  return error;
}

ffi::Error Execute(State* state, ffi::RunId run, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  InFlight guard;  // counted before the flag is read: see close_trampoline
  if (closing) return ffi::Error(ffi::ErrorCode::kAborted, "the interpreter is shutting down");
  nb::gil_scoped_acquire gil;
  DefaultFloats floats;
  try {
    return execute_with_gil(*state, run.run_id, args, rets);
  } catch (const std::exception& error) {
    return ffi::Error(ffi::ErrorCode::kInternal, error.what());
  }
}

// No GIL here: XLA compiles on any thread.
ffi::ErrorOr<std::unique_ptr<State>> Instantiate(ffi::Dictionary attributes) {
  auto key = attributes.get<std::string_view>("key");
  auto batch = attributes.get<std::string_view>("batch");
  if (key.has_error()) return ffi::Unexpected(key.error());
  if (batch.has_error()) return ffi::Unexpected(batch.error());
  auto state = std::make_unique<State>();
  state->key = std::string(*key);
  state->masks = split_masks(*batch);
  state->target = find_target(state->key);
  return state;
}

XLA_FFI_DEFINE_HANDLER(kInstantiate, Instantiate, ffi::Ffi::BindInstantiate().Attrs());
XLA_FFI_DEFINE_HANDLER(kExecute, Execute,
                       ffi::Ffi::Bind().Ctx<ffi::State<State>>().Ctx<ffi::RunId>().RemainingArgs().RemainingRets());

}  // namespace

std::string report_exception(const std::string& name) { return report(name).message(); }

TargetPtr resolve_key(const std::string& key) {
  State state;
  state.key = key;
  return resolve(state) ? state.target : nullptr;
}

void close_trampoline(double seconds) {
  closing = true;
  Py_BEGIN_ALLOW_THREADS;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (in_flight > 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  Py_END_ALLOW_THREADS;
}

}  // namespace linops

// The state's type must be known before the handler, on each platform: XLA asks for metadata first.
extern "C" XLA_FFI_Error* linops_instantiate(XLA_FFI_CallFrame* frame) {
  static std::once_flag once;
  XLA_FFI_Error* error = nullptr;
  std::call_once(once, [&] {
    error = xla::ffi::Ffi::RegisterTypeId(frame->api, "LinopsJaxStateCpu", &linops::State::id, &linops::State::info);
  });
  return error != nullptr ? error : linops::kInstantiate(frame);
}

extern "C" XLA_FFI_Error* linops_execute(XLA_FFI_CallFrame* frame) { return linops::kExecute(frame); }

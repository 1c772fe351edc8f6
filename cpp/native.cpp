// native.cpp: buffers to C structures, the loop over batch axes (on one thread or on several), the call, errors.
#include "native.h"

#include <nanobind/nanobind.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "few.h"
#include "frame.h"
#include "linops_jax/native.h"
#include "registry.h"
#include "trampoline.h"
#include "views.h"
#include "xla/ffi/api/ffi.h"

namespace nb = nanobind;
namespace ffi = xla::ffi;

namespace linops {
namespace {

constexpr size_t kErrorSize = 512;  // bytes for a function's error text
constexpr int64_t kGuarded = 16;    // bytes from which an unwritten output is noticed
constexpr size_t kCanary = 8;
constexpr int64_t kChunks = 4;  // parts per thread, for even load

// Owned by the executable.
struct State {
  static ffi::TypeId id;
  static ffi::TypeInfo info;
  std::string key;
  std::vector<std::string> masks;  // what each operand has of each batch axis, see registry.h
  TargetPtr owner;
  std::atomic<const Target*> target{nullptr};  // set at instantiation, or at a first execution
};
ffi::TypeId State::id = {};
ffi::TypeInfo State::info = ffi::MakeTypeInfo<State>();

// Random bytes: a function that leaves them at either end of an output did not write it.
const uint64_t canary = (static_cast<uint64_t>(std::random_device{}()) << 32) | std::random_device{}();

struct Layout {
  int64_t shape[kMaxRank + kMaxBatch];  // batch axes that a buffer lacks may come as axes of size 1
  int64_t strides[kMaxRank + kMaxBatch];
  int64_t steps[kMaxBatch];  // bytes per step of each looped axis, 0 where the operand does not have it
  int64_t bytes;             // of one evaluation
};

// The batch axes of one execution. The first ones are looped over, so that what remains is contiguous.
struct Batch {
  size_t axes = 0;
  size_t looped = 0;
  int64_t sizes[kMaxBatch];
  int64_t total = 1;  // evaluations
};

std::string shape_of(const linops_buffer& buffer) {
  std::string text = "(";
  for (int i = 0; i < buffer.rank; ++i) text += (i > 0 ? ", " : "") + std::to_string(buffer.shape[i]);
  return text + (buffer.rank == 1 ? ",)" : ")");
}

// A call of an XLA FFI handler for one element of a batch: XLA's own call, with other buffers and without our
// attributes.
class HandlerCall {
 public:
  HandlerCall(const XLA_FFI_CallFrame& frame, void* handler)
      : frame_(frame),
        handler_(reinterpret_cast<XLA_FFI_Handler*>(handler)),
        buffers_(operands(frame)),
        pointers_(operands(frame)) {
    const XLA_FFI_Attrs& attrs = frame.attrs;
    for (int64_t i = 0; i < attrs.size; ++i) {
      const std::string_view name(attrs.names[i]->ptr, attrs.names[i]->len);
      if (name == "key" || name == "batch") continue;
      types_.push_back(attrs.types[i]);
      names_.push_back(attrs.names[i]);
      values_.push_back(attrs.attrs[i]);
    }
    frame_.struct_size = XLA_FFI_CallFrame_STRUCT_SIZE;  // of the copy, whatever XLA's own has grown to
    frame_.attrs.size = static_cast<int64_t>(types_.size());
    frame_.attrs.types = types_.data();
    frame_.attrs.names = names_.data();
    frame_.attrs.attrs = values_.data();
    for (size_t i = 0; i < operands(frame); ++i) pointers_[i] = &buffers_[i];
    frame_.args.args = pointers_.data();
    frame_.rets.rets = pointers_.data() + frame.args.size;
  }

  // Nothing, or the text of an error.
  [[gnu::noinline]] std::string run(const linops_buffer* shown) {  // C functions are not to pay for it
    for (size_t i = 0; i < operands(frame_); ++i) {
      buffers_[i] = {XLA_FFI_Buffer_STRUCT_SIZE,
                     nullptr,
                     static_cast<XLA_FFI_DataType>(shown[i].dtype),
                     shown[i].data,
                     shown[i].rank,
                     const_cast<int64_t*>(shown[i].shape)};
    }
    frame_.future = nullptr;
    XLA_FFI_Error* error = handler_(&frame_);
    if (error == nullptr) {
      return frame_.future == nullptr ? "" : "an asynchronous FFI handler cannot be called for each element of a batch";
    }
    std::string text = ffi::internal::GetErrorMessage(frame_.api, error);
    ffi::internal::DestroyError(frame_.api, error);
    return text.empty() ? "it failed without an error text" : text;
  }

 private:
  static size_t operands(const XLA_FFI_CallFrame& frame) {
    return static_cast<size_t>(frame.args.size + frame.rets.size);
  }

  XLA_FFI_CallFrame frame_;
  XLA_FFI_Handler* handler_;
  Few<XLA_FFI_Buffer> buffers_;  // arguments, then results
  Few<void*> pointers_;
  std::vector<XLA_FFI_AttrType> types_;
  std::vector<XLA_FFI_ByteSpan*> names_;
  std::vector<void*> values_;
};

// Everything about one execution that does not change from one evaluation to the next.
class Plan {
 public:
  Plan(const Target& target, const XLA_FFI_CallFrame& frame)
      : target(target),
        frame(frame),
        inputs(static_cast<size_t>(frame.args.size)),
        outputs(static_cast<size_t>(frame.rets.size)),
        buffers(inputs + outputs),
        layouts(inputs + outputs) {}

  // False for a buffer of too many axes. Without a mask it has all batch axes.
  bool add(size_t index, const XLA_FFI_Buffer& source, const char* mask, bool is_field) {
    const auto rank = static_cast<size_t>(source.rank);
    if (rank > static_cast<size_t>(kMaxRank)) return false;
    const int64_t* dims = source.dims;
    Layout& layout = layouts[index];
    linops_buffer& buffer = buffers[index];
    const int64_t itemsize = linops::itemsize(source);
    buffer.data = source.data;
    buffer.strides = layout.strides;
    buffer.dtype = static_cast<int32_t>(source.dtype);
    if (batch.axes == 0) {
      buffer.shape = dims;
      set_strides(buffer, layout, static_cast<int32_t>(rank), itemsize);
      return true;
    }
    int64_t full[kMaxRank];
    int64_t bytes = itemsize;
    for (size_t i = rank; i-- > 0;) {
      full[i] = bytes;
      bytes *= dims[i];
    }
    size_t position = 0;
    int32_t shown = 0;
    for (size_t axis = 0; axis < batch.axes; ++axis) {
      const bool has = mask == nullptr || mask[axis] == kHas;
      if (axis < batch.looped) {
        layout.steps[axis] = has ? full[position] : 0;
      } else if (!is_field) {
        layout.shape[shown++] = has ? dims[position] : 1;
      }
      position += has || mask[axis] == kCopied ? 1 : 0;
    }
    for (; position < rank; ++position) layout.shape[shown++] = dims[position];
    buffer.shape = layout.shape;
    set_strides(buffer, layout, shown, itemsize);
    return true;
  }

  const Target& target;
  const XLA_FFI_CallFrame& frame;
  const size_t inputs;
  const size_t outputs;
  Batch batch;
  Few<linops_buffer> buffers;  // inputs, then outputs, of the first evaluation
  Few<Layout> layouts;

 private:
  static void set_strides(linops_buffer& buffer, Layout& layout, int32_t rank, int64_t itemsize) {
    buffer.rank = rank;
    buffer.size = 1;
    layout.bytes = itemsize;
    for (int32_t i = rank; i-- > 0;) {
      layout.strides[i] = layout.bytes;
      layout.bytes *= buffer.shape[i];
      buffer.size *= buffer.shape[i];
    }
  }
};

// Evaluations one after the other, on one thread, with buffers of its own.
class Worker {
 public:
  Worker(const Plan& plan, linops_buffer* buffers, HandlerCall* handler = nullptr)
      : plan_(plan), buffers_(buffers), handler_(handler) {
    call_.struct_size = sizeof(linops_call);
    call_.version = LINOPS_VERSION;
    call_.n_inputs = static_cast<int32_t>(plan.inputs);
    call_.n_outputs = static_cast<int32_t>(plan.outputs);
    call_.inputs = buffers;
    call_.outputs = buffers + plan.inputs;
    call_.user_data = plan.target.user_data;
    call_.error = text_;
    call_.error_size = kErrorSize;
  }

  // Evaluations first to last - 1 of the batch. The text of an error, or nothing.
  std::string run(int64_t first, int64_t last) {
    int64_t index[kMaxBatch];
    move_to(first, index);
    for (int64_t i = first; i < last; ++i) {
      if (i > first) advance(index);
      std::string error = evaluate();
      if (!error.empty()) return error;
    }
    return {};
  }

 private:
  void shift(size_t axis, int64_t steps) {
    for (size_t i = 0; i < plan_.inputs + plan_.outputs; ++i) {
      buffers_[i].data = static_cast<char*>(buffers_[i].data) + steps * plan_.layouts[i].steps[axis];
    }
  }

  void move_to(int64_t position, int64_t* index) {
    for (size_t axis = plan_.batch.looped; axis-- > 0;) {
      index[axis] = position % plan_.batch.sizes[axis];
      position /= plan_.batch.sizes[axis];
      shift(axis, index[axis]);
    }
  }

  void advance(int64_t* index) {
    for (size_t axis = plan_.batch.looped; axis-- > 0;) {
      if (++index[axis] < plan_.batch.sizes[axis]) return shift(axis, 1);
      shift(axis, 1 - plan_.batch.sizes[axis]);
      index[axis] = 0;
    }
  }

  std::string evaluate() {
    prepare_outputs();
    text_[0] = '\0';
    int code = 0;
    try {
      if (handler_ != nullptr) {
        std::string error = handler_->run(buffers_);
        return error.empty() ? check_outputs() : error;
      }
      code = plan_.target.function(&call_);
    } catch (const std::exception& error) {
      return std::string("it threw a C++ exception: ") + error.what();
    } catch (...) {
      return "it threw a C++ exception";
    }
    if (code == 0) return check_outputs();
    text_[kErrorSize - 1] = '\0';
    if (text_[0] != '\0') return text_;
    return "it returned " + std::to_string(code) + " without an error text (see linops_fail in linops_jax/native.h)";
  }

  bool ignored(size_t output) const { return plan_.target.ignored[output] == '1'; }

  // Where a function works in place, nothing may be written before it has read.
  bool holds_an_input(size_t output) const {
    for (size_t i = 0; i < plan_.inputs; ++i) {
      if (call_.inputs[i].data == call_.outputs[output].data) return true;
    }
    return false;
  }

  void prepare_outputs() {
    for (size_t i = 0; i < plan_.outputs; ++i) {
      auto* data = static_cast<char*>(call_.outputs[i].data);
      const int64_t bytes = plan_.layouts[plan_.inputs + i].bytes;
      if (holds_an_input(i)) continue;
      if (ignored(i)) {
        std::memset(data, 0, static_cast<size_t>(bytes));
      } else if (bytes >= kGuarded) {
        std::memcpy(data, &canary, kCanary);
        std::memcpy(data + bytes - kCanary, &canary, kCanary);
      }
    }
  }

  std::string check_outputs() const {
    for (size_t i = 0; i < plan_.outputs; ++i) {
      const auto* data = static_cast<const char*>(call_.outputs[i].data);
      const int64_t bytes = plan_.layouts[plan_.inputs + i].bytes;
      if (bytes < kGuarded || ignored(i) || holds_an_input(i)) continue;
      if (std::memcmp(data, &canary, kCanary) != 0 && std::memcmp(data + bytes - kCanary, &canary, kCanary) != 0) {
        continue;
      }
      return unwritten(i);
    }
    return {};
  }

  [[gnu::noinline]] std::string unwritten(size_t output) const {
    return plan_.target.name + " did not write all of output" +
           (plan_.outputs == 1 ? "" : " number " + std::to_string(output)) + " of shape " +
           shape_of(call_.outputs[output]) + ", which infer_shape promised. Fill it, or return an error.";
  }

  const Plan& plan_;
  linops_buffer* buffers_;
  HandlerCall* handler_;  // in place of a C function
  linops_call call_;
  char text_[kErrorSize];
};

[[gnu::noinline]] std::string run_handler(const Plan& plan, linops_buffer* buffers, int64_t first, int64_t last) {
  HandlerCall handler(plan.frame, reinterpret_cast<void*>(plan.target.function));
  return Worker(plan, buffers, &handler).run(first, last);
}

std::string run_on_this_thread(const Plan& plan, linops_buffer* buffers, int64_t first, int64_t last) {
  if (plan.target.is_handler) return run_handler(plan, buffers, first, last);
  return Worker(plan, buffers).run(first, last);
}

// A batch shared by threads of XLA's pool. The caller works as well and waits for nobody who has not started: with all
// threads of the pool waiting like that, no one would be left to work.
class Team {
 public:
  Team(const Plan& plan, int64_t threads)
      : plan_(&plan), total_(plan.batch.total), chunk_(std::max<int64_t>(1, total_ / (kChunks * threads))) {}

  int64_t chunks() const { return (total_ + chunk_ - 1) / chunk_; }

  void help() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (closed_) return;  // the plan is gone
      ++helping_;
    }
    work();
    std::lock_guard<std::mutex> lock(mutex_);
    if (--helping_ == 0) idle_.notify_all();
  }

  std::string finish() {
    work();
    std::unique_lock<std::mutex> lock(mutex_);
    closed_ = true;
    idle_.wait(lock, [this] { return helping_ == 0; });
    return error_;
  }

 private:
  void work() {
    while (!failed_) {
      const int64_t first = next_.fetch_add(chunk_);
      if (first >= total_) return;
      Few<linops_buffer> buffers(plan_->inputs + plan_->outputs);
      std::copy_n(plan_->buffers.data(), plan_->inputs + plan_->outputs, buffers.data());
      std::string error = run_on_this_thread(*plan_, buffers.data(), first, std::min(first + chunk_, total_));
      if (error.empty()) continue;
      failed_ = true;
      std::lock_guard<std::mutex> lock(mutex_);
      if (error_.empty()) error_ = std::move(error);
    }
  }

  const Plan* plan_;
  int64_t total_;
  int64_t chunk_;
  std::atomic<int64_t> next_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::condition_variable idle_;
  int helping_ = 0;
  bool closed_ = false;
  std::string error_;
};

[[gnu::noinline]] std::string run_in_parallel(const Plan& plan) {
  ffi::DiagnosticEngine diagnostic;
  auto pool = *ffi::CtxDecoding<ffi::ThreadPool>::Decode(plan.frame.api, plan.frame.ctx, diagnostic);
  const int64_t threads = pool.num_threads();
  if (threads < 2) return run_on_this_thread(plan, plan.buffers.data(), 0, plan.batch.total);
  auto team = std::make_shared<Team>(plan, threads);
  const int64_t helpers = std::min(threads, team->chunks()) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule([team] { team->help(); });
  return team->finish();
}

std::string run(const Plan& plan) {
  if (plan.target.parallel && plan.batch.total > 1) return run_in_parallel(plan);
  return run_on_this_thread(plan, plan.buffers.data(), 0, plan.batch.total);
}

bool read_batch(const State& state, const Target& target, const XLA_FFI_CallFrame& frame, Batch& batch) {
  batch.axes = state.masks.empty() ? 0 : state.masks[0].size();
  if (batch.axes > static_cast<size_t>(kMaxBatch)) return false;
  batch.looped = target.batched ? 0 : batch.axes;
  for (size_t axis = 0; axis < batch.axes; ++axis) {
    for (size_t i = 0; i < state.masks.size(); ++i) {
      const std::string& mask = state.masks[i];
      if (mask[axis] != kHas) continue;
      batch.sizes[axis] = argument(frame, i).dims[position_of(mask, axis)];
      if (target.looped[i] == '1') batch.looped = std::max(batch.looped, axis + 1);
    }
  }
  for (size_t axis = 0; axis < batch.looped; ++axis) batch.total *= batch.sizes[axis];
  return true;
}

std::string evaluate(const State& state, const Target& target, const XLA_FFI_CallFrame& frame) {
  Plan plan(target, frame);
  if (!read_batch(state, target, frame, plan.batch)) {
    return "more than " + std::to_string(kMaxBatch) + " nested vmaps are not supported";
  }
  bool fits = true;
  for (size_t i = 0; i < plan.inputs; ++i) {
    const char* mask = state.masks.empty() ? nullptr : state.masks[i].c_str();
    fits = fits && plan.add(i, argument(frame, i), mask, target.looped[i] == '1');
  }
  for (size_t i = 0; i < plan.outputs; ++i) {
    fits = fits && plan.add(plan.inputs + i, result(frame, i), nullptr, false);
  }
  if (!fits) return "arrays of more than " + std::to_string(kMaxRank) + " axes, batch included, are not supported";
  return run(plan);
}

// Errors take the detour through Python, where lo.last_error() and eager calls find them.
std::string report_text(const std::string& name, const std::string& text) {
  InFlight guard;  // counted before the flag is read: see close_trampoline
  if (closing) return name + " failed: " + text;
  nb::gil_scoped_acquire gil;
  PyObject* message = PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
  if (message != nullptr) PyErr_SetObject(PyExc_RuntimeError, message);
  Py_XDECREF(message);
  return report_exception(name);
}

// For a program that came from elsewhere. Nothing, or the text of an error.
std::string resolve(State& state) {
  InFlight guard;
  if (closing) return "the interpreter is shutting down";
  nb::gil_scoped_acquire gil;
  TargetPtr found = resolve_key(state.key);
  if (found == nullptr) return report_exception("linops_jax");
  if (state.target == nullptr) {  // another thread may have been first; the GIL orders them
    state.owner = std::move(found);
    state.target = state.owner.get();
  }
  return {};
}

// Only the ways into Python count as calls in flight: to the interpreter's end a C function is no more than any other
// part of a program.
XLA_FFI_Error* execute(const XLA_FFI_CallFrame& frame) {
  State* state = nullptr;
  if (XLA_FFI_Error* error = get_state(frame, state)) return error;
  try {
    if (state->target == nullptr) {
      const std::string error = resolve(*state);
      if (!error.empty()) return make_error(frame, XLA_FFI_Error_Code_INTERNAL, error);
    }
    const Target& target = *state->target;
    const std::string error = evaluate(*state, target, frame);
    if (error.empty()) return nullptr;
    return make_error(frame, XLA_FFI_Error_Code_INTERNAL, report_text(target.name, error));
  } catch (const std::exception& error) {
    return make_error(frame, XLA_FFI_Error_Code_INTERNAL, error.what());
  }
}

ffi::ErrorOr<std::unique_ptr<State>> Instantiate(ffi::Dictionary attributes) {
  auto key = attributes.get<std::string_view>("key");
  auto batch = attributes.get<std::string_view>("batch");
  if (key.has_error()) return ffi::Unexpected(key.error());
  if (batch.has_error()) return ffi::Unexpected(batch.error());
  auto state = std::make_unique<State>();
  state->key = std::string(*key);
  state->masks = split_masks(*batch);
  state->owner = find_target(state->key);
  state->target = state->owner.get();
  return state;
}

XLA_FFI_DEFINE_HANDLER(kInstantiate, Instantiate, ffi::Ffi::BindInstantiate().Attrs());
// Answers what XLA asks of every handler before the first call.
XLA_FFI_DEFINE_HANDLER(
    kMetadata, [](ffi::RemainingArgs, ffi::RemainingRets) { return ffi::Error::Success(); },
    ffi::Ffi::Bind().RemainingArgs().RemainingRets());

}  // namespace
}  // namespace linops

extern "C" XLA_FFI_Error* linops_native_instantiate(XLA_FFI_CallFrame* frame) {
  static std::once_flag once;
  XLA_FFI_Error* error = nullptr;
  std::call_once(once, [&] {
    error = xla::ffi::Ffi::RegisterTypeId(frame->api, "LinopsJaxNativeCpu", &linops::State::id, &linops::State::info);
  });
  return error != nullptr ? error : linops::kInstantiate(frame);
}

extern "C" XLA_FFI_Error* linops_native_execute(XLA_FFI_CallFrame* frame) {
  return linops::asks_for_metadata(*frame) ? linops::kMetadata(frame) : linops::execute(*frame);
}

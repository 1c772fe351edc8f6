// worker.cpp: the loop over batch axes, the call of a C function or an FFI handler, and its outputs.
#include "worker.h"

#include <cstring>
#include <exception>
#include <string_view>
#include <utility>
#include <vector>

#include "canary.h"
#include "few.h"
#include "floats.h"
#include "frame.h"
#include "interpreter.h"
#include "linops_jax/native.h"
#include "reference.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace linops {
namespace {

constexpr size_t kErrorSize = 512;  // bytes for a function's error text

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

class Worker {
 public:
  explicit Worker(const Execution& execution, HandlerCall* handler = nullptr)
      : target_(execution.target),
        loop_(execution.loop),
        plans_(execution.plans),
        inputs_(static_cast<size_t>(execution.frame.args.size)),
        outputs_(static_cast<size_t>(execution.frame.rets.size)),
        buffers_(inputs_ + outputs_),
        guarded_(outputs_),
        data_(plans_ != nullptr ? inputs_ : 0),
        handler_(handler) {
    for (size_t i = 0; i < inputs_; ++i) show(i, argument(execution.frame, i));
    for (size_t i = 0; i < outputs_; ++i) show(inputs_ + i, result(execution.frame, i));
    call_.struct_size = sizeof(linops_call);
    call_.version = LINOPS_VERSION;
    call_.n_inputs = static_cast<int32_t>(inputs_);
    call_.n_outputs = static_cast<int32_t>(outputs_);
    call_.inputs = buffers_.data();
    call_.outputs = buffers_.data() + inputs_;
    call_.user_data = target_.user_data;
    call_.error = text_;
    call_.error_size = kErrorSize;
    call_.plan = nullptr;
  }

  Failure run(int64_t first, int64_t last) {
    const auto move = [this](size_t i, int64_t bytes) {
      buffers_[i].data = static_cast<char*>(buffers_[i].data) + bytes;
    };
    Loop::Position position(loop_);
    position.go_to(first, move);
    for (int64_t i = first; i < last; ++i) {
      if (i > first) position.next(move);
      if (!evaluate()) break;
    }
    target_.calls->fetch_add(calls_, std::memory_order_relaxed);  // once: threads share it
    return {std::move(error_), is_reported_};
  }

 private:
  void show(size_t operand, const XLA_FFI_Buffer& buffer) {
    const Layout& layout = loop_.layouts[operand];
    buffers_[operand] = {buffer.data, layout.dims, layout.strides, layout.elements, layout.rank, layout.dtype};
  }

  bool evaluate() {
    if (plans_ != nullptr && !find_plan()) return false;
    if (!call_once(0)) return false;
    for (size_t i = 0; i < outputs_; ++i) {
      if (unwritten(i, 0) != 0) return call_again();
    }
    return true;
  }

  [[gnu::noinline]] bool find_plan() {
    if (plan_ != nullptr && !plans_->depends_on_element(loop_)) return true;
    for (size_t i = 0; i < inputs_; ++i) data_[i] = static_cast<char*>(buffers_[i].data);
    plan_ = plans_->known(loop_, data_.data());
    if (plan_ == nullptr && !make_plan()) return false;
    call_.plan = plan_->address;
    return true;
  }

  bool make_plan() {
    Entry entry;
    DefaultFloats floats;  // as in a host hook
    if (entry) plan_ = plans_->find(loop_, data_.data());
    if (plan_ != nullptr) return true;
    is_reported_ = static_cast<bool>(entry);
    error_ = entry ? report_exception(plans_->name()) : kShuttingDown;
    return false;
  }

  // False with error_ set. All ways to fail are apart, so that a call that succeeds does not pay for them.
  bool call_once(int canary) {
    guard_outputs(canary);
    ++calls_;
    text_[0] = '\0';
    try {
      if (handler_ != nullptr) {
        error_ = handler_->run(buffers_.data());
        if (!error_.empty()) return false;
      } else if (const int code = target_.function(&call_); code != 0) {
        return fail(code);
      }
    } catch (const std::exception& error) {
      return fail(error.what());
    } catch (...) {
      return fail(nullptr);
    }
    return true;
  }

  // Whether what looks unwritten is, see canary.h.
  [[gnu::noinline]] bool call_again() {
    Few<int> before(outputs_);
    for (size_t i = 0; i < outputs_; ++i) before[i] = unwritten(i, 0);
    if (!call_once(1)) return false;
    for (size_t i = 0; i < outputs_; ++i) {
      if ((before[i] & unwritten(i, 1)) != 0) return fail_unwritten(i);
    }
    return true;
  }

  int unwritten(size_t output, int canary) const {
    return guarded_[output] != nullptr ? find_canary(layout_of(output), guarded_[output], canary) : 0;
  }

  // Where a function works in place, nothing may be written before it has read.
  bool holds_an_input(size_t output) const {
    for (size_t i = 0; i < inputs_; ++i) {
      if (call_.inputs[i].data == call_.outputs[output].data) return true;
    }
    return false;
  }

  const Layout& layout_of(size_t output) const { return loop_.layouts[inputs_ + output]; }

  void guard_outputs(int canary) {
    for (size_t i = 0; i < outputs_; ++i) {
      auto* data = static_cast<char*>(call_.outputs[i].data);
      const bool ignored = target_.signature.ignored[i] == '1';
      guarded_[i] = nullptr;
      if (holds_an_input(i)) continue;
      if (ignored) {
        std::memset(data, 0, static_cast<size_t>(layout_of(i).bytes));
      } else if (layout_of(i).elements > 0) {
        place_canary(layout_of(i), data, canary);
        guarded_[i] = data;
      }
    }
  }

  [[gnu::noinline]] bool fail(int code) {
    text_[kErrorSize - 1] = '\0';
    error_ = text_;
    if (error_.empty()) {
      error_ =
          "it returned " + std::to_string(code) + " without an error text (see linops_fail in linops_jax/native.h)";
    }
    return false;
  }

  [[gnu::noinline]] bool fail(const char* exception) {
    error_ = std::string("it threw a C++ exception") + (exception != nullptr ? std::string(": ") + exception : "");
    return false;
  }

  [[gnu::noinline]] bool fail_unwritten(size_t output) {
    error_ = target_.name + " did not write all of output" +
             (outputs_ == 1 ? "" : " number " + std::to_string(output)) + " of shape " +
             shape_of(call_.outputs[output]) + ", which infer_shape promised. Fill it, or return an error.";
    return false;
  }

  const Target& target_;
  const Loop& loop_;
  Plans* const plans_;  // null for a hook that takes none
  const size_t inputs_;
  const size_t outputs_;
  Few<linops_buffer> buffers_;  // inputs, then outputs
  Few<char*> guarded_;          // outputs with canaries, or null
  Few<char*> data_;             // of inputs, to find a plan
  HandlerCall* handler_;        // in place of a C function
  linops_call call_;
  int64_t calls_ = 0;
  PlanPtr plan_;
  std::string error_;
  bool is_reported_ = false;
  char text_[kErrorSize];
};

[[gnu::noinline]] Failure run_handler(const Execution& execution, int64_t first, int64_t last) {
  HandlerCall handler(execution.frame, reinterpret_cast<void*>(execution.target.function));
  return Worker(execution, &handler).run(first, last);
}

}  // namespace

Failure run_on_this_thread(const Execution& execution, int64_t first, int64_t last) {
  if (execution.target.is_handler) return run_handler(execution, first, last);
  return Worker(execution).run(first, last);
}

}  // namespace linops

// plan.h: how one call of an executable is carried out, whenever it runs: what a hook sees of each buffer, and the loop
// over batch axes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "registry.h"
#include "xla/ffi/api/c_api.h"

namespace linops {

constexpr int kMaxRank = 32;  // of a buffer, batch axes included
constexpr int kMaxBatch = 16;

// What a hook sees of one buffer in one evaluation.
struct Layout {
  int dtype;  // XLA's element type
  int rank = 0;
  bool contiguous = true;
  int64_t elements = 1;
  int64_t bytes;
  int64_t dims[kMaxRank + kMaxBatch];  // batch axes that a buffer lacks may come as axes of size 1
  int64_t strides[kMaxRank + kMaxBatch];
  int64_t steps[kMaxBatch];  // bytes from one evaluation to the next along each batch axis
};

class Plan {
 public:
  // masks: what each operand has of each batch axis, see registry.h. Null with the text of an error.
  static std::unique_ptr<const Plan> make(const Target& target, const XLA_FFI_CallFrame& frame,
                                          const std::vector<std::string>& masks, std::string& error);

  // The evaluations of a batch, one after the other; move(operand, bytes) is told where their buffers are.
  class Position {
   public:
    explicit Position(const Plan& plan) : plan_(plan) {
      for (size_t axis = 0; axis < plan.axes_; ++axis) index_[axis] = 0;
    }

    template <typename Move>
    void go_to(int64_t evaluation, Move move) {
      for (size_t axis = plan_.axes_; axis-- > 0;) {
        if (!plan_.looped_[axis]) continue;
        index_[axis] = evaluation % plan_.sizes_[axis];
        evaluation /= plan_.sizes_[axis];
        shift(axis, index_[axis], move);
      }
    }

    // False after the last one.
    template <typename Move>
    bool next(Move move) {
      for (size_t axis = plan_.axes_; axis-- > 0;) {
        if (!plan_.looped_[axis]) continue;
        const bool inside = ++index_[axis] < plan_.sizes_[axis];
        shift(axis, inside ? 1 : 1 - index_[axis], move);
        if (inside) return true;
        index_[axis] = 0;
      }
      return false;
    }

   private:
    template <typename Move>
    void shift(size_t axis, int64_t steps, Move move) {
      for (size_t i = 0; i < plan_.layouts.size(); ++i) move(i, steps * plan_.layouts[i].steps[axis]);
    }

    const Plan& plan_;
    int64_t index_[kMaxBatch];
  };

  std::vector<Layout> layouts;  // inputs, then outputs
  int64_t evaluations = 1;

 private:
  void read_batch(const Target& target, const XLA_FFI_CallFrame& frame, const std::vector<std::string>& masks);
  void add(const XLA_FFI_Buffer& buffer, const char* mask, bool is_field);

  size_t axes_ = 0;  // of the batch: those looped over here, and those handed to the hook
  int64_t sizes_[kMaxBatch];
  bool looped_[kMaxBatch];
};

}  // namespace linops

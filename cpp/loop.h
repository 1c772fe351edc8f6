// loop.h: the loop of a call over its batch axes, and what a hook sees of each buffer in it: the same whenever an
// executable runs. Nothing of XLA or Python here, see batch.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "batch.h"
#include "dtypes.h"

namespace linops {

constexpr int kMaxRank = 32;  // of a buffer, batch axes included

// A buffer as the program describes it.
struct Shape {
  int64_t dtype;  // XLA's element type
  int64_t rank;
  const int64_t* dims;
};

// What compiled code takes as one operand or result.
struct Takes {
  uint64_t dtypes;  // a bit for each
  int rank;         // as the function sees it; negative: any
};

// What is the same in all calls of a hook in one structure, whatever their shapes.
struct Signature {
  bool batched;              // batch axes are handed over in one call
  bool contiguous;           // only contiguous arrays are: the axes that are looped over are the first ones
  std::string looped;        // per operand: '1' for a field, whose batch axes are always looped over
  std::string ignored;       // per result: '1' where there is nothing to compute (no derivative of an integer)
  std::vector<Takes> takes;  // per operand, then per result; empty: everything
};

// What a hook sees of one buffer in one evaluation.
struct Layout {
  int dtype;  // XLA's element type
  const Dtype* type;
  int rank = 0;
  bool contiguous = true;
  int64_t elements = 1;
  int64_t bytes;
  int64_t last;                        // bytes from the first component of its numbers to the last one
  int64_t dims[kMaxRank + kMaxBatch];  // batch axes that a buffer lacks may come as axes of size 1
  int64_t strides[kMaxRank + kMaxBatch];
  int64_t steps[kMaxBatch];  // bytes from one evaluation to the next along each batch axis
};

class Loop {
 public:
  // Checks all that the program says of the call, so that every evaluation stays inside of its buffers. batch: the
  // program's attribute. Null with the text of an error.
  static std::unique_ptr<const Loop> make(const Signature& signature, std::string_view batch,
                                          const std::vector<Shape>& operands, const std::vector<Shape>& results,
                                          std::string& error);

  // The evaluations of a batch, one after the other; move(operand, bytes) is told where their buffers are.
  class Position {
   public:
    explicit Position(const Loop& loop) : loop_(loop) {
      for (size_t axis = 0; axis < loop.axes_; ++axis) index_[axis] = 0;
    }

    template <typename Move>
    void go_to(int64_t evaluation, Move move) {
      for (size_t axis = loop_.axes_; axis-- > 0;) {
        if (!loop_.looped_[axis]) continue;
        index_[axis] = evaluation % loop_.sizes_[axis];
        evaluation /= loop_.sizes_[axis];
        shift(axis, index_[axis], move);
      }
    }

    // False after the last one.
    template <typename Move>
    bool next(Move move) {
      for (size_t axis = loop_.axes_; axis-- > 0;) {
        if (!loop_.looped_[axis]) continue;
        const bool inside = ++index_[axis] < loop_.sizes_[axis];
        shift(axis, inside ? 1 : 1 - index_[axis], move);
        if (inside) return true;
        index_[axis] = 0;
      }
      return false;
    }

   private:
    template <typename Move>
    void shift(size_t axis, int64_t steps, Move move) {
      for (size_t i = 0; i < loop_.layouts.size(); ++i) move(i, steps * loop_.layouts[i].steps[axis]);
    }

    const Loop& loop_;
    int64_t index_[kMaxBatch];
  };

  // Whether a buffer is at another place in other evaluations.
  bool moves(size_t buffer) const {
    const int64_t* steps = layouts[buffer].steps;
    return std::any_of(steps, steps + axes_, [](int64_t step) { return step != 0; });
  }

  std::vector<Layout> layouts;  // operands, then results
  int64_t evaluations = 1;

 private:
  bool read_batch(const Signature& signature, const Masks& masks, const std::vector<Shape>& operands,
                  const std::vector<Shape>& results, std::string& error);
  void add(const Shape& shape, const char* mask, bool is_field);

  size_t axes_ = 0;  // of the batch: those looped over here, and those handed to the hook
  int64_t sizes_[kMaxBatch];
  bool looped_[kMaxBatch];
};

}  // namespace linops

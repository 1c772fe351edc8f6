// loop.cpp: see loop.h.
#include "loop.h"

#include <algorithm>

namespace linops {
namespace {

std::string some(size_t count, const char* what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

// "operand 2" or "result 0"
std::string place(size_t i, size_t operands) {
  return i < operands ? "operand " + std::to_string(i) : "result " + std::to_string(i - operands);
}

std::string describe(const Shape& shape) {
  std::string text = std::string(find_dtype(shape.dtype)->name) + "[";
  for (int64_t i = 0; i < shape.rank; ++i) text += (i > 0 ? "," : "") + std::to_string(shape.dims[i]);
  return text + "]";
}

// Nothing where no number of bytes or elements is too large to count, empty axes or not; else the text of an error.
std::string check_shape(const Shape& shape, const std::string& where) {
  const Dtype* type = find_dtype(shape.dtype);
  if (type == nullptr) {
    return where + " has XLA's element type " + std::to_string(shape.dtype) + ", of which NumPy has no arrays";
  }
  if (shape.rank < 0 || shape.rank > kMaxRank) {
    return "arrays of rank " + std::to_string(shape.rank) + " are not supported (at most " + std::to_string(kMaxRank) +
           ", batch axes included)";
  }
  int64_t bytes = type->bytes;
  for (int64_t i = 0; i < shape.rank; ++i) {
    if (shape.dims[i] < 0 || __builtin_mul_overflow(bytes, std::max<int64_t>(shape.dims[i], 1), &bytes)) {
      return where + " is " + describe(shape) + ", which no array can be";
    }
  }
  return {};
}

std::string check_signature(const Signature& signature, const std::vector<Shape>& operands,
                            const std::vector<Shape>& results) {
  const size_t inputs = signature.looped.size(), outputs = signature.ignored.size();
  if (operands.size() != inputs || results.size() != outputs) {
    return "this program calls it with " + some(operands.size(), "operand") + " and " + some(results.size(), "result") +
           "; its key describes " + some(inputs, "operand") + " and " + some(outputs, "result") +
           ". Export the program again.";
  }
  for (size_t i = 0; i < inputs + outputs; ++i) {
    std::string error = check_shape(i < inputs ? operands[i] : results[i - inputs], place(i, inputs));
    if (!error.empty()) return error;
  }
  return {};
}

// What compiled code would take for something else.
std::string check_takes(const std::vector<Takes>& takes, const std::vector<Layout>& layouts, size_t operands) {
  if (!takes.empty() && takes.size() != layouts.size()) {
    return "its key describes " + some(takes.size(), "array") + "; this program calls it with " +
           std::to_string(layouts.size()) + ". Export the program again.";
  }
  for (size_t i = 0; i < takes.size(); ++i) {
    const bool fits = takes[i].rank < 0 || takes[i].rank == layouts[i].rank;
    if (fits && (takes[i].dtypes >> layouts[i].dtype & 1) != 0) continue;
    std::string expected;
    for (int code = 0; code < kDtypes; ++code) {
      if ((takes[i].dtypes >> code & 1) == 0 || find_dtype(code) == nullptr) continue;
      expected += (expected.empty() ? "" : ", ") + std::string(find_dtype(code)->name);
    }
    if (takes[i].rank >= 0) expected += " of rank " + std::to_string(takes[i].rank);
    return place(i, operands) + " is " + layouts[i].type->name + " of rank " + std::to_string(layouts[i].rank) +
           "; it is compiled for " + expected + ". Export the program again.";
  }
  return {};
}

std::string disagreement(const std::string& where, const Shape& shape, size_t axis, int64_t found,
                         const std::string& expected) {
  return where + " is " + describe(shape) + ", which has size " + std::to_string(found) + " along batch axis " +
         std::to_string(axis) + "; expected " + expected + ". Export the program again.";
}

std::string too_few_axes(const std::string& where, const Shape& shape, size_t axes) {
  return where + " is " + describe(shape) + "; expected at least " + std::to_string(axes) +
         (axes == 1 ? " axis" : " axes") + ", those of the batch. Export the program again.";
}

}  // namespace

std::unique_ptr<const Loop> Loop::make(const Signature& signature, std::string_view batch,
                                       const std::vector<Shape>& operands, const std::vector<Shape>& results,
                                       std::string& error) {
  Masks masks;
  error = check_signature(signature, operands, results);
  if (!error.empty() || !read_masks(batch, operands.size(), masks, error)) return nullptr;
  auto loop = std::make_unique<Loop>();
  if (!loop->read_batch(signature, masks, operands, results, error)) return nullptr;
  for (size_t i = 0; i < operands.size(); ++i) {
    loop->add(operands[i], masks.empty() ? nullptr : masks[i].c_str(), signature.looped[i] == '1');
  }
  for (const Shape& result : results) loop->add(result, nullptr, false);
  error = check_takes(signature.takes, loop->layouts, operands.size());
  return error.empty() ? std::move(loop) : nullptr;
}

bool Loop::read_batch(const Signature& signature, const Masks& masks, const std::vector<Shape>& operands,
                      const std::vector<Shape>& results, std::string& error) {
  axes_ = masks.empty() ? 0 : masks[0].size();
  std::fill_n(sizes_, axes_, int64_t{-1});
  std::fill_n(looped_, axes_, !signature.batched);
  auto read = [&](size_t i, const Shape& shape, const std::string* mask) {
    const auto own = mask == nullptr ? axes_ : position_of(*mask, axes_);
    if (static_cast<size_t>(shape.rank) < own) {
      error = too_few_axes(place(i, operands.size()), shape, own);
      return false;
    }
    for (size_t axis = 0; axis < axes_; ++axis) {
      if (mask != nullptr && (*mask)[axis] == kLacks) continue;
      const int64_t size = shape.dims[mask == nullptr ? axis : position_of(*mask, axis)];
      const bool copied = mask != nullptr && (*mask)[axis] == kCopied;
      if (copied ? size > 0 : sizes_[axis] < 0 || sizes_[axis] == size) {
        if (!copied) sizes_[axis] = size;
        continue;
      }
      error = disagreement(place(i, operands.size()), shape, axis, size,
                           copied ? "a copy at least" : std::to_string(sizes_[axis]));
      return false;
    }
    return true;
  };
  for (size_t i = 0; i < results.size(); ++i) {
    if (!read(operands.size() + i, results[i], nullptr)) return false;
  }
  for (size_t i = 0; i < masks.size(); ++i) {
    if (!read(i, operands[i], &masks[i])) return false;
    for (size_t axis = 0; axis < axes_; ++axis) {
      if (masks[i][axis] == kHas && signature.looped[i] == '1') looped_[axis] = true;
    }
  }
  for (size_t axis = axes_; signature.contiguous && axis-- > 1;) looped_[axis - 1] |= looped_[axis];
  for (size_t axis = 0; axis < axes_; ++axis) {
    if (sizes_[axis] < 0) sizes_[axis] = 1;  // there are no results, and no operand has it
    if (looped_[axis] && __builtin_mul_overflow(evaluations, sizes_[axis], &evaluations)) {
      error = "this program calls it for more elements of a batch than can be counted";
      return false;
    }
  }
  return true;
}

// Without a mask it has all batch axes.
void Loop::add(const Shape& shape, const char* mask, bool is_field) {
  const int64_t* dims = shape.dims;
  const auto rank = static_cast<size_t>(shape.rank);
  Layout& layout = layouts.emplace_back();
  layout.dtype = static_cast<int>(shape.dtype);
  layout.type = find_dtype(shape.dtype);
  int64_t strides[kMaxRank];
  int64_t bytes = layout.type->bytes;
  for (size_t i = rank; i-- > 0;) {
    strides[i] = bytes;
    bytes *= dims[i];
  }
  auto show = [&](int64_t size, int64_t stride) {
    layout.dims[layout.rank] = size;
    layout.strides[layout.rank++] = stride;
    layout.elements *= size;
  };
  size_t position = 0;
  for (size_t axis = 0; axis < axes_; ++axis) {
    const bool has = mask == nullptr || mask[axis] == kHas;
    layout.steps[axis] = looped_[axis] && has ? strides[position] : 0;
    if (!looped_[axis] && !is_field) show(has ? dims[position] : 1, has ? strides[position] : 0);
    position += has || mask[axis] == kCopied ? 1 : 0;
  }
  for (; position < rank; ++position) show(dims[position], strides[position]);
  layout.bytes = layout.type->bytes;
  layout.last = layout.type->bytes - layout.type->component;
  for (int i = layout.rank; i-- > 0;) {
    if (layout.dims[i] == 1) layout.strides[i] = layout.bytes;
    if (layout.strides[i] != layout.bytes) layout.contiguous = false;
    layout.bytes *= layout.dims[i];
    layout.last += std::max<int64_t>(layout.dims[i] - 1, 0) * layout.strides[i];
  }
}

}  // namespace linops

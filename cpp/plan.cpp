// plan.cpp: see plan.h.
#include "plan.h"

#include <algorithm>

#include "frame.h"

namespace linops {
namespace {

int64_t largest_rank(const XLA_FFI_CallFrame& frame) {
  int64_t rank = 0;
  for (int64_t i = 0; i < frame.args.size; ++i) rank = std::max(rank, argument(frame, static_cast<size_t>(i)).rank);
  for (int64_t i = 0; i < frame.rets.size; ++i) rank = std::max(rank, result(frame, static_cast<size_t>(i)).rank);
  return rank;
}

}  // namespace

std::unique_ptr<const Plan> Plan::make(const Target& target, const XLA_FFI_CallFrame& frame,
                                       const std::vector<std::string>& masks, std::string& error) {
  if (!masks.empty() && masks[0].size() > static_cast<size_t>(kMaxBatch)) {
    error = "more than " + std::to_string(kMaxBatch) + " nested vmaps are not supported";
    return nullptr;
  }
  if (const int64_t rank = largest_rank(frame); rank > kMaxRank) {
    error = "arrays of rank " + std::to_string(rank) + " are not supported (at most " + std::to_string(kMaxRank) +
            ", batch axes included)";
    return nullptr;
  }
  auto plan = std::make_unique<Plan>();
  plan->read_batch(target, frame, masks);
  for (size_t i = 0; i < static_cast<size_t>(frame.args.size); ++i) {
    plan->add(argument(frame, i), masks.empty() ? nullptr : masks[i].c_str(), target.looped[i] == '1');
  }
  for (size_t i = 0; i < static_cast<size_t>(frame.rets.size); ++i) plan->add(result(frame, i), nullptr, false);
  return plan;
}

// Native hooks see contiguous arrays only: for them the axes that are looped over are the first ones.
void Plan::read_batch(const Target& target, const XLA_FFI_CallFrame& frame, const std::vector<std::string>& masks) {
  axes_ = masks.empty() ? 0 : masks[0].size();
  for (size_t axis = 0; axis < axes_; ++axis) {
    sizes_[axis] = 1;
    looped_[axis] = !target.batched;
    for (size_t i = 0; i < masks.size(); ++i) {
      if (masks[i][axis] != kHas) continue;
      sizes_[axis] = argument(frame, i).dims[position_of(masks[i], axis)];
      if (target.looped[i] == '1') looped_[axis] = true;
    }
  }
  for (size_t axis = axes_; target.function != nullptr && axis-- > 1;) looped_[axis - 1] |= looped_[axis];
  for (size_t axis = 0; axis < axes_; ++axis) evaluations *= looped_[axis] ? sizes_[axis] : 1;
}

// Without a mask it has all batch axes.
void Plan::add(const XLA_FFI_Buffer& buffer, const char* mask, bool is_field) {
  const int64_t* dims = buffer.dims;
  const auto rank = static_cast<size_t>(buffer.rank);
  const int64_t itemsize = linops::itemsize(buffer);
  int64_t strides[kMaxRank];
  int64_t bytes = itemsize;
  for (size_t i = rank; i-- > 0;) {
    strides[i] = bytes;
    bytes *= dims[i];
  }
  Layout& layout = layouts.emplace_back();
  layout.dtype = static_cast<int>(buffer.dtype);
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
  layout.bytes = itemsize;
  for (int i = layout.rank; i-- > 0;) {
    if (layout.dims[i] == 1) layout.strides[i] = layout.bytes;
    if (layout.strides[i] != layout.bytes) layout.contiguous = false;
    layout.bytes *= layout.dims[i];
  }
}

}  // namespace linops

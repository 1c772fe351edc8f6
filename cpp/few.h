// few.h: arrays whose length is known at run time and nearly always small.
#pragma once

#include <cstddef>
#include <memory>

namespace linops {

constexpr size_t kFew = 8;  // operands for which nothing is allocated

// Trivial elements are uninitialized.
template <typename T>
class Few {
 public:
  explicit Few(size_t count) : heap_(count > kFew ? new T[count] : nullptr), data_(heap_ ? heap_.get() : inline_) {}
  Few(const Few&) = delete;
  Few& operator=(const Few&) = delete;
  T& operator[](size_t i) const { return data_[i]; }
  T* data() const { return data_; }

 private:
  T inline_[kFew];
  std::unique_ptr<T[]> heap_;
  T* data_;
};

}  // namespace linops

// plans.h: what the hook `prepare` made for the calls of one executable.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "loop.h"

namespace linops {

// One plan, and the values of fields for which it was made.
struct Plan {
  PyObject* object = nullptr;  // for host hooks
  void* address = nullptr;     // for native hooks
  std::vector<const char*> values;
  PyObject* owner = nullptr;  // of all of these

  Plan() = default;
  ~Plan();
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
};
using PlanPtr = std::shared_ptr<const Plan>;

// Used by several threads at once. Python keeps the last few plans, this the last one.
class Plans {
 public:
  // Of what `start` answered. Null with a Python exception. GIL held.
  static std::unique_ptr<Plans> make(PyObject* answer);
  ~Plans();
  Plans(const Plans&) = delete;
  Plans& operator=(const Plans&) = delete;

  const std::string& name() const { return name_; }    // of `prepare`, for messages
  bool depends_on_element(const Loop& loop) const;     // of the batch
  PlanPtr known(const Loop& loop, char* const* data);  // for the values at data[operand]; null where it is not the last
  PlanPtr find(const Loop& loop, char* const* data);   // makes it, GIL held; null with a Python exception

 private:
  Plans() = default;

  std::string name_;
  std::vector<size_t> fields_;  // the operands whose values count
  PyObject* source_ = nullptr;
  std::mutex mutex_;  // never held while Python runs
  PlanPtr last_;
};

}  // namespace linops

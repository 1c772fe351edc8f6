// plans.cpp: see plans.h.
#include "plans.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "reference.h"
#include "views.h"

namespace linops {
namespace {

bool are_same(const Plan& plan, const std::vector<size_t>& fields, const Loop& loop, char* const* data) {
  for (size_t i = 0; i < fields.size(); ++i) {
    // Fields are contiguous: all of their batch axes are looped over.
    if (std::memcmp(plan.values[i], data[fields[i]], static_cast<size_t>(loop.layouts[fields[i]].bytes)) != 0) {
      return false;
    }
  }
  return true;
}

// Of what the source returned: (object, address, values, owner of the address). Null with a Python exception.
PlanPtr read(PyObject* answer) {
  auto plan = std::make_shared<Plan>();
  PyObject* values = nullptr;
  unsigned long long address = 0;
  if (!PyArg_ParseTuple(answer, "OKO!O", &plan->object, &address, &PyTuple_Type, &values, &plan->owner)) {
    plan->owner = nullptr;
    return nullptr;
  }
  plan->address = reinterpret_cast<void*>(static_cast<uintptr_t>(address));
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(values); ++i)
    plan->values.push_back(data_of(PyTuple_GET_ITEM(values, i)));
  Py_INCREF(answer);
  plan->owner = answer;
  return plan;
}

}  // namespace

Plan::~Plan() {
  if (owner != nullptr) drop(owner);
}

Plans::~Plans() {
  if (source_ != nullptr) drop(source_);
}

std::unique_ptr<Plans> Plans::make(PyObject* answer) {
  std::unique_ptr<Plans> made(new Plans);
  const char* name = nullptr;
  PyObject *fields = nullptr, *source = nullptr;
  if (!PyArg_ParseTuple(answer, "sO!O", &name, &PyTuple_Type, &fields, &source)) return nullptr;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(fields); ++i) {
    made->fields_.push_back(PyLong_AsSize_t(PyTuple_GET_ITEM(fields, i)));
  }
  if (PyErr_Occurred() != nullptr) return nullptr;
  made->name_ = name;
  Py_INCREF(source);
  made->source_ = source;
  return made;
}

bool Plans::depends_on_element(const Loop& loop) const {
  return std::any_of(fields_.begin(), fields_.end(), [&](size_t field) { return loop.moves(field); });
}

PlanPtr Plans::known(const Loop& loop, char* const* data) {
  PlanPtr last;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    last = last_;
  }
  return last != nullptr && are_same(*last, fields_, loop, data) ? last : nullptr;
}

PlanPtr Plans::find(const Loop& loop, char* const* data) {
  if (PlanPtr plan = known(loop, data)) return plan;
  std::vector<Reference> views;
  std::vector<PyObject*> arguments(1);  // one free slot in front, as the vectorcall protocol likes it
  for (const size_t field : fields_) {
    views.emplace_back(make_view(loop.layouts[field], data[field], false));
    if (views.back().object == nullptr) return nullptr;
    arguments.push_back(views.back().object);
  }
  Reference answer(
      PyObject_Vectorcall(source_, arguments.data() + 1, fields_.size() | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr));
  if (answer.object == nullptr) return nullptr;
  PlanPtr plan = read(answer.object);
  if (plan == nullptr) return nullptr;
  PlanPtr before = plan;  // outlives the lock: it may be freed, which runs code of users
  std::lock_guard<std::mutex> lock(mutex_);
  std::swap(last_, before);
  return plan;
}

}  // namespace linops

// reference.cpp: see reference.h.
#include "reference.h"

#include <mutex>
#include <vector>

namespace linops {
namespace {

// Leaked on purpose: executables may be destroyed after static destructors have run.
std::mutex& dropped_mutex = *new std::mutex;
std::vector<PyObject*>& dropped = *new std::vector<PyObject*>;

int drop_pending(void*) {
  std::vector<PyObject*> objects;
  {
    std::lock_guard<std::mutex> lock(dropped_mutex);
    objects.swap(dropped);
  }
  for (PyObject* object : objects) Py_XDECREF(object);
  return 0;
}

}  // namespace

void drop(PyObject* object) {
  if (!Py_IsInitialized()) return;
  if (PyGILState_Check()) {
    Py_XDECREF(object);
    return;
  }
  {
    std::lock_guard<std::mutex> lock(dropped_mutex);
    dropped.push_back(object);
  }
  Py_AddPendingCall(drop_pending, nullptr);  // when its queue is full, the next drop empties ours as well
}

}  // namespace linops

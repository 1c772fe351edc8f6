// registry.h: what the key in a compiled program leads to, and who owns it.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "linops_jax/native.h"
#include "loop.h"

namespace linops {

// How often a hook of one class has run, whatever its configuration.
using Calls = std::shared_ptr<std::atomic<int64_t>>;

// How one hook of one operator configuration is called. Executables own their target; the table of keys only knows it
// weakly.
struct Target {
  std::string name;  // "Blur.apply", for messages
  PyObject* call;    // the bound hook itself (direct), or a function of all views in operand order
  PyObject* store;   // store(index, result, view): checks and copies a result that needs more than a plain copy
  PyObject* start;   // start(batch, operands, results): raises for shapes that nobody would have promised; see plans.h
  bool direct;       // every argument and the result are bare arrays
  bool takes_out;    // the hook fills its outputs
  Signature signature;
  Calls calls;
  std::vector<std::string> keys;

  // Of a native hook, which is called without Python; `call` only keeps alive what these need.
  linops_function function = nullptr;
  void* user_data = nullptr;
  bool is_handler = false;  // `function` is an XLA FFI handler, which is called for each element of a batch
  bool parallel = false;    // batches may be split over threads

  Target(std::string name, PyObject* call, PyObject* store, PyObject* start, bool direct, bool takes_out,
         Signature signature, Calls calls);
  ~Target();
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
};
using TargetPtr = std::shared_ptr<Target>;

// What Python holds. A shared_ptr made from a Python object by nanobind would own that object, not share this count.
struct TargetHandle {
  TargetPtr target;
};

// What Python holds of a count.
struct Counter {
  Calls calls = std::make_shared<std::atomic<int64_t>>(0);
};

bool register_target(const std::string& key,
                     const TargetPtr& target);  // false: the key is another target's, still alive
TargetPtr find_target(const std::string& key);  // null when this process does not know the key
size_t count_targets();

}  // namespace linops

// registry.h: what the key in a compiled program leads to, and who owns it.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "linops_jax/native.h"

namespace linops {

// How one hook of one operator configuration is called. Executables own their target; the table of keys only knows it
// weakly.
struct Target {
  std::string name;     // "Blur.apply", for messages
  PyObject* call;       // the bound hook itself (direct), or a function of all views in operand order
  PyObject* store;      // store(index, result, view): checks and copies a result that needs more than a plain copy
  bool direct;          // every argument and the result are bare arrays
  bool takes_out;       // the hook fills its outputs
  bool batched;         // batch axes are handed over in one call
  std::string looped;   // per operand: '1' for a field, whose batch axes are always looped over
  std::string ignored;  // per result: '1' where there is nothing to compute (no derivative of an integer)
  std::vector<std::string> keys;

  // Of a native hook, which is called without Python; `call` only keeps alive what these need.
  linops_function function = nullptr;
  void* user_data = nullptr;
  bool is_handler = false;  // `function` is an XLA FFI handler, which is called for each element of a batch
  bool parallel = false;    // batches may be split over threads

  Target(std::string name, PyObject* call, PyObject* store, bool direct, bool takes_out, bool batched,
         std::string looped, std::string ignored);
  ~Target();
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
};
using TargetPtr = std::shared_ptr<Target>;

// What Python holds. A shared_ptr made from a Python object by nanobind would own that object, not share this count.
struct TargetHandle {
  TargetPtr target;
};

bool register_target(const std::string& key,
                     const TargetPtr& target);  // false: the key is another target's, still alive
TargetPtr find_target(const std::string& key);  // null when this process does not know the key
size_t count_targets();

// The batch axes of a call, outermost first: for each operand a mask of what it has of each of them. Copies, of which
// only the first counts, are for XLA: see _sharding.py.
constexpr char kHas = '1', kLacks = '0', kCopied = 'c';
std::vector<std::string> split_masks(std::string_view masks);
size_t position_of(const std::string& mask, size_t axis);  // of a batch axis among the operand's own

}  // namespace linops

// registry.cpp: the table of keys.
#include "registry.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>

#include "reference.h"

namespace linops {
namespace {

// Leaked on purpose: executables may be destroyed after static destructors have run.
std::mutex& table_mutex = *new std::mutex;
std::unordered_map<std::string, std::weak_ptr<Target>>& table =
    *new std::unordered_map<std::string, std::weak_ptr<Target>>;

}  // namespace

Target::Target(std::string name, PyObject* call, PyObject* store, PyObject* start, bool direct, bool takes_out,
               Signature signature, Calls calls)
    : name(std::move(name)),
      call(call),
      store(store),
      start(start),
      direct(direct),
      takes_out(takes_out),
      signature(std::move(signature)),
      calls(std::move(calls)) {
  Py_INCREF(call);
  Py_INCREF(store);
  Py_INCREF(start);
}

Target::~Target() {
  {
    std::lock_guard<std::mutex> lock(table_mutex);
    for (const std::string& key : keys) {
      auto entry = table.find(key);
      if (entry != table.end() && entry->second.expired()) table.erase(entry);
    }
  }
  drop(call);
  drop(store);
  drop(start);
}

bool register_target(const std::string& key, const TargetPtr& target) {
  TargetPtr holder;  // outlives the lock: destroying a target takes it
  std::lock_guard<std::mutex> lock(table_mutex);
  std::weak_ptr<Target>& entry = table[key];
  holder = entry.lock();
  if (holder != nullptr && holder != target) return false;
  entry = target;
  if (std::find(target->keys.begin(), target->keys.end(), key) == target->keys.end()) target->keys.push_back(key);
  return true;
}

TargetPtr find_target(const std::string& key) {
  std::lock_guard<std::mutex> lock(table_mutex);
  auto entry = table.find(key);
  return entry == table.end() ? nullptr : entry->second.lock();
}

size_t count_targets() {
  std::lock_guard<std::mutex> lock(table_mutex);
  return table.size();
}

}  // namespace linops

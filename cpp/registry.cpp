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

Target::Target(std::string name, PyObject* call, PyObject* store, bool direct, bool takes_out, bool batched,
               std::string looped, std::string ignored)
    : name(std::move(name)),
      call(call),
      store(store),
      direct(direct),
      takes_out(takes_out),
      batched(batched),
      looped(std::move(looped)),
      ignored(std::move(ignored)) {
  Py_INCREF(call);
  Py_INCREF(store);
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

std::vector<std::string> split_masks(std::string_view masks) {
  std::vector<std::string> result;
  while (!masks.empty()) {
    const size_t comma = masks.find(',');
    result.emplace_back(masks.substr(0, comma));
    masks = comma == std::string_view::npos ? std::string_view() : masks.substr(comma + 1);
  }
  return result;
}

size_t position_of(const std::string& mask, size_t axis) {
  return axis - static_cast<size_t>(std::count(mask.begin(), mask.begin() + static_cast<std::ptrdiff_t>(axis), kLacks));
}

}  // namespace linops

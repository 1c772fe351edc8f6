// batch.cpp: see batch.h.
#include "batch.h"

#include <algorithm>

namespace linops {
namespace {

constexpr size_t kQuoted = 40;  // characters
constexpr char kAllowed[] = {kHas, kLacks, kCopied, '\0'};

std::string found(std::string_view batch, const std::string& what) {
  return "the attribute batch of this program is " + quote(batch) + ": " + what + ". Export the program again.";
}

}  // namespace

std::string quote(std::string_view text) {
  std::string result = "'";
  for (const char c : text.substr(0, kQuoted)) result += c >= ' ' && c <= '~' ? c : '?';
  return result + (text.size() > kQuoted ? "...'" : "'");
}

bool read_masks(std::string_view batch, size_t operands, Masks& masks, std::string& error) {
  masks.clear();
  if (batch.empty()) return true;
  const auto count = 1 + static_cast<size_t>(std::count(batch.begin(), batch.end(), ','));
  if (count != operands) {
    error = found(batch, "found masks of " + std::to_string(count) + " operands, expected " + std::to_string(operands));
    return false;
  }
  const size_t axes = std::min(batch.find(','), batch.size());
  if (axes > kMaxBatch) {
    error = "more than " + std::to_string(kMaxBatch) + " nested vmaps are not supported";
    return false;
  }
  for (size_t start = 0; masks.size() < count; start += masks.back().size() + 1) {
    const std::string_view mask = batch.substr(start, batch.find(',', start) - start);
    if (mask.size() != axes || axes == 0) {
      error = found(batch, "found a mask of " + std::to_string(mask.size()) + " batch axes, expected " +
                               (axes == 0 ? "at least 1" : std::to_string(axes)));
    } else if (mask.find_first_not_of(kAllowed) != std::string_view::npos) {
      error = found(batch, "found " + quote(mask) + ", expected only 0 and 1, or c");
    } else if (mask.find(kCopied) != std::string_view::npos &&
               mask.find_first_not_of(kCopied) != std::string_view::npos) {
      error = found(batch, "found " + quote(mask) + ", expected copies of an operand along all batch axes or none");
    } else {
      masks.emplace_back(mask);
      continue;
    }
    masks.clear();
    return false;
  }
  return true;
}

size_t position_of(const std::string& mask, size_t axis) {
  return axis - static_cast<size_t>(std::count(mask.begin(), mask.begin() + static_cast<std::ptrdiff_t>(axis), kLacks));
}

}  // namespace linops

// batch.h: the batch axes of a call, as the program says them in its attribute. Nothing of XLA or Python here: programs
// come from anywhere, and tests/fuzz compiles this alone.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace linops {

constexpr size_t kMaxBatch = 16;  // axes

// Outermost axis first: for each operand a mask of what it has of each of them. Copies, of which only the first counts,
// are for XLA: see _sharding.py.
constexpr char kHas = '1', kLacks = '0', kCopied = 'c';
using Masks = std::vector<std::string>;

// The masks of so many operands, all of the same length; none where there is no batch axis. False with the text of an
// error.
bool read_masks(std::string_view batch, size_t operands, Masks& masks, std::string& error);

size_t position_of(const std::string& mask, size_t axis);  // of a batch axis among the operand's own
std::string quote(std::string_view text);                  // what a program says, for messages

}  // namespace linops

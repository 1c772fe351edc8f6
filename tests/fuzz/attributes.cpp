// attributes.cpp: what a program says of a call, at random, against cpp/loop.cpp and cpp/batch.cpp under a sanitizer.
// Either it is refused with a text, or each evaluation of the loop stays inside of buffers of exactly the size that
// the shapes have, and all of them together write every element of every result once.
//
// Built and run by test_attributes.py. With -DLINOPS_LIBFUZZER and clang's -fsanitize=fuzzer it is a libFuzzer target.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "batch.h"
#include "canary.h"
#include "loop.h"

namespace {

using namespace linops;

constexpr int64_t kMostBytes = 1 << 16;  // of a buffer, for the time it takes
constexpr int64_t kMostEvaluations = 1 << 10;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

// Choices from a string of bytes, 0 after its end.
class Choices {
 public:
  Choices(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  int64_t below(int64_t n) { return (at_ < size_ ? data_[at_++] : 0) % n; }
  bool rarely() { return below(16) == 15; }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

struct Case {
  Signature signature{false, false, "", "", {}};
  std::string batch;
  std::vector<std::vector<int64_t>> dims;  // operands, then results
  std::vector<int64_t> dtypes;
  size_t operands = 0;
};

int64_t any_dtype(Choices& choose) {
  static const int64_t known[] = {1, 2, 5, 10, 11, 12, 15, 16, 18, 20};
  return choose.rarely() ? choose.below(70) - 2 : known[choose.below(10)];
}

int64_t any_size(Choices& choose) {
  static const int64_t odd[] = {-1, int64_t{1} << 31, INT64_MAX, INT64_MIN};
  return choose.rarely() && choose.rarely() ? odd[choose.below(4)] : choose.below(5);
}

// A right one, from which something is then taken away or changed, or not.
Case make_case(Choices& choose) {
  Case made;
  const auto axes = static_cast<size_t>(choose.rarely() ? choose.below(20) : choose.below(4));
  made.operands = static_cast<size_t>(choose.below(4));
  const auto results = static_cast<size_t>(choose.below(3));
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < axes; ++i) sizes.push_back(choose.below(4));
  made.signature.batched = choose.below(2) == 1;
  made.signature.contiguous = choose.below(2) == 1;
  for (size_t i = 0; i < made.operands + results; ++i) {
    std::vector<int64_t> dims;
    const bool is_operand = i < made.operands, copied = is_operand && choose.rarely();
    for (size_t axis = 0; axis < axes; ++axis) {
      const char has = copied ? kCopied : !is_operand || choose.below(3) > 0 ? kHas : kLacks;
      if (is_operand) made.batch += has;
      if (has != kLacks) dims.push_back(copied ? 1 + choose.below(3) : sizes[axis]);
    }
    if (is_operand && axes > 0) made.batch += ',';
    for (auto own = choose.rarely() ? choose.below(40) : choose.below(4); own > 0; --own)
      dims.push_back(any_size(choose));
    made.dims.push_back(dims);
    made.dtypes.push_back(any_dtype(choose));
    (is_operand ? made.signature.looped : made.signature.ignored) += choose.below(4) == 0 ? '1' : '0';
  }
  if (!made.batch.empty()) made.batch.pop_back();
  if (choose.rarely()) {
    for (size_t i = 0; i < made.dims.size(); ++i) {
      made.signature.takes.push_back(
          {choose.rarely() ? 1u << 11 : ~uint64_t{0}, static_cast<int>(choose.below(5)) - 1});
    }
  }
  return made;
}

void change(Case& made, Choices& choose) {
  static const char letters[] = "01c,2\0\xff";
  switch (choose.below(8)) {
    case 0:
      if (!made.batch.empty())
        made.batch.erase(static_cast<size_t>(choose.below(static_cast<int64_t>(made.batch.size()))), 1);
      break;
    case 1:
      made.batch.insert(static_cast<size_t>(choose.below(static_cast<int64_t>(made.batch.size()) + 1)), 1,
                        letters[choose.below(7)]);
      break;
    case 2:
      made.batch = std::string(static_cast<size_t>(choose.below(200)), letters[choose.below(7)]);
      break;
    case 3:
      made.signature.looped += '1';
      break;
    case 4:
      if (!made.signature.ignored.empty()) made.signature.ignored.pop_back();
      break;
    case 5:
      if (!made.dims.empty() && !made.dims.back().empty()) made.dims.back().pop_back();
      break;
    case 6:
      if (!made.dims.empty())
        made.dims[static_cast<size_t>(choose.below(static_cast<int64_t>(made.dims.size())))].push_back(
            any_size(choose));
      break;
    default:
      if (!made.signature.takes.empty()) made.signature.takes.pop_back();
  }
}

std::vector<Shape> shapes(const Case& made, size_t first, size_t last) {
  std::vector<Shape> result;
  for (size_t i = first; i < last; ++i) {
    result.push_back({made.dtypes[i], static_cast<int64_t>(made.dims[i].size()), made.dims[i].data()});
  }
  return result;
}

int64_t bytes_of(const Case& made, size_t i) {
  int64_t bytes = find_dtype(made.dtypes[i])->bytes;
  for (const int64_t size : made.dims[i]) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) return kMostBytes + 1;
  }
  return bytes;
}

// Calls visit(byte) for the first byte of each number that a hook sees.
template <typename Visit>
void walk(const Layout& layout, char* data, int axis, Visit visit) {
  if (axis == layout.rank) return visit(data);
  for (int64_t i = 0; i < layout.dims[axis]; ++i) walk(layout, data + i * layout.strides[axis], axis + 1, visit);
}

void carry_out(const Case& made, const Loop& loop) {
  require(loop.layouts.size() == made.dims.size(), "a layout for each buffer");
  std::vector<std::unique_ptr<char[]>> buffers;
  std::vector<char*> data;
  for (size_t i = 0; i < made.dims.size(); ++i) {
    const int64_t bytes = bytes_of(made, i);
    if (bytes > kMostBytes) return;
    buffers.emplace_back(new char[static_cast<size_t>(bytes)]());
    data.push_back(buffers.back().get());
    const Layout& layout = loop.layouts[i];
    require(!made.signature.contiguous || layout.elements == 0 || layout.contiguous,
            "compiled code sees contiguous arrays");
  }
  if (loop.evaluations == 0 || loop.evaluations > kMostEvaluations) return;
  const auto move = [&](size_t i, int64_t bytes) { data[i] += bytes; };
  Loop::Position position(loop);
  int64_t evaluations = 0;
  volatile char sum = 0;
  do {
    for (size_t i = 0; i < made.dims.size(); ++i) {
      const Layout& layout = loop.layouts[i];
      const auto bytes = static_cast<size_t>(layout.type->bytes);
      int64_t elements = 0;
      if (layout.elements == 0) continue;
      walk(layout, data[i], 0, [&](char* number) {
        ++elements;
        if (i >= made.operands) ++*number;
        sum = static_cast<char>(sum + number[0] + number[bytes - 1]);
      });
      require(elements == layout.elements, "the number of elements");
      sum = static_cast<char>(sum + find_canary(layout, data[i], 0));
    }
    ++evaluations;
  } while (position.next(move));
  require(evaluations == loop.evaluations, "the number of evaluations");
  for (size_t i = made.operands; i < made.dims.size(); ++i) {
    const int64_t bytes = bytes_of(made, i), step = loop.layouts[i].type->bytes;
    for (int64_t at = 0; at < bytes; at += step)
      require(buffers[i][static_cast<size_t>(at)] == 1, "each element written once");
  }
  Loop::Position jump(loop);  // as threads do, which begin in the middle
  for (size_t i = 0; i < data.size(); ++i) data[i] = buffers[i].get();
  jump.go_to(loop.evaluations - 1, move);
  for (size_t i = 0; i < made.dims.size(); ++i) {
    if (loop.layouts[i].elements > 0) place_canary(loop.layouts[i], data[i], 1);
  }
}

int accepted = 0, refused = 0;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Choices choose(data, size);
  Case made = make_case(choose);
  const bool changed = choose.below(2) == 1;
  if (changed) change(made, choose);
  std::string error;
  const auto loop = Loop::make(made.signature, made.batch, shapes(made, 0, made.operands),
                               shapes(made, made.operands, made.dims.size()), error);
  require((loop == nullptr) == !error.empty(), "a loop, or the text of an error");
  ++(loop == nullptr ? refused : accepted);
  if (loop != nullptr) carry_out(made, *loop);
  return 0;
}

#ifndef LINOPS_LIBFUZZER
// SEED COUNT: so many inputs; with another seed, others.
int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto seed = std::strtoull(argv[1], nullptr, 10);
  const int count = std::atoi(argv[2]);
  std::mt19937_64 random(seed);
  std::vector<uint8_t> input(256);
  for (int i = 0; i < count; ++i) {
    std::generate(input.begin(), input.end(), [&] { return static_cast<uint8_t>(random()); });
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%d accepted, %d refused\n", accepted, refused);
  return 0;
}
#endif

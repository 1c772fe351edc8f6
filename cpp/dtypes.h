// dtypes.h: the element types that arrays may have, by XLA's number (xla_data.proto). Nothing of XLA or Python here.
#pragma once

#include <cstddef>
#include <cstdint>

namespace linops {

// Two values that are put where a hook is to write, see canary.h; of one component, so of half a complex number.
struct Dtype {
  const char* name = nullptr;
  int64_t bytes = 0;
  int component = 0;  // bytes of a real or an imaginary part, or of all of it
  uint64_t canaries[2] = {};
};

constexpr int kDtypes = 64;  // more than XLA has

// Floating point canaries are signalling NaNs: these are copied, but no arithmetic makes them. Types of one byte have
// few or no NaNs, integers have none, a byte that is neither 0 nor 1 is no bool.
constexpr uint64_t kOne = 0x6B8F35D1C7E394A5u, kOther = ~kOne;
constexpr uint64_t kOneF16 = 0x7DA5, kOtherF16 = 0xFC5A, kOneBf16 = 0x7FA5, kOtherBf16 = 0xFF9A;
constexpr uint64_t kOneF32 = 0x7FA5C3E5, kOtherF32 = 0xFF9A3C1A;
constexpr uint64_t kOneF64 = 0x7FF4A5C3E5D1B397, kOtherF64 = 0xFFF25A3C1A2E4C68;

// Null for a type that NumPy has no arrays of. Those of 4 bits and fewer come packed, which NumPy cannot see.
inline const Dtype* find_dtype(int64_t code) {
  static const struct Table {
    Dtype entries[kDtypes];
    Table() {
      entries[1] = {"bool", 1, 1, {0xA5, 0x5A}};
      entries[2] = {"int8", 1, 1, {kOne, kOther}};
      entries[3] = {"int16", 2, 2, {kOne, kOther}};
      entries[4] = {"int32", 4, 4, {kOne, kOther}};
      entries[5] = {"int64", 8, 8, {kOne, kOther}};
      entries[6] = {"uint8", 1, 1, {kOne, kOther}};
      entries[7] = {"uint16", 2, 2, {kOne, kOther}};
      entries[8] = {"uint32", 4, 4, {kOne, kOther}};
      entries[9] = {"uint64", 8, 8, {kOne, kOther}};
      entries[10] = {"float16", 2, 2, {kOneF16, kOtherF16}};
      entries[11] = {"float32", 4, 4, {kOneF32, kOtherF32}};
      entries[12] = {"float64", 8, 8, {kOneF64, kOtherF64}};
      entries[15] = {"complex64", 8, 4, {kOneF32, kOtherF32}};
      entries[16] = {"bfloat16", 2, 2, {kOneBf16, kOtherBf16}};
      entries[18] = {"complex128", 16, 8, {kOneF64, kOtherF64}};
      entries[19] = {"float8_e5m2", 1, 1, {0x7D, 0xFD}};
      entries[20] = {"float8_e4m3fn", 1, 1, {0xFF, 0x7F}};
      entries[23] = {"float8_e4m3b11fnuz", 1, 1, {0x80, 0x7F}};
      entries[24] = {"float8_e5m2fnuz", 1, 1, {0x80, 0x7F}};
      entries[25] = {"float8_e4m3fnuz", 1, 1, {0x80, 0x7F}};
      entries[28] = {"float8_e4m3", 1, 1, {0x7A, 0xFB}};
      entries[29] = {"float8_e3m4", 1, 1, {0x75, 0xF2}};
    }
  } table;
  const bool known = code >= 0 && code < kDtypes && table.entries[code].bytes > 0;
  return known ? &table.entries[code] : nullptr;
}

}  // namespace linops

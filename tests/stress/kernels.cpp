// kernels.cpp: native hooks for random programs, for every mixture of dtypes: C functions of our interface, and FFI handlers.
#include <linops_jax/native.h>

#include <complex>
#include <cstring>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using Z = std::complex<double>;

template <typename T>
static T at(const void* data, int64_t i) {
  return static_cast<const T*>(data)[i];
}

static Z load(const void* data, int32_t dtype, int64_t i) {
  switch (dtype) {
    case LINOPS_INT32:
      return at<int32_t>(data, i);
    case LINOPS_FLOAT16:
      return at<_Float16>(data, i);
    case LINOPS_BFLOAT16: {
      const uint32_t bits = uint32_t{at<uint16_t>(data, i)} << 16;
      float value;
      std::memcpy(&value, &bits, sizeof value);
      return value;
    }
    case LINOPS_FLOAT32:
      return at<float>(data, i);
    case LINOPS_FLOAT64:
      return at<double>(data, i);
    case LINOPS_COMPLEX64:
      return at<std::complex<float>>(data, i);
    default:
      return at<Z>(data, i);
  }
}

// Of a complex number the real part, where the array is real.
static void store(void* data, int32_t dtype, int64_t i, Z value) {
  switch (dtype) {
    case LINOPS_INT32:
      static_cast<int32_t*>(data)[i] = static_cast<int32_t>(value.real());
      break;
    case LINOPS_FLOAT16:
      static_cast<_Float16*>(data)[i] = static_cast<_Float16>(value.real());
      break;
    case LINOPS_BFLOAT16: {
      const float single = static_cast<float>(value.real());
      uint32_t bits;
      std::memcpy(&bits, &single, sizeof bits);
      if (single == single) bits += 0x7fff + ((bits >> 16) & 1);  // to the nearest, ties to even
      static_cast<uint16_t*>(data)[i] = static_cast<uint16_t>(bits >> 16);
      break;
    }
    case LINOPS_FLOAT32:
      static_cast<float*>(data)[i] = static_cast<float>(value.real());
      break;
    case LINOPS_FLOAT64:
      static_cast<double*>(data)[i] = value.real();
      break;
    case LINOPS_COMPLEX64:
      static_cast<std::complex<float>*>(data)[i] = std::complex<float>(value);
      break;
    default:
      static_cast<Z*>(data)[i] = value;
  }
}

// ---- C functions: on the last axis, for any leading ones; an operand has fewer, or such of size 1, where it is not mapped ----

struct Row {
  const linops_buffer* buffer;
  int64_t start;
  Z operator[](int64_t i) const { return load(buffer->data, buffer->dtype, start + i); }
};

static Row row_of(const linops_buffer& buffer, const linops_buffer& out, int64_t row) {
  int64_t start = 0, stride = buffer.shape[buffer.rank - 1];
  for (int32_t axis = out.rank - 2; axis >= 0; --axis) {
    const int64_t index = row % out.shape[axis];
    row /= out.shape[axis];
    const int32_t own = axis - (out.rank - buffer.rank);
    if (own < 0) continue;
    if (buffer.shape[own] != 1) start += index * stride;
    stride *= buffer.shape[own];
  }
  return {&buffer, start};
}

template <typename Function>
static int for_each_row(linops_call* call, Function function) {
  LINOPS_CHECK_VERSION(call);
  const linops_buffer& out = call->outputs[0];
  const int64_t n = out.shape[out.rank - 1];
  for (int64_t row = 0; row * n < out.size; ++row) {
    Row first = row_of(call->inputs[0], out, row), second = row_of(call->inputs[1], out, row);
    Row last = row_of(call->inputs[call->n_inputs - 1], out, row);
    function(first, second, last, n, [&](int64_t i, Z value) { store(out.data, out.dtype, row * n + i, value); });
  }
  return 0;
}

#define EXPORT extern "C" __attribute__((visibility("default"))) int

// d, x -> running sums of d x; d, x, dd -> those of dd x
EXPORT running_sum(linops_call* call) {
  const bool of_fields = call->n_inputs == 3;
  return for_each_row(call, [&](Row d, Row x, Row dd, int64_t n, auto set) {
    Z total = 0;
    for (int64_t i = 0; i < n; ++i) set(i, total += (of_fields ? dd : d)[i] * x[i]);
  });
}

// d, y -> its adjoint; d, x, dy -> that with respect to d
EXPORT running_sum_adjoint(linops_call* call) {
  const bool of_fields = call->n_inputs == 3;
  return for_each_row(call, [&](Row d, Row x, Row dy, int64_t n, auto set) {
    Z total = 0;
    for (int64_t i = n; i-- > 0;) {
      total += dy[i];
      set(i, std::conj((of_fields ? x : d)[i]) * total);
    }
  });
}

// d, x -> d x^2; and its derivatives d, x, dx -> 2 d x dx; d, x, dy -> conj(2 d x) dy
EXPORT square(linops_call* call) {
  return for_each_row(call, [](Row d, Row x, Row, int64_t n, auto set) {
    for (int64_t i = 0; i < n; ++i) set(i, d[i] * x[i] * x[i]);
  });
}

EXPORT square_jacobian(linops_call* call) {
  return for_each_row(call, [](Row d, Row x, Row dx, int64_t n, auto set) {
    for (int64_t i = 0; i < n; ++i) set(i, 2. * d[i] * x[i] * dx[i]);
  });
}

EXPORT square_jacobian_adjoint(linops_call* call) {
  return for_each_row(call, [](Row d, Row x, Row dy, int64_t n, auto set) {
    for (int64_t i = 0; i < n; ++i) set(i, std::conj(2. * d[i] * x[i]) * dy[i]);
  });
}

// ---- FFI handlers: d, x -> d x, and its adjoint ------------------------------------------------------------------------------

static Z load(const ffi::AnyBuffer& buffer, size_t i) {
  return load(buffer.untyped_data(), static_cast<int32_t>(buffer.element_type()), static_cast<int64_t>(i));
}

template <bool adjoint>
static ffi::Error Scale(ffi::AnyBuffer d, ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y) {
  for (size_t i = 0; i < y->element_count(); ++i) {
    const Z factor = load(d, i % d.element_count());
    store(y->untyped_data(), static_cast<int32_t>(y->element_type()), static_cast<int64_t>(i),
          (adjoint ? std::conj(factor) : factor) * load(x, i % x.element_count()));
  }
  return ffi::Error::Success();
}
#define SIGNATURE ffi::Ffi::Bind().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>()
XLA_FFI_DEFINE_HANDLER_SYMBOL(ScaleHandler, Scale<false>, SIGNATURE);
XLA_FFI_DEFINE_HANDLER_SYMBOL(ScaleAdjointHandler, Scale<true>, SIGNATURE);

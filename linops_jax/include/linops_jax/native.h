/* native.h: the C interface of linops_jax, version 1. Plain C11 or C++11; nothing of XLA or Python is in it.
 *
 * A hook of an operator may be a C function
 *
 *     int running_sum(linops_call *call);
 *
 * given to Python as `apply = lo.native(library.running_sum)`. It is called without Python and without the GIL, on any
 * thread and possibly on several at once. It reads call->inputs (the operator's array fields, then the arguments of the
 * hook), fills call->outputs and returns 0. To fail, it returns another number, best with a text: see linops_fail.
 *
 * Floating point is as in the rest of an XLA program: denormal numbers are taken for zero.
 *
 * Versions. Within one version structures only grow at the end of linops_call; linops_buffer never changes. A function
 * that uses a field added later than version 1.0 (plan) first checks call->struct_size. Anything else is a new version,
 * and a function that was compiled for it refuses to run in an older linops_jax with LINOPS_CHECK_VERSION(call).
 */
#ifndef LINOPS_JAX_NATIVE_H
#define LINOPS_JAX_NATIVE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LINOPS_VERSION 1

/* The name of a PyCapsule that holds a linops_function; its context, if any, is the user data. */
#define LINOPS_CAPSULE "linops_jax.native.v1"

/* The type of an array's elements. Complex numbers are pairs of reals, as in C99 and C++. */
enum linops_dtype {
  LINOPS_BOOL = 1, /* one byte */
  LINOPS_INT8 = 2,
  LINOPS_INT16 = 3,
  LINOPS_INT32 = 4,
  LINOPS_INT64 = 5,
  LINOPS_UINT8 = 6,
  LINOPS_UINT16 = 7,
  LINOPS_UINT32 = 8,
  LINOPS_UINT64 = 9,
  LINOPS_FLOAT16 = 10,
  LINOPS_FLOAT32 = 11,
  LINOPS_FLOAT64 = 12,
  LINOPS_COMPLEX64 = 15,
  LINOPS_BFLOAT16 = 16,
  LINOPS_COMPLEX128 = 18,
  LINOPS_FLOAT8_E5M2 = 19,
  LINOPS_FLOAT8_E4M3FN = 20,
  LINOPS_FLOAT8_E4M3B11FNUZ = 23,
  LINOPS_FLOAT8_E5M2FNUZ = 24,
  LINOPS_FLOAT8_E4M3FNUZ = 25,
  LINOPS_FLOAT8_E4M3 = 28,
  LINOPS_FLOAT8_E3M4 = 29
};

/* An array, C-contiguous. Valid only during the call. */
typedef struct linops_buffer {
  void* data;             /* never write to that of an input; may be null where size is 0 */
  const int64_t* shape;   /* rank numbers */
  const int64_t* strides; /* rank numbers, in bytes */
  int64_t size;           /* number of elements */
  int32_t rank;           /* 0 for a scalar */
  int32_t dtype;          /* enum linops_dtype */
} linops_buffer;

typedef struct linops_call {
  uint32_t struct_size;         /* sizeof(linops_call) in the linops_jax that calls */
  uint32_t version;             /* its LINOPS_VERSION */
  int32_t n_inputs;             /* array fields of the operator, then arguments, in the order of jax.tree.leaves */
  int32_t n_outputs;            /* 1, or the leaves of what infer_shape promises */
  const linops_buffer* inputs;  /* read only */
  const linops_buffer* outputs; /* to be filled completely; not initialized */
  void* user_data;              /* what lo.native(..., user_data=...) gave, or null */
  char* error;                  /* room for a text in UTF-8 that ends with a null, shown to the user on failure */
  size_t error_size;            /* bytes there */
  void* plan;                   /* with lo.native(..., plan=True), what the operator's `prepare` made; or null */
} linops_call;

/* 0 for success. */
typedef int (*linops_function)(linops_call* call);

/* Leaves a text for the user and returns 1: `return linops_fail(call, "n must be even");` */
static inline int linops_fail(linops_call* call, const char* text) {
  snprintf(call->error, call->error_size, "%s", text);
  return 1;
}

/* First line of a function that may meet an older linops_jax than it was compiled for. */
#define LINOPS_CHECK_VERSION(call)                                                                             \
  do {                                                                                                         \
    if ((call)->version < LINOPS_VERSION)                                                                      \
      return linops_fail((call), "it was compiled for a newer interface than this linops_jax has: update it"); \
  } while (0)

#ifdef __cplusplus
}
#endif

#endif /* LINOPS_JAX_NATIVE_H */

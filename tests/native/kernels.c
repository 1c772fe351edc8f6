/* kernels.c: C functions of the interface, right and wrong ones. */
#include <complex.h>
#include <linops_jax/native.h>
#include <string.h>
#include <time.h>

/* ---- running sums of d * x, with every hook ---------------------------------------------------------------------- */

#define FOR_EACH_TYPE(DO, call)                                        \
  switch ((call)->outputs[0].dtype) {                                  \
    case LINOPS_FLOAT32:                                               \
      DO(float, (float));                                              \
      break;                                                           \
    case LINOPS_FLOAT64:                                               \
      DO(double, (double));                                            \
      break;                                                           \
    case LINOPS_COMPLEX64:                                             \
      DO(float complex, conjf);                                        \
      break;                                                           \
    case LINOPS_COMPLEX128:                                            \
      DO(double complex, conj);                                        \
      break;                                                           \
    default:                                                           \
      return linops_fail((call), "sums are of floating numbers only"); \
  }

static int same_types(linops_call* call) {
  for (int32_t i = 0; i < call->n_inputs; ++i) {
    if (call->inputs[i].dtype != call->outputs[0].dtype) return linops_fail(call, "all dtypes must be equal");
  }
  return 0;
}

/* inputs d, x, or d, x, dd: then of dd * x */
int running_sum(linops_call* call) {
  LINOPS_CHECK_VERSION(call);
  if (same_types(call)) return 1;
  const int64_t n = call->outputs[0].size;
#define SUM(T, CONJ)                                             \
  {                                                              \
    const T* d = call->inputs[call->n_inputs == 3 ? 2 : 0].data; \
    const T* x = call->inputs[1].data;                           \
    T *y = call->outputs[0].data, total = 0;                     \
    for (int64_t i = 0; i < n; ++i) y[i] = total += d[i] * x[i]; \
  }
  FOR_EACH_TYPE(SUM, call)
  return 0;
}

/* inputs d, y, or d, x, dy: then times x in place of d */
int running_sum_adjoint(linops_call* call) {
  if (same_types(call)) return 1;
  const int64_t n = call->outputs[0].size;
#define ADJOINT(T, CONJ)                                               \
  {                                                                    \
    const T* d = call->inputs[call->n_inputs == 3 ? 1 : 0].data;       \
    const T* y = call->inputs[call->n_inputs - 1].data;                \
    T *x = call->outputs[0].data, total = 0;                           \
    for (int64_t i = n; i-- > 0;) x[i] = CONJ(d[i]) * (total += y[i]); \
  }
  FOR_EACH_TYPE(ADJOINT, call)
  return 0;
}

/* batched: y = d * x over the last axis of however many, float32 */
int multiply(linops_call* call) {
  const linops_buffer *d = &call->inputs[0], *x = &call->inputs[1], *y = &call->outputs[0];
  for (int64_t i = 0; i < y->size; ++i) {
    ((float*)y->data)[i] = ((float*)d->data)[i % d->size] * ((float*)x->data)[i % x->size];
  }
  return 0;
}

/* ---- what a call looks like -------------------------------------------------------------------------------------- */

/* writes what it sees of its inputs into an int32 output */
int describe(linops_call* call) {
  const linops_buffer* out = &call->outputs[call->n_outputs - 1];
  int32_t* text = out->data;
  memset(text, 0, (size_t)out->size * sizeof *text);
  *text++ = (int32_t)call->version;
  *text++ = (int32_t)(call->struct_size == sizeof(linops_call));
  *text++ = call->n_inputs;
  *text++ = call->n_outputs;
  for (int32_t i = 0; i < call->n_inputs; ++i) {
    const linops_buffer* b = &call->inputs[i];
    *text++ = b->dtype;
    *text++ = b->rank;
    *text++ = (int32_t)b->size;
    for (int32_t axis = 0; axis < b->rank; ++axis) *text++ = (int32_t)b->shape[axis];
    for (int32_t axis = 0; axis < b->rank; ++axis) *text++ = (int32_t)b->strides[axis];
  }
  return 0;
}

int scale_by_user_data(linops_call* call) {
  if (call->user_data == NULL) return linops_fail(call, "no user data");
  const float* x = call->inputs[call->n_inputs - 1].data;
  float* y = call->outputs[0].data;
  for (int64_t i = 0; i < call->outputs[0].size; ++i) y[i] = (float)(*(double*)call->user_data * x[i]);
  return 0;
}

/* the plan is a table of doubles */
int multiply_by_plan(linops_call* call) {
  if (call->plan == NULL) return linops_fail(call, "no plan");
  const double* table = call->plan;
  const float* x = call->inputs[call->n_inputs - 1].data;
  float* y = call->outputs[0].data;
  for (int64_t i = 0; i < call->outputs[0].size; ++i) y[i] = (float)(table[i] * x[i]);
  return 0;
}

int has_no_plan(linops_call* call) {
  if (call->plan != NULL) return linops_fail(call, "it has a plan");
  memcpy(call->outputs[0].data, call->inputs[call->n_inputs - 1].data, (size_t)call->outputs[0].size * sizeof(float));
  return 0;
}

int scale_dict(linops_call* call) { /* (a, b) -> (2 b, 3 a) */
  for (int k = 0; k < 2; ++k) {
    const float* x = call->inputs[1 - k].data;
    float* y = call->outputs[k].data;
    for (int64_t i = 0; i < call->outputs[k].size; ++i) y[i] = (float)(2 + k) * x[i];
  }
  return 0;
}

/* ---- threads ------------------------------------------------------------------------------------------------------
 */

static int poll(volatile int64_t* counter, int64_t wanted) {
  const struct timespec pause = {0, 1000000};
  for (int i = 0; i < 10000 && __atomic_load_n(counter, __ATOMIC_SEQ_CST) < wanted; ++i) nanosleep(&pause, NULL);
  return __atomic_load_n(counter, __ATOMIC_SEQ_CST) < wanted;
}

static int identity(linops_call* call) {
  memcpy(call->outputs[0].data, call->inputs[call->n_inputs - 1].data, (size_t)call->outputs[0].size * sizeof(float));
  return 0;
}

/* waits for somebody else to raise the flag */
int counted_identity(linops_call* call) {
  __atomic_add_fetch((volatile int64_t*)call->user_data, 1, __ATOMIC_SEQ_CST);
  return identity(call);
}

int wait_for_flag(linops_call* call) {
  if (poll(call->user_data, 1)) return linops_fail(call, "nobody raised the flag");
  return identity(call);
}

/* waits for a second call of itself */
int meet(linops_call* call) {
  __atomic_add_fetch((int64_t*)call->user_data, 1, __ATOMIC_SEQ_CST);
  if (poll(call->user_data, 2)) return linops_fail(call, "nobody came");
  return identity(call);
}

/* ---- wrong ones ----------------------------------------------------------------------------------------------------
 */

int fail_with_text(linops_call* call) { return linops_fail(call, "the grid is \xc3\xa4 mess"); }

int fail_silently(linops_call* call) { return (void)call, 7; }

int fail_at_length(linops_call* call) {
  memset(call->error, 'x', call->error_size); /* no null at the end */
  return 1;
}

int fail_for_negative(linops_call* call) {
  if (((float*)call->inputs[call->n_inputs - 1].data)[0] < 0) return linops_fail(call, "negative");
  return identity(call);
}

int write_nothing(linops_call* call) { return (void)call, 0; }

int write_half(linops_call* call) {
  memset(call->outputs[0].data, 0, (size_t)call->outputs[0].size * sizeof(float) / 2);
  return 0;
}

#undef LINOPS_VERSION
#define LINOPS_VERSION 2
int from_the_future(linops_call* call) {
  LINOPS_CHECK_VERSION(call);
  return 0;
}

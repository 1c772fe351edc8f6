/* first_derivative.c: (x[i + 1] - x[i]) / step, and its adjoint. */
#include <linops_jax/native.h>

/* The user data, which the Python code passes. */
typedef struct {
  double step;
} settings;

static int check(linops_call* call) {
  LINOPS_CHECK_VERSION(call);
  if (call->inputs[0].dtype != LINOPS_FLOAT64) return linops_fail(call, "it is written for float64 arrays");
  return 0;
}

/* From n numbers to n - 1. */
int first_derivative(linops_call* call) {
  if (check(call)) return 1;
  const double scale = 1 / ((const settings*)call->user_data)->step;
  const double* x = call->inputs[0].data;
  double* y = call->outputs[0].data;
  for (int64_t i = 0; i < call->outputs[0].size; ++i) y[i] = (x[i + 1] - x[i]) * scale;
  return 0;
}

/* From n - 1 numbers to n. */
int first_derivative_adjoint(linops_call* call) {
  if (check(call)) return 1;
  const double scale = 1 / ((const settings*)call->user_data)->step;
  const double* y = call->inputs[0].data;
  double* x = call->outputs[0].data;
  const int64_t n = call->outputs[0].size;
  x[0] = -y[0] * scale;
  for (int64_t i = 1; i < n - 1; ++i) x[i] = (y[i - 1] - y[i]) * scale;
  x[n - 1] = y[n - 2] * scale;
  return 0;
}

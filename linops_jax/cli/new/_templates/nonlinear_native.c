/* The hooks of MyOperator. Build:
 *
 *   cc -O3 -shared -fPIC -I"$(python -c 'import linops_jax; print(linops_jax.get_include())')" \
 *       my_operator.c -o libmy_operator.so
 *
 * They are called on any thread, and write every element of their outputs.
 */
#include <linops_jax/native.h>

/* y = x + weight x². */
int my_operator_apply(linops_call* call) {
  LINOPS_CHECK_VERSION(call);
  const double weight = *(const double*)call->inputs[0].data; /* array fields come first */
  const double* x = call->inputs[1].data;
  double* y = call->outputs[0].data;
  for (int64_t i = 0; i < call->outputs[0].size; ++i) y[i] = x[i] + weight * x[i] * x[i];
  return 0;
}

/* dy = (1 + 2 weight x) dx. */
int my_operator_jacobian_apply(linops_call* call) {
  LINOPS_CHECK_VERSION(call);
  const double weight = *(const double*)call->inputs[0].data;
  const double* x = call->inputs[1].data;
  const double* dx = call->inputs[2].data;
  double* dy = call->outputs[0].data;
  for (int64_t i = 0; i < call->outputs[0].size; ++i) dy[i] = (1 + 2 * weight * x[i]) * dx[i];
  return 0;
}

/* dx = (1 + 2 weight x) dy: this J(x) is real and diagonal, hence its own conjugate transpose. */
int my_operator_jacobian_adjoint(linops_call* call) { return my_operator_jacobian_apply(call); }

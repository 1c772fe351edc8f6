/* The hooks of MyOperator. Build:
 *
 *   cc -O3 -shared -fPIC -I"$(python -c 'import linops_jax; print(linops_jax.get_include())')" \
 *       my_operator.c -o libmy_operator.so
 *
 * They are called on any thread, and write every element of their outputs.
 */
#include <linops_jax/native.h>

/* y[i] = x[i] + weight x[i - shift], periodic along the last axis. */
static int echo(linops_call* call, int64_t shift) {
  LINOPS_CHECK_VERSION(call);
  const linops_buffer* in = &call->inputs[1]; /* array fields come first */
  const double weight = *(const double*)call->inputs[0].data;
  const double* x = in->data;
  double* y = call->outputs[0].data;
  const int64_t n = in->shape[in->rank - 1];
  for (int64_t k = 0; k < in->size; ++k) {
    const int64_t i = k % n;
    const int64_t from = ((i - shift) % n + n) % n; /* the rest of C has the sign of what is divided */
    y[k] = x[k] + weight * x[k - i + from];
  }
  return 0;
}

static int64_t shift(const linops_call* call) { return *(const int64_t*)call->user_data; }

int my_operator_apply(linops_call* call) { return echo(call, shift(call)); }

/* Of a real weight: its conjugate is itself. */
int my_operator_adjoint(linops_call* call) { return echo(call, -shift(call)); }

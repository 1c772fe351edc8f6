/* heat_conduction.c: the heating of a rod, its derivative, and the adjoint of that, which runs backward in time.
 *
 * The rod has n cells. It is cold at first; its left end is held at temperature 1, its right end is insulated. Face i
 * is at the left of cell i, and x[i] is the logarithm of its conductivity. Through it flows, in one time step,
 *
 *     flow[i] = k[i] (u[i - 1] - u[i])    with    k[i] = exp(x[i]) time_step / (width of a cell)^2,  u[-1] = 1.
 *
 * An implicit Euler step solves u[i] + flow[i + 1] - flow[i] = u_before[i], that is A u = u_before + k[0] e_0, where A
 * is tridiagonal, symmetric and positive.
 */
#include <linops_jax/native.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

/* The user data, which the Python code passes. */
typedef struct {
  double time_step;
  int64_t spacing; /* a thermometer is in the last of every `spacing` cells */
} settings;

/* A = (I + L) diag(d) (I + L)^T, where L has the numbers `below` below its diagonal. */
typedef struct {
  int64_t n;
  double *k, *below, *d;
} factors;

atomic_int simulations; /* for those who count */

static factors factors_in(double* memory, int64_t n) { return (factors){n, memory, memory + n, memory + 2 * n}; }

static void factorise(factors A, const double* x, double time_step) {
  const double scale = time_step * (double)A.n * (double)A.n;
  for (int64_t i = 0; i < A.n; ++i) A.k[i] = scale * exp(x[i]);
  for (int64_t i = 0; i < A.n; ++i) {
    A.below[i] = i > 0 ? -A.k[i] / A.d[i - 1] : 0;
    A.d[i] = 1 + A.k[i] * (1 + A.below[i]) + (i + 1 < A.n ? A.k[i + 1] : 0);
  }
}

/* u becomes A^-1 u. */
static void solve(factors A, double* u) {
  for (int64_t i = 1; i < A.n; ++i) u[i] -= A.below[i] * u[i - 1];
  for (int64_t i = 0; i < A.n; ++i) u[i] /= A.d[i];
  for (int64_t i = A.n - 1; i > 0; --i) u[i - 1] -= A.below[i] * u[i];
}

static const settings* settings_of(const linops_call* call) { return call->user_data; }

/* Fills y with what the thermometers show at each time, and flow, if it is not null, with the flow in each step. */
static int simulate(linops_call* call, double* memory, double* flow) {
  const linops_buffer* y = call->outputs; /* time by thermometer */
  const int64_t n = call->inputs[0].size, steps = y->shape[0], spacing = settings_of(call)->spacing;
  const factors A = factors_in(memory, n);
  double *u = calloc((size_t)n, sizeof *u), *shown = y->data;
  if (u == NULL) return linops_fail(call, "no memory for the temperatures");
  ++simulations;
  factorise(A, call->inputs[0].data, settings_of(call)->time_step);
  for (int64_t t = 0; t < steps; ++t) {
    u[0] += A.k[0];
    solve(A, u);
    for (int64_t s = 0; s < y->shape[1]; ++s) *shown++ = u[(s + 1) * spacing - 1];
    if (flow == NULL) continue;
    for (int64_t i = 0; i < n; ++i) *flow++ = A.k[i] * ((i > 0 ? u[i - 1] : 1) - u[i]);
  }
  free(u);
  return 0;
}

/* x -> y */
int heat_apply(linops_call* call) {
  double* memory = malloc(3 * (size_t)call->inputs[0].size * sizeof *memory);
  if (memory == NULL) return linops_fail(call, "no memory for the factors");
  const int failed = simulate(call, memory, NULL);
  free(memory);
  return failed;
}

/* x -> y and the state, which is the factors of A and the flow through each face in each step */
int heat_linearize(linops_call* call) { return simulate(call, call->outputs[1].data, call->outputs[2].data); }

/* x, state, dx -> dy. One step: A du = du_before + (flow dx)[i] - (flow dx)[i + 1]. */
int heat_jacobian_apply(linops_call* call) {
  const linops_buffer* y = call->outputs;
  const int64_t n = call->inputs[0].size, steps = y->shape[0], spacing = settings_of(call)->spacing;
  const factors A = factors_in(call->inputs[1].data, n);
  const double *flow = call->inputs[2].data, *dx = call->inputs[3].data;
  double *du = calloc((size_t)n, sizeof *du), *shown = y->data;
  if (du == NULL) return linops_fail(call, "no memory for the temperatures");
  for (int64_t t = 0; t < steps; ++t, flow += n) {
    for (int64_t i = 0; i < n; ++i) du[i] += flow[i] * dx[i] - (i + 1 < n ? flow[i + 1] * dx[i + 1] : 0);
    solve(A, du);
    for (int64_t s = 0; s < y->shape[1]; ++s) *shown++ = du[(s + 1) * spacing - 1];
  }
  free(du);
  return 0;
}

/* x, state, dy -> dx: the transposes of the same lines, in reverse order */
int heat_jacobian_adjoint(linops_call* call) {
  const linops_buffer* y = &call->inputs[3];
  const int64_t n = call->inputs[0].size, steps = y->shape[0], spacing = settings_of(call)->spacing;
  const factors A = factors_in(call->inputs[1].data, n);
  const double* flow = (const double*)call->inputs[2].data + steps * n;
  const double* shown = (const double*)y->data + y->size;
  double *du = calloc((size_t)n, sizeof *du), *dx = call->outputs[0].data;
  if (du == NULL) return linops_fail(call, "no memory for the temperatures");
  for (int64_t i = 0; i < n; ++i) dx[i] = 0;
  for (int64_t t = steps; t > 0; --t) {
    for (int64_t s = y->shape[1]; s > 0; --s) du[s * spacing - 1] += *--shown;
    solve(A, du);
    flow -= n;
    for (int64_t i = 0; i < n; ++i) dx[i] += flow[i] * (du[i] - (i > 0 ? du[i - 1] : 0));
  }
  free(du);
  return 0;
}

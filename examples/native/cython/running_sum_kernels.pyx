# running_sum_kernels.pyx: y[i] = x[0] + ... + x[i], and its adjoint.
#
# `api` puts a function into __pyx_capi__, in a capsule whose name is the signature of the function.
from libc.stdint cimport int32_t, int64_t

cdef extern from "linops_jax/native.h":
    ctypedef struct linops_buffer:
        void *data
        int64_t size
        int32_t dtype
    ctypedef struct linops_call:
        const linops_buffer *inputs
        const linops_buffer *outputs
    int LINOPS_FLOAT32
    int linops_fail(linops_call *call, const char *text) noexcept nogil


cdef api int running_sum(linops_call *call) noexcept nogil:
    if call.inputs[0].dtype != LINOPS_FLOAT32:
        return linops_fail(call, b"it is written for float32 arrays")
    cdef const float *x = <const float *> call.inputs[0].data
    cdef float *y = <float *> call.outputs[0].data
    cdef double total = 0
    cdef int64_t i
    for i in range(call.outputs[0].size):
        total += x[i]
        y[i] = <float> total
    return 0


cdef api int running_sum_adjoint(linops_call *call) noexcept nogil:
    if call.inputs[0].dtype != LINOPS_FLOAT32:
        return linops_fail(call, b"it is written for float32 arrays")
    cdef const float *y = <const float *> call.inputs[0].data
    cdef float *x = <float *> call.outputs[0].data
    cdef double total = 0
    cdef int64_t i
    for i in range(call.outputs[0].size - 1, -1, -1):
        total += y[i]
        x[i] = <float> total
    return 0

"""Functions instead of classes: the interface of the JAXbind paper, over the library's own primitives and trampoline."""

from linops_jax import _public
from linops_jax.functional._bind import get_linear_call as get_linear_call
from linops_jax.functional._bind import get_nonlinear_call as get_nonlinear_call
from linops_jax.functional._call import Call as Call
from linops_jax.functional._keywords import load_kwargs as load_kwargs

__all__ = [
    "Call",
    "get_linear_call",
    "get_nonlinear_call",
    "load_kwargs",
]

_public.publish(__name__)

"""The operators of the solver loops, each by every library that can have it. Double precision."""

from .blur import blur
from .derivative import derivative
from .nufft import nufft
from .problem import Problem as Problem
from .sparse import sparse

PROBLEMS = {"blur": blur, "derivative": derivative, "sparse matrix": sparse, "NUFFT": nufft}

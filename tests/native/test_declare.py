"""What lo.native accepts as a function, and what it refuses, in the class statement and before."""

import ctypes

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from building import library, path
from helpers import close

import linops_jax as lo

pytestmark = pytest.mark.newest

C = library("kernels.c")
X = jnp.arange(5, dtype=jnp.float32)
ADDRESS = ctypes.cast(C.scale_by_user_data, ctypes.c_void_p).value
TWO = (ctypes.c_double * 1)(2.0)
TWO_AT = ctypes.addressof(TWO)


def same(self, x):
    return x


def operator(**hooks):
    namespace = {"apply": same, "adjoint": same, "infer_shape": same, "__module__": __name__, "__qualname__": "Blur"}
    return type(lo.LinearOperator)("Blur", (lo.LinearOperator,), {**namespace, **hooks})


_NAMES = []  # a capsule does not copy its name


def capsule(address, name, context=None):
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    set_context = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p)
    _NAMES.append(name)
    made = new(("PyCapsule_New", ctypes.pythonapi))(address, name, None)
    set_context(("PyCapsule_SetContext", ctypes.pythonapi))(made, context)
    return made


def cffi_function(declaration="int scale_by_user_data(void *);"):
    cffi = pytest.importorskip("cffi")
    ffi = cffi.FFI()
    ffi.cdef(declaration)
    return getattr(ffi.dlopen(str(path("kernels.c"))), declaration.split()[1].partition("(")[0])


def low_level_callable():
    scipy = pytest.importorskip("scipy")
    C.scale_by_user_data.argtypes, C.scale_by_user_data.restype = [ctypes.c_void_p], ctypes.c_int
    return scipy.LowLevelCallable(C.scale_by_user_data, ctypes.c_void_p(TWO_AT))


def python_callback():
    """ctypes makes a C function of it, which takes the GIL."""

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
    def call(pointer):
        words = ctypes.cast(pointer, ctypes.POINTER(ctypes.c_int64))
        x, y = (
            ctypes.cast(ctypes.cast(words[i], ctypes.POINTER(ctypes.c_void_p))[0], ctypes.POINTER(ctypes.c_float))
            for i in (2, 3)
        )
        for i in range(5):
            y[i] = 2 * x[i]
        return 0

    return call


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (lambda: C.scale_by_user_data, {"user_data": TWO}),
        (lambda: ADDRESS, {"user_data": TWO_AT, "owner": (C, TWO)}),
        (lambda: capsule(ADDRESS, b"linops_jax.native.v1"), {"user_data": TWO}),
        (lambda: capsule(ADDRESS, b"linops_jax.native.v1", TWO_AT), {}),
        (lambda: capsule(ADDRESS, b"int (linops_call *)", TWO_AT), {}),
        (cffi_function, {"user_data": TWO}),
        (low_level_callable, {}),
        (python_callback, {}),
        (lambda: "scale_by_user_data", {"library": C, "user_data": TWO}),
        (lambda: "scale_by_user_data", {"library": path("kernels.c"), "user_data": TWO}),
    ],
    ids=["ctypes", "address", "capsule", "capsule with data", "signature", "cffi", "scipy", "callback", "name", "path"],
)
def test_functions_of_many_packages(function, options):
    close(operator(apply=lo.native(function(), **options))()(X), 2 * X)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: lo.native(),
            TypeError,
            r"lo\.native takes exactly one of: a C function, ffi=handler, numba=kernel; found none",
        ),
        (lambda: lo.native(C.meet, ffi="name"), TypeError, "found function, ffi"),
        (lambda: lo.native(C.meet, threads=2), TypeError, "unexpected keyword argument 'threads'"),
        (lambda: lo.native(same), TypeError, r"found function <function same.*lo\.native\(numba=function\)"),
        (lambda: lo.native(lo.traced(lambda self, x: x)), TypeError, r"is traced.*lo\.per_platform"),
        (lambda: lo.native(3.5), TypeError, r"expected a function of a ctypes library.*found float 3\.5"),
        (lambda: lo.native(True), TypeError, "found bool True"),
        (lambda: lo.native(0), ValueError, "found the address 0, which is not a function"),
        (lambda: lo.native("blur", library=C), AttributeError, r"kernels\.c\.so has no function 'blur'.*extern"),
        (lambda: lo.native(C.meet, library=C), TypeError, "with library=, give the name of a function in it"),
        (lambda: lo.native("meet", library="/no/such.so"), OSError, r"no/such\.so"),
        (
            lambda: lo.native(numba=same, library=C),
            TypeError,
            r"library= is for a C function or ffi=, not for numba=\. Drop it",
        ),
        (
            lambda: lo.native(capsule(ADDRESS, b"linops_jax.native.v9")),
            TypeError,
            r"capsule named 'linops_jax\.native\.v9'; expected 'linops_jax\.native\.v1'.*another version",
        ),
        (
            lambda: lo.native(capsule(ADDRESS, b"double (double)")),
            TypeError,
            r"capsule named 'double \(double\)'; expected .* the signature 'int \(linops_call \*\)'",
        ),
        (
            lambda: lo.native(ffi=capsule(ADDRESS, b"linops_jax.native.v1")),
            TypeError,
            r"expected an XLA FFI handler, in a capsule without a name.*lo\.native\(function\)",
        ),
        (lambda: lo.native(ffi=3.5), TypeError, r"expected an XLA FFI handler: .* found float 3\.5"),
        (
            lambda: lo.native(C.meet, user_data=object()),
            TypeError,
            "user_data must be bytes, a NumPy array.*found object",
        ),
        (
            lambda: lo.native(capsule(ADDRESS, b"linops_jax.native.v1", TWO_AT), user_data=TWO),
            TypeError,
            "already has user data, which user_data= would replace",
        ),
        (
            lambda: lo.native(ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_double)(lambda i, x: 0)),
            TypeError,
            r"found c_int .*\(c_int, c_double\); expected int \(linops_call \*\)",
        ),
        (
            lambda: lo.native(ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_void_p)(lambda p: 0.0)),
            TypeError,
            r"found c_double .*\(c_void_p\); expected int",
        ),
        (
            lambda: lo.native(cffi_function("double meet(double);")),
            TypeError,
            r"found double .*\(double\); expected int",
        ),
        (lambda: lo.native(C.meet, attributes={}), TypeError, "attributes= is an option of ffi, not of function"),
        (
            lambda: lo.native("name", parallel=True),
            TypeError,
            "parallel= is an option of function or numba, not of ffi",
        ),
        (lambda: lo.native(ffi="name", dtypes=["f4"]), TypeError, "dtypes= is an option of function, not of ffi"),
        (lambda: lo.native(numba=3), TypeError, "takes a Python function kernel.*found int 3, which cannot be called"),
        (lambda: lo.traced(lo.native(C.meet)), TypeError, r"marks a plain method, not CFunction.*lo\.per_platform"),
        (lambda: lo.per_platform(), TypeError, "needs at least one hook"),
        (lambda: lo.per_platform(cpu=3), TypeError, r"per_platform\(cpu=\.\.\.\) must be lo\.native.*not int"),
        (lambda: lo.per_platform(metal=lo.native("f")), TypeError, "unknown platform 'metal'; use cpu"),
        (
            lambda: operator(infer_shape=lo.native(C.meet)),
            TypeError,
            r"Blur\.infer_shape is called while JAX traces, so it must be a plain method",
        ),
        (
            lambda: operator(apply=lo.per_platform(cpu=lambda self: 0)),
            TypeError,
            r"Blur\.apply must accept \(self, x\)",
        ),
        (
            lambda: operator(apply=lo.native(C.meet))().apply(X),
            TypeError,
            r"Blur\.apply is native and has no Python body",
        ),
    ],
)
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_numba_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    with pytest.raises(ImportError, match=r"needs the package numba: run `pip install numba`"):
        lo.native(numba=same)


def test_user_data_of_the_wrong_kind_from_the_operator():
    op = operator(apply=lo.native(C.scale_by_user_data, user_data=lambda op: 2.0))()
    with pytest.raises(TypeError, match=r"Blur\.apply, user_data must be bytes.*found float 2\.0"):
        op(X)


def test_the_optional_hooks():
    class Scaling(lo.LinearOperator):
        apply = adjoint = lo.native(C.scale_by_user_data, user_data=np.array([2.0]))
        gram = lo.native(C.scale_by_user_data, user_data=np.array([4.0]))
        inverse = inverse_adjoint = lo.native(C.scale_by_user_data, user_data=np.array([0.5]))

        def infer_shape(self, x):
            return x

        infer_adjoint_shape = infer_shape

    op = Scaling()
    close(op.gram(X), 4 * X)
    close(jax.jit(op.inv)(X), X / 2)
    lo.check_operator(op, X)


def test_the_header_is_where_get_include_says():
    import pathlib

    assert (pathlib.Path(lo.get_include()) / "linops_jax" / "native.h").is_file()

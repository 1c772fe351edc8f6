"""Where NumPy, SciPy and JAX document the names that these pages use: inventories for intersphinx.

They are made from the lists below, since a build may not need the network. A name that is missing here is code without a link.
"""

import pathlib
import zlib

NUMPY = """
numpy.einsum numpy.expand_dims numpy.fft.rfft numpy.flip numpy.kron numpy.lib.stride_tricks.sliding_window_view numpy.mean
numpy.multiply numpy.dot numpy.pad numpy.reshape numpy.roll numpy.sum numpy.take numpy.transpose numpy.where numpy.ndarray
numpy.cumsum numpy.conj
"""
SCIPY = """
scipy.LowLevelCallable scipy.fft.dct scipy.fft.dctn scipy.fft.dst scipy.fft.dstn scipy.linalg.circulant scipy.linalg.lu_solve
scipy.linalg.toeplitz scipy.ndimage.gaussian_filter scipy.ndimage.map_coordinates scipy.signal.convolve scipy.sparse.csr_array
scipy.sparse.linalg.LinearOperator scipy.sparse.linalg.eigsh scipy.sparse.linalg.svds scipy.sparse.linalg.lsmr
scipy.sparse.linalg.cg scipy.sparse.vstack scipy.optimize.least_squares
"""
JAX = """
jax.Array jax.ShapeDtypeStruct jax.checkpoint jax.clear_caches jax.custom_jvp jax.custom_vjp jax.devices
jax.distributed.initialize jax.eval_shape jax.grad jax.jit jax.jvp jax.vjp jax.vmap jax.linearize jax.linear_transpose
jax.jacfwd jax.jacrev jax.hessian jax.make_mesh jax.pure_callback jax.shard_map jax.ffi.ffi_call jax.ffi.ffi_lowering
jax.ffi.pycapsule jax.ffi.register_ffi_target jax.lax.custom_linear_solve jax.lax.custom_root jax.lax.psum jax.lax.scan
jax.lax.while_loop jax.lax.cond jax.lax.fori_loop jax.lax.stop_gradient jax.make_array_from_process_local_data
jax.tree.leaves jax.tree.map jax.tree.structure jax.tree.unflatten jax.numpy.asarray jax.numpy.linalg.norm jax.numpy.roll
jax.numpy.sum jax.numpy.vdot jax.numpy.einsum jax.numpy.pad
"""
LIBRARIES = {
    "numpy": ("https://numpy.org/doc/stable/", "reference/generated/{}.html", NUMPY),
    "scipy": ("https://docs.scipy.org/doc/scipy/", "reference/generated/{}.html", SCIPY),
    "jax": ("https://docs.jax.dev/en/latest/", "_autosummary/{}.html", JAX),
}


def write(folder: pathlib.Path) -> dict[str, tuple[str, str]]:
    """Writes an inventory for each library, and returns the value of `intersphinx_mapping`."""
    folder.mkdir(parents=True, exist_ok=True)
    for library, (_, page, names) in LIBRARIES.items():
        (folder / f"{library}.inv").write_bytes(inventory(library, page, names.split()))
    return {library: (url, str(folder / f"{library}.inv")) for library, (url, _, _) in LIBRARIES.items()}


def inventory(library: str, page: str, names: list[str]) -> bytes:
    """In the format of Sphinx, version 2."""
    head = (
        f"# Sphinx inventory version 2\n# Project: {library}\n# Version: \n# The remainder is compressed using zlib.\n"
    )
    lines = "".join(f"{name} py:function 1 {page.format(name)}#$ -\n" for name in names)
    return head.encode() + zlib.compress(lines.encode())

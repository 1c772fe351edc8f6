"""python setup.py build_ext --inplace"""

from Cython.Build import cythonize
from setuptools import Extension, setup

import linops_jax

extension = Extension("running_sum_kernels", ["running_sum_kernels.pyx"], include_dirs=[linops_jax.get_include()])
setup(name="running_sum_kernels", ext_modules=cythonize([extension], language_level=3))

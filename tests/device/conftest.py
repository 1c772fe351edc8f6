"""Tests of the device that is there: a GPU or a TPU if JAX finds one, otherwise the CPU. `pytest tests/device` runs them."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # for kinds

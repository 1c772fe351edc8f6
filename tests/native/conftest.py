"""Native code for the tests, built when it is first asked for."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # for building and its sources

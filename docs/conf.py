"""Sphinx. The pages are MyST; their cells run against the installed package, and a failure is an error."""

import pathlib
import sys
from importlib.metadata import version as installed_version

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # for what lies beside this file

import inventories

project = "linops_jax"
author = "The linops_jax developers"
copyright = "2026, The linops_jax developers"
version = release = installed_version("linops-jax")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "diagrams",
    "names",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "linops_jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
default_role = "literal"  # docstrings quote code with single backticks

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_render_markdown_format = "myst"  # the default has no tables

intersphinx_mapping = inventories.write(pathlib.Path(__file__).parent / "_build" / "inventories")

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say types, in words
maximum_signature_line_length = 100
napoleon_google_docstring = False
napoleon_use_ivar = True  # attributes as a list, like parameters
napoleon_use_rtype = False  # the type of what is returned stands before its description

"""The documentation: `make docs` builds it into docs/_build."""

import keras_sparse

project = "keras_sparse"
author = "the keras_sparse authors"
version = release = keras_sparse.__version__
html_title = f"keras_sparse {version}"
html_theme = "furo"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
autodoc_typehints = "none"  # the docstrings say what the arguments are
autodoc_member_order = "bysource"
napoleon_use_ivar = True
napoleon_use_admonition_for_references = True
napoleon_custom_sections = [("Reference", "notes")]
default_role = "code"
suppress_warnings = ["myst.xref_missing"]


def bars(app, what, name, item, options, lines):
    """|w| is a magnitude, not a substitution."""
    lines[:] = [
        line if ">>>" in line else line.replace("|", r"\|") for line in lines
    ]


def setup(app):
    app.connect("autodoc-process-docstring", bars)

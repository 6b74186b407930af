"""How the documentation is built: Markdown pages, and a reference made from docstrings."""

from importlib.metadata import version as version_of

project = "spikebridge"
author = "The spikebridge authors"
release = version_of("spikebridge")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "spikebridge"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# docstrings are Markdown: names stand in single backticks, which plain reStructuredText would set in italics
default_role = "code"
suppress_warnings = ["ref.python", "docutils"]

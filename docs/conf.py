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


def setup(app):
    """Docstrings fence their drawings with ```; the reference wants them as literal blocks."""
    app.connect("autodoc-process-docstring", fences_to_literal_blocks)


def fences_to_literal_blocks(app, what, name, obj, options, lines):
    """Replaces each fence by `::` and indents what is inside."""
    inside = False
    for index, line in enumerate(lines):
        if line.strip() == "```":
            inside = not inside
            lines[index] = "::\n" if inside else ""
        elif inside:
            lines[index] = f"    {line}"
    lines[:] = "\n".join(lines).split("\n")

"""HTML of objects for a notebook: `spikebridge.analysis.notebook` draws it, and is imported when something is shown."""

from importlib import import_module
from typing import Any


def notebook_html(function: str, *values: Any) -> str | None:
    """The HTML of an object, from a function of that module; None where a package that draws is not installed.

    A notebook shows the text of an object without HTML.
    """
    try:
        drawing = import_module("spikebridge.analysis.notebook")
    except ModuleNotFoundError:
        return None

    html: str = getattr(drawing, function)(*values)
    return html

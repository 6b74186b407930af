"""Files beside the code: templates of pages, in which every text is escaped, styles, scripts and tables."""

from importlib.resources import files

import jinja2

from spikebridge.data.io.templates import file_template


class Drawing(str):
    """An SVG element, which a notebook shows.

    A page shows `narrow` on a phone, and everywhere if the other one `is_too_wide`.
    """

    narrow: str
    is_too_wide: bool

    def __new__(cls, svg: str, narrow: str = "", is_too_wide: bool = False) -> "Drawing":
        drawing = super().__new__(cls, svg)
        drawing.narrow = narrow
        drawing.is_too_wide = is_too_wide
        return drawing

    def _repr_html_(self) -> str:
        return str(self)


def resource_text(name: str) -> str:
    """The text of a file in this package."""
    return (files("spikebridge.analysis") / name).read_text(encoding="utf-8")


def page_template(name: str) -> jinja2.Template:
    """A template of this package."""
    return file_template("spikebridge.analysis", name)

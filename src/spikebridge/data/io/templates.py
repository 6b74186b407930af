"""Templates of files beside the code, in which a value that is missing is an error."""

from functools import cache
from importlib.resources import files

import jinja2


@cache
def file_template(package: str, name: str) -> jinja2.Template:
    """A template in the folder of a package; texts are escaped in those of pages, `.html.j2`."""
    is_page = name.endswith(".html.j2")
    environment = jinja2.Environment(
        autoescape=is_page,
        trim_blocks=True,
        lstrip_blocks=is_page,
        keep_trailing_newline=not is_page,
        undefined=jinja2.StrictUndefined,
    )
    return environment.from_string((files(package) / name).read_text(encoding="utf-8"))

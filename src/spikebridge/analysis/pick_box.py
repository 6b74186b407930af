"""Draws a box on a picture in a browser: one page of this machine, open until a box is drawn."""

import base64
import io
import json
import threading
import webbrowser
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from spikebridge.analysis.local_page import LocalPage, PageRequest
from spikebridge.analysis.templates import page_template
from spikebridge.errors import ConfigError

_MAX_ANSWER_BYTES = 200
_RELOAD_SECONDS = 2.0  # in which a page that was left may come back
_TIMEOUT = 600.0  # seconds without an answer


def pick_box(
    picture: UInt8[np.ndarray, "H W"],
    start: Float[np.ndarray, "4"] | None = None,
    port: int = 0,
    report: Callable[[str], None] = lambda line: None,
    open_page: Callable[[str], bool] = webbrowser.open,
) -> Float[np.ndarray, "4"]:
    """Lets the user draw a box `x, y, w, h` [px] on grey levels; the page begins with the box `start`.

    With a given port the page may be opened by hand, such as through a tunnel from another machine: `report` is called
    with its address. `open_page` returns False if there is no browser.
    """
    answer = _Answer()
    content = _page(picture, start)
    page = LocalPage(lambda path: _requests(content, path, picture.shape, answer), port)
    page.start()

    try:
        report(f"draw the box on {page.address}")
        # with a port of the user's choice the page may be opened by hand
        if not open_page(page.address) and not port:
            raise ConfigError("there is no browser on this machine to draw a box in; give the box: --init x,y,w,h")
        return answer.wait()
    finally:
        page.close()


class _Answer:
    """The answer of the page: a box, or its end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._box: list[float] | None = None
        self._is_open = True

    def set_box(self, box: list[float]) -> None:
        with self._changed:
            self._box = box
            self._changed.notify()

    def set_open(self, is_open: bool) -> None:
        with self._changed:
            self._is_open = is_open
            self._changed.notify()

    def wait(self) -> Float[np.ndarray, "4"]:
        """Waits for a box; raises if the page was closed or is silent."""
        with self._changed:
            while self._box is None:
                was_open = self._is_open
                # a page that is loaded again says that it was closed, then that it is open
                changed = self._changed.wait(_TIMEOUT if was_open else _RELOAD_SECONDS)
                if self._box is None and not changed:
                    silent = "no box was drawn for ten minutes"
                    closed = "the page was closed before a box was drawn"
                    why = silent if was_open else closed
                    raise ConfigError(f"{why}; run the command again, or give the box: --init x,y,w,h")

            return np.array(self._box)


def _page(picture: UInt8[np.ndarray, "H W"], start: Float[np.ndarray, "4"] | None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    height, width = picture.shape
    box = "null" if start is None else json.dumps([round(float(value), 1) for value in start])
    image = base64.b64encode(file.getvalue()).decode()

    return page_template("pick_box.html.j2").render(width=width, height=height, box=box, picture=image).encode()


def _parse_answer(content: bytes, height: int, width: int) -> list[float] | None:
    """A box inside the picture; None for anything else."""
    try:
        x, y, w, h = (float(value) for value in json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return None

    is_inside = x >= 0 and y >= 0 and w >= 1 and h >= 1 and x + w <= width + 1e-6 and y + h <= height + 1e-6
    return [x, y, w, h] if is_inside else None


def _requests(page: bytes, path: str, shape: tuple[int, ...], answer: _Answer) -> type[PageRequest]:
    class Request(PageRequest):
        def get(self) -> None:
            if self.path != path:
                return self.respond(404, b"there is nothing here")
            answer.set_open(True)
            return self.respond(200, page, "text/html; charset=utf-8")

        def post(self) -> None:
            # read even for an unknown path: an unread body breaks the connection
            length = self.headers.get("Content-Length", "")
            content = self.rfile.read(int(length)) if length.isdecimal() and int(length) <= _MAX_ANSWER_BYTES else b""
            if self.path == f"{path}closed":
                answer.set_open(False)
                return self.respond(200)

            box = _parse_answer(content, *shape) if self.path == f"{path}box" else None
            if box is None:
                return self.respond(400, b"a box is x, y, w, h inside the picture, at least one pixel wide and high")

            self.respond(200, b"ok")
            return answer.set_box(box)

    return Request

"""Draws a box on a picture in a browser: one page on this machine's loopback address, open until a box is drawn."""

import base64
import io
import json
import secrets
import threading
import webbrowser
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from spikebridge.data.io.number_text import parse_port
from spikebridge.errors import ConfigError

_LONGEST_BODY = 200  # bytes of an answer
_RELOAD = 2.0  # seconds in which a page that was left may come back
_PATIENCE = 600.0  # seconds without an answer

_PAGE = """<!doctype html><meta charset="utf-8"><title>Draw a box</title>
<style>body{font:16px sans-serif;margin:1em;background:#222;color:#eee}
canvas{cursor:crosshair;image-rendering:pixelated}
button{font:inherit;padding:.3em 1em;margin:.5em 0}</style>
<p id="text">Draw a box around the target with the mouse, then press the button.</p>
<canvas id="c"></canvas><br><button id="b" disabled>Track</button>
<script>
const size=[SIZE],image=new Image(),c=document.getElementById("c"),g=c.getContext("2d"),b=document.getElementById("b");
const scale=Math.max(1,Math.min(8,Math.floor(800/size[0])));let box=START,from=null,done=false;
c.width=size[0]*scale;c.height=size[1]*scale;
function draw(){g.imageSmoothingEnabled=false;g.drawImage(image,0,0,c.width,c.height);
 if(box){g.strokeStyle="#5d8";g.lineWidth=2;g.strokeRect(...box.map(v=>v*scale));b.disabled=box[2]<1||box[3]<1}}
function at(e){const r=c.getBoundingClientRect();return [
 Math.min(size[0],Math.max(0,(e.clientX-r.left)/scale)),Math.min(size[1],Math.max(0,(e.clientY-r.top)/scale))]}
c.onpointerdown=e=>{from=at(e);c.setPointerCapture(e.pointerId)};
c.onpointermove=e=>{if(!from)return;const p=at(e);
 box=[Math.min(p[0],from[0]),Math.min(p[1],from[1]),Math.abs(p[0]-from[0]),Math.abs(p[1]-from[1])];draw()};
c.onpointerup=()=>{from=null};
b.onclick=async()=>{const r=await fetch("box",{method:"POST",body:JSON.stringify(box)});done=r.ok;
 document.getElementById("text").textContent=r.ok?"The box is taken. You can close this page.":await r.text()};
window.onpagehide=()=>{if(!done)navigator.sendBeacon("closed")};
image.onload=draw;image.src="data:image/png;base64,PICTURE";
</script>"""


def pick_box(
    picture: UInt8[np.ndarray, "H W"],
    start: Float[np.ndarray, "4"] | None = None,
    port: int = 0,
    report: Callable[[str], None] = lambda line: None,
    open_page: Callable[[str], bool] = webbrowser.open,
) -> Float[np.ndarray, "4"]:
    """Lets the user draw a box on a picture.

    Args:
        picture: grey levels.
        start: the box that the page shows at first, `x, y, w, h` in pixels.
        port: of the loopback address; 0 takes a free one. With a given port the address is reported and the page may
            be opened by hand, such as through a tunnel from another machine.
        report: called with the address of the page.
        open_page: opens an address in a browser; False where there is none.

    Returns:
        `x, y, w, h` in pixels.

    Raises:
        ConfigError: the port is in use, there is no browser, or the page was closed or left alone for ten minutes.
    """
    parse_port(port, min_port=0)
    answer = _Answer()
    path = f"/{secrets.token_urlsafe(16)}/"

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), _handler(_page(picture, start), path, picture.shape, answer))
    except OSError as error:
        raise ConfigError(
            f"port {port} of this machine is not available ({error.strerror}); take another one"
        ) from None

    address = f"http://127.0.0.1:{server.server_port}{path}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="box page", daemon=True)
    thread.start()

    try:
        report(f"draw the box on {address}")
        if not open_page(address) and not port:
            raise ConfigError("there is no browser on this machine to draw a box in; give the box: --init x,y,w,h")
        return answer.wait()
    finally:
        server.shutdown()
        server.server_close()


class _Answer:
    """What the page says: a box, or that it was closed."""

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
        """The box, once there is one.

        Raises:
            ConfigError: the page was closed, or is silent.
        """
        with self._changed:
            while self._box is None:
                was_open = self._is_open
                changed = self._changed.wait(_PATIENCE if was_open else _RELOAD)
                if self._box is None and not changed:
                    why = (
                        "no box was drawn for ten minutes" if was_open else "the page was closed before a box was drawn"
                    )
                    raise ConfigError(f"{why}; run the command again, or give the box: --init x,y,w,h")

            return np.array(self._box)


def _page(picture: UInt8[np.ndarray, "H W"], start: Float[np.ndarray, "4"] | None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    height, width = picture.shape
    box = "null" if start is None else json.dumps([round(float(value), 1) for value in start])
    page = _PAGE.replace("SIZE", f"{width},{height}").replace("START", box)

    return page.replace("PICTURE", base64.b64encode(file.getvalue()).decode()).encode()


def _parse_answer(content: bytes, height: int, width: int) -> list[float] | None:
    """A box inside the picture; None for anything else."""
    try:
        x, y, w, h = (float(value) for value in json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return None

    inside = x >= 0 and y >= 0 and w >= 1 and h >= 1 and x + w <= width + 1e-6 and y + h <= height + 1e-6
    return [x, y, w, h] if inside else None


def _handler(page: bytes, path: str, shape: tuple[int, ...], answer: _Answer) -> type[BaseHTTPRequestHandler]:
    """Serves the page under its secret path, and takes its answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != path:
                return self._send(404, b"there is nothing here")
            answer.set_open(True)
            return self._send(200, page, "text/html; charset=utf-8")

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            content = self.rfile.read(int(length)) if length.isdecimal() and int(length) <= _LONGEST_BODY else b""
            if self.path == f"{path}closed":
                answer.set_open(False)
                return self._send(200, b"")

            box = _parse_answer(content, *shape) if self.path == f"{path}box" else None
            if box is None:
                return self._send(400, b"a box is x, y, w, h inside the picture, at least one pixel wide and high")

            self._send(200, b"ok")
            return answer.set_box(box)

        def _send(self, code: int, content: bytes, kind: str = "text/plain; charset=utf-8") -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    return Handler

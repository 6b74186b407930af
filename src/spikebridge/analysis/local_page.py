"""A page of this machine: served on the loopback address, under a secret path that other programs do not know."""

import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from spikebridge.data.io.number_text import parse_port
from spikebridge.errors import ConfigError

_POLL_SECONDS = 0.05
_MAX_CONNECTIONS = 16  # at a time; a browser opens up to six
_SILENCE_SECONDS = 10.0  # after which a connection without a request, or a browser that takes nothing, is closed


class PageRequest(BaseHTTPRequestHandler):
    """A request of the browser."""

    timeout = _SILENCE_SECONDS

    def do_GET(self) -> None:
        self.get()

    def do_POST(self) -> None:
        self.post()

    def get(self) -> None:
        """Finds nothing, unless a page overrides it."""
        self.respond(404)

    post = get

    def respond(self, code: int, content: bytes = b"", kind: str = "text/plain; charset=utf-8") -> None:
        """Sends a complete answer."""
        self.begin(code, kind, len(content))
        self.wfile.write(content)

    def begin(self, code: int, kind: str, length: int | None = None) -> None:
        """Sends the head of an answer, of a length that may be open."""
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        if length is not None:
            self.send_header("Content-Length", str(length))

        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Logs nothing."""


class _Server(ThreadingHTTPServer):
    """A server with a bounded number of threads; a connection above it is closed at once."""

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], requests: type[PageRequest]) -> None:
        self._free = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        super().__init__(address, requests)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()


class LocalPage:
    """A server of one page; port 0 takes a free one. `requests` makes the handler of requests from the secret path."""

    def __init__(self, requests: Callable[[str], type[PageRequest]], port: int) -> None:
        parse_port(port, min_port=0)
        path = f"/{secrets.token_urlsafe(16)}/"

        try:
            self._server = _Server(("127.0.0.1", port), requests(path))
        except OSError as error:
            why = f"is not available ({error.strerror}); take another one"
            raise ConfigError(f"port {port} of this machine {why}") from None

        self.address = f"http://127.0.0.1:{self._server.server_port}{path}"

    def start(self) -> None:
        """Serves requests in a thread of its own."""
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(_POLL_SECONDS,), name="local page", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

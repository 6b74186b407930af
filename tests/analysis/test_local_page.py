"""The page of this machine: silent connections take no thread each, and a browser still gets its page."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from spikebridge.analysis import local_page
from spikebridge.analysis.local_page import LocalPage, PageRequest


class Hello(PageRequest):
    timeout = 0.5

    def get(self) -> None:
        self.respond(200, b"hello")


@pytest.fixture
def page() -> Iterator[LocalPage]:
    served = LocalPage(lambda path: Hello, 0)
    served.start()
    yield served
    served.close()


@pytest.mark.untyped
def test_silent_connections_are_bounded_and_closed_and_then_the_page_is_there(page: LocalPage) -> None:
    port = urlsplit(page.address).port
    before = threading.active_count()

    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(200)]
        # the server has closed the last of them, so it has seen all
        assert silent[-1].recv(1) == b""
        assert threading.active_count() - before <= local_page._MAX_CONNECTIONS
        # the first ones are closed after their time
        assert silent[0].recv(1) == b""

    limit = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < limit
        time.sleep(0.01)

    with urlopen(page.address) as answer:
        assert answer.read() == b"hello"

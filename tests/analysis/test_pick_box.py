"""A box is drawn on a page of this machine: the page is served once, takes one box, and every refusal is one line."""

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable

import numpy as np
import pytest

from spikebridge.analysis import pick_box as module
from spikebridge.analysis.pick_box import pick_box
from spikebridge.errors import ConfigError

PICTURE = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)


def post(address: str, body: bytes) -> int:
    """The code of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data=body), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def browser(visit: Callable[[str], object]) -> Callable[[str], bool]:
    """A browser that does something with the address."""

    def open_page(address: str) -> bool:
        threading.Thread(target=visit, args=(address,), daemon=True).start()
        return True

    return open_page


def test_the_page_shows_the_picture_and_a_box_and_takes_another_one() -> None:
    pages = []

    def visit(address: str) -> None:
        with urllib.request.urlopen(address, timeout=10) as answer:
            pages.append(answer.read().decode())
        post(f"{address}box", b"[1, 2.5, 10, 12]")

    box = pick_box(PICTURE, np.array([3.0, 4, 8, 8]), open_page=browser(visit))
    assert box.tolist() == [1, 2.5, 10, 12]
    assert "data:image/png;base64,iVBOR" in pages[0]
    assert "size=[64,48]" in pages[0]
    assert "box=[3.0, 4.0, 8.0, 8.0]" in pages[0]


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[1,2,3]", b"[1,2,0.5,5]", b"[-1,2,5,5]", b"[60,2,5,5]", b"[NaN,1,5,5]", b"[" * 190, b"1" * 999],
)
def test_an_answer_that_is_no_box_inside_the_picture_is_refused(body: bytes) -> None:
    codes = []

    def visit(address: str) -> None:
        codes.append(post(f"{address}box", body))
        post(f"{address}box", b"[0, 0, 64, 48]")

    assert pick_box(PICTURE, open_page=browser(visit)).tolist() == [0, 0, 64, 48]
    assert codes == [400]


def test_another_program_does_not_know_the_address() -> None:
    codes = []

    def visit(address: str) -> None:
        root = address.split("/", 3)[:3]
        codes.append(post("/".join([*root, "box"]), b"[1, 2, 10, 12]"))
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen("/".join([*root, ""]), timeout=10)

        post(f"{address}box", b"[0, 0, 9, 9]")

    assert pick_box(PICTURE, open_page=browser(visit)).tolist() == [0, 0, 9, 9]
    assert codes == [400]


def test_a_closed_page_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RELOAD_SECONDS", 0.05)
    with pytest.raises(ConfigError, match="the page was closed before a box was drawn"):
        pick_box(PICTURE, open_page=browser(lambda address: post(f"{address}closed", b"")))


def test_a_page_that_is_loaded_again_is_still_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def visit(address: str) -> None:
        post(f"{address}closed", b"")
        urllib.request.urlopen(address, timeout=10).close()
        threading.Event().wait(0.3)
        post(f"{address}box", b"[0, 0, 9, 9]")

    monkeypatch.setattr(module, "_RELOAD_SECONDS", 0.2)
    assert pick_box(PICTURE, open_page=browser(visit)).tolist() == [0, 0, 9, 9]


def test_a_page_that_is_left_alone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.05)
    with pytest.raises(ConfigError, match="no box was drawn for ten minutes"):
        pick_box(PICTURE, open_page=lambda address: True)


def test_without_a_browser_the_message_has_the_remedy() -> None:
    with pytest.raises(ConfigError, match="there is no browser on this machine to draw a box in; give the box: --init"):
        pick_box(PICTURE, open_page=lambda address: False)


def test_with_a_port_the_page_may_be_opened_by_hand() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        browser(lambda address: post(f"{address}box", b"[0, 0, 9, 9]"))(line.split()[-1])

    assert pick_box(PICTURE, port=port, report=report, open_page=lambda address: False).tolist() == [0, 0, 9, 9]
    assert lines[0].startswith(f"draw the box on http://127.0.0.1:{port}/")


def test_a_port_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of this machine is not available"):
            pick_box(PICTURE, port=port, open_page=lambda address: True)

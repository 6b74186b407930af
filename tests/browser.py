"""Pages in a real browser: the system's Chromium, driven by Playwright; what a page asks for and complains of is kept.

Where one of the two is missing the tests are skipped, or fail with SPIKEBRIDGE_REQUIRE_BROWSER=1.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PHONE = {"width": 390, "height": 800}
DESKTOP = {"width": 1200, "height": 900}
READABLE = (Path(__file__).parent / "analysis" / "readable.js").read_text(encoding="utf-8")


def chromium() -> str | None:
    """The system's browser."""
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None

    if sync_playwright is None or chromium() is None:
        missing = "playwright" if sync_playwright is None else "Chromium"
        if os.environ.get("SPIKEBRIDGE_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{missing} is missing, and SPIKEBRIDGE_REQUIRE_BROWSER is set")
        pytest.skip(f"{missing} is not installed")

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Visit:
    """A page that is open, with what it complained of and what it asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).first.inner_text())

    def wait(self, selector: str, condition: Callable[[Any], bool]) -> None:
        """Waits until an element is as said; the pages allow no script but their own, so Python looks at it."""
        for _ in range(200):
            if condition(self.page.locator(selector).first):
                return
            self.page.wait_for_timeout(25)

        raise AssertionError(f"{selector} is {self.text(selector)!r}")

    @property
    def step(self) -> str:
        """The text next to the slider."""
        return self.text("output")

    def unreadable(self) -> list[str]:
        """Text below 11 px or of a contrast below 4.5, charts that are cut, and a page wider than its window."""
        size = self.page.viewport_size
        self.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        # the whole page, since only what is in the window can be asked what lies below it
        height = self.page.evaluate("document.documentElement.scrollHeight")
        self.page.set_viewport_size({"width": size["width"], "height": height})
        faults = []
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            faults += [f"{scheme}, {line}" for line in self.page.evaluate(READABLE)]

        self.page.set_viewport_size(size)
        return faults


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    """Opens a page in the browser; afterwards, no page may have complained, nor asked for another address."""
    contexts = []
    visits = []

    def open_page(html: str, size: dict[str, int] = DESKTOP, **options: Any) -> Visit:
        path = tmp_path / f"{len(contexts)}.html"
        path.write_text(html, encoding="utf-8")
        context = browser.new_context(viewport=size, **options)
        contexts.append(context)
        visit = Visit(context.new_page())
        visits.append((visit, path))
        visit.page.goto(path.as_uri())

        return visit

    yield open_page
    for one, path in visits:
        assert one.errors == []
        assert [url for url in one.requests if url != path.as_uri() and not url.startswith(("data:", "blob:"))] == []

    for context in contexts:
        context.close()

"""The system's Chromium, driven by Playwright; tests that need it skip where there is none."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 120_000
"""Milliseconds: machines are busy."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser for the length of a `with` block."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser here (none of {', '.join(NAMES)}): apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=PATIENCE)
        yield browser
        browser.close()


@dataclass
class Sight:
    """A page, and what went wrong on it."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    @property
    def overflows(self) -> bool:
        """Whether the page is wider than its window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def wait_for_images(self) -> None:
        """Until every image is there. Polled from here: the pages' policy lets no script wait in them."""
        every = "[...document.images].every(i => i.hidden || (i.complete && i.naturalWidth > 0))"
        deadline = time.monotonic() + PATIENCE / 1000
        while not self.page.evaluate(every):
            assert time.monotonic() < deadline, "an image did not come"
            self.page.wait_for_timeout(50)


@contextmanager
def opened(browser: Browser, url: str, width: int, scheme: Literal["light", "dark"] = "light") -> Iterator[Sight]:
    """A page that is loaded: console errors, exceptions and dialogs are complaints."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    sight = Sight(page)

    def logged(message: ConsoleMessage) -> None:
        if message.type == "error":
            sight.complaints.append(message.text)

    def asked(dialog: Dialog) -> None:
        sight.complaints.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", logged)
    page.on("pageerror", lambda error: sight.complaints.append(str(error)))
    page.on("dialog", asked)
    page.goto(url, wait_until="load", timeout=PATIENCE)
    yield sight
    context.close()

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
"""Time limit in milliseconds, generous for busy machines."""


@contextmanager
def chromium(*, scrollbars: bool = False) -> Iterator[Browser]:
    """A browser that runs until the end of a `with` block.

    Args:
        scrollbars: show them, as a browser with a window does; Playwright hides them by default.
    """
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser here (none of {', '.join(NAMES)}): apt-get install chromium")
    with sync_playwright() as driver:
        hiding = ["--hide-scrollbars"] if scrollbars else None
        browser = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox"], ignore_default_args=hiding, timeout=PATIENCE
        )
        yield browser
        browser.close()


@dataclass
class OpenedPage:
    """A page and the errors that occurred on it: console errors, exceptions and dialogs."""

    page: Page
    errors: list[str] = field(default_factory=list)

    @property
    def overflows(self) -> bool:
        """Whether the page is wider than its window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def wait_for_images(self) -> None:
        """Wait until every image is loaded, by polling: the pages' policy forbids scripts."""
        every = "[...document.images].every(i => i.hidden || (i.complete && i.naturalWidth > 0))"
        deadline = time.monotonic() + PATIENCE / 1000
        while not self.page.evaluate(every):
            assert time.monotonic() < deadline, "an image was not loaded"
            self.page.wait_for_timeout(50)


@contextmanager
def opened(browser: Browser, url: str, width: int, scheme: Literal["light", "dark"] = "light") -> Iterator[OpenedPage]:
    """Open a page in a new window and wait until it is loaded; closes the window at the end."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    opened_page = OpenedPage(page)

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            opened_page.errors.append(message.text)

    def on_dialog(dialog: Dialog) -> None:
        opened_page.errors.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", on_console)
    page.on("pageerror", lambda error: opened_page.errors.append(str(error)))
    page.on("dialog", on_dialog)
    page.goto(url, wait_until="load", timeout=PATIENCE)
    yield opened_page
    context.close()

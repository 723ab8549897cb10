"""Debian's Chromium for Playwright, installed where there is none and it can be."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from playwright.sync_api import Browser, BrowserType, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@cache
def chromium_path() -> str:
    """Where Chromium is; installs Debian's package when there is none and this user may."""
    if not _found() and shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (("update", "-qq"), ("install", "-y", "-qq", "chromium")):
            subprocess.run(["apt-get", *words], check=True, env=environment, timeout=900)
    path = _found()
    if not path:
        raise RuntimeError("The browser tests need Chromium. Run: apt-get install chromium")
    return path


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright, launched(playwright.chromium) as chromium:
        yield chromium


@contextmanager
def launched(kind: BrowserType, *more: str) -> Iterator[Browser]:
    """A headless Chromium with further switches, beside others of the same Playwright."""
    chromium = kind.launch(executable_path=chromium_path(), args=[*_QUIET, *more])
    try:
        yield chromium
    finally:
        chromium.close()


def _found() -> str | None:
    return next((path for name in _NAMES if (path := shutil.which(name))), None)

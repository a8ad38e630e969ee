"""The page in a browser: opened from a file, light, dark and narrow, without messages on the console."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hf_afro.reports.page import write_page
from tests.reports.examples import three
from tests.reports.test_page import WORK

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium, which is not installed here"),
]


def opened(page: Path, folder: Path, *options: str) -> str:
    """Open a page headless, save a screenshot, and return the browser's log."""
    # Chromium has no sandbox as root in containers.
    root = ["--no-sandbox"] if os.getuid() == 0 else []
    command = [
        str(BROWSER), "--headless", *root, "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}", f"--screenshot={folder / 'page.png'}", *options, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--window-size=1100,2000",),
        ("--window-size=1100,2000", "--force-dark-mode"),
        ("--window-size=500,2000",),
    ],
    ids=["light", "dark", "narrow"],
)
def test_the_page_opens_and_nothing_is_on_the_console(tmp_path, options):
    page = write_page(three(), tmp_path / "page.html", work=WORK)
    assert "CONSOLE" not in opened(page, tmp_path, *options)
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_what_is_on_the_console_would_be_seen(tmp_path):
    """Checks the test above: messages on the console are seen."""
    page = tmp_path / "broken.html"
    page.write_text("<!DOCTYPE html><title>x</title><script>missing()</script>", "utf-8")
    assert "missing is not defined" in opened(page, tmp_path)

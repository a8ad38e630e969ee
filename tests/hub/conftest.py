"""A Hub on loopback, and the client in this process set to speak to it."""

from __future__ import annotations

import huggingface_hub
import huggingface_hub.constants
import pytest
from huggingface_hub import HfApi
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

from tests.hub.server import Hub


def pytest_collection_modifyitems(items):
    """Pass over a warning that the client's own way of sending a large file earns it from its HTTP library."""
    for item in items:
        if item.path.parent.name == "hub":
            item.add_marker(pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"))


@pytest.fixture
def online(monkeypatch):
    """Let the client of this process ask, in plain LFS, and wait no time between its tries."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _seconds: None)
    disable_progress_bars()
    yield
    huggingface_hub.close_session()
    enable_progress_bars()


@pytest.fixture
def hub(online):
    with Hub() as one:
        yield one


@pytest.fixture
def api(hub) -> HfApi:
    return HfApi(endpoint=hub.url, token=hub.token)

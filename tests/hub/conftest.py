"""Fixtures: a Hub on loopback, and the client of this process connected to it."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi

from tests.hub.sequences import speaking_to_loopback
from tests.hub.server import Hub


def pytest_collection_modifyitems(items):
    """Ignore a warning of the HTTP library about how the client sends large files."""
    for item in items:
        if item.path.parent.name == "hub":
            item.add_marker(pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"))


@pytest.fixture
def online():
    with speaking_to_loopback():
        yield


@pytest.fixture
def hub(online):
    with Hub() as one:
        yield one


@pytest.fixture
def api(hub) -> HfApi:
    return HfApi(endpoint=hub.url, token=hub.token)

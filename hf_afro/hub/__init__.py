"""Publishing: the only room that writes to the Hub, in one commit or not at all, and no more than belongs there."""

from __future__ import annotations

from hf_afro.hub.contents import Contents, PublishedFile, gather
from hf_afro.hub.pushing import PushReport, push
from hf_afro.hub.trouble import PushFailed, PushRefused

__all__ = ["Contents", "PublishedFile", "PushFailed", "PushRefused", "PushReport", "gather", "push"]

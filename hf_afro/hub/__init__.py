"""Publish on the Hugging Face Hub: the only room that writes there, in one commit or not at all."""

from __future__ import annotations

from hf_afro.hub.contents import Contents, PublishedFile, gather
from hf_afro.hub.pushing import PushFailed, PushRefused, PushReport, push

__all__ = ["Contents", "PublishedFile", "PushFailed", "PushRefused", "PushReport", "gather", "push"]

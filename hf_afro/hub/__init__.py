"""Publish on the Hugging Face Hub: the only room that writes there, in one commit or not at all."""

from __future__ import annotations

from hf_afro.hub.contents import Contents as Contents, PublishedFile as PublishedFile, gather as gather
from hf_afro.hub.pushing import (
    PushFailed as PushFailed,
    PushRefused as PushRefused,
    PushReport as PushReport,
    push as push,
)

"""Publishing on the Hugging Face Hub; no other room writes there."""

from __future__ import annotations

from hf_afro.hub.contents import Contents as Contents, PublishedFile as PublishedFile, gather as gather
from hf_afro.hub.pushing import (
    PushFailed as PushFailed,
    PushRefused as PushRefused,
    PushReport as PushReport,
    push as push,
)

"""Students as others take them: as plain XLM-R, and as folders that load where hf_afro is not installed."""

from __future__ import annotations

from hf_afro.export.plain import plain_student
from hf_afro.export.remote_code import add_remote_code

__all__ = ["add_remote_code", "plain_student"]

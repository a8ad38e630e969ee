"""The students' batch of two rows, here too."""

from __future__ import annotations

from tests.students.conftest import batch

__all__ = ["batch"]

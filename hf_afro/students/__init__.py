"""Students: encoders of XLM-R's kind with a factorised embedding, and the making of one from a teacher.

Names are loaded at their first use, since the models need torch and the registration must not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_afro.students.building import build_student
    from hf_afro.students.configuration_afro_student import AfroStudentConfig
    from hf_afro.students.modeling_afro_student import (
        AfroStudentForMaskedLM,
        AfroStudentForMultipleChoice,
        AfroStudentForQuestionAnswering,
        AfroStudentForSequenceClassification,
        AfroStudentForTokenClassification,
        AfroStudentModel,
    )

__all__ = [
    "AfroStudentConfig",
    "AfroStudentForMaskedLM",
    "AfroStudentForMultipleChoice",
    "AfroStudentForQuestionAnswering",
    "AfroStudentForSequenceClassification",
    "AfroStudentForTokenClassification",
    "AfroStudentModel",
    "build_student",
]

_ELSEWHERE = {"AfroStudentConfig": "configuration_afro_student", "build_student": "building"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_ELSEWHERE.get(name, 'modeling_afro_student')}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

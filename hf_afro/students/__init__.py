"""Students: encoders of XLM-R's kind with a factorised embedding, and the making of one from a teacher."""

from __future__ import annotations

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

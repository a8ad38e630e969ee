"""Students: encoders of XLM-R's kind with factorised embeddings, and their construction from a teacher."""

from __future__ import annotations

from hf_afro.students.building import build_student as build_student
from hf_afro.students.configuration_afro_student import AfroStudentConfig as AfroStudentConfig
from hf_afro.students.modeling_afro_student import (
    AfroStudentForMaskedLM as AfroStudentForMaskedLM,
    AfroStudentForMultipleChoice as AfroStudentForMultipleChoice,
    AfroStudentForQuestionAnswering as AfroStudentForQuestionAnswering,
    AfroStudentForSequenceClassification as AfroStudentForSequenceClassification,
    AfroStudentForTokenClassification as AfroStudentForTokenClassification,
    AfroStudentModel as AfroStudentModel,
)

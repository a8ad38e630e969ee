"""Registration of the students with transformers' Auto classes, pipelines included."""

from __future__ import annotations

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    AutoModelForTokenClassification,
    AutoTokenizer,
    XLMRobertaTokenizer,
)

from hf_afro.students import (
    AfroStudentConfig,
    AfroStudentForMaskedLM,
    AfroStudentForMultipleChoice,
    AfroStudentForQuestionAnswering,
    AfroStudentForSequenceClassification,
    AfroStudentForTokenClassification,
    AfroStudentModel,
)

MODELS = {
    AutoModel: AfroStudentModel,
    AutoModelForMaskedLM: AfroStudentForMaskedLM,
    AutoModelForMultipleChoice: AfroStudentForMultipleChoice,
    AutoModelForPreTraining: AfroStudentForMaskedLM,
    AutoModelForQuestionAnswering: AfroStudentForQuestionAnswering,
    AutoModelForSequenceClassification: AfroStudentForSequenceClassification,
    AutoModelForTextEncoding: AfroStudentModel,
    AutoModelForTokenClassification: AfroStudentForTokenClassification,
}


def register_students() -> None:
    """Make ``AutoModel.from_pretrained`` and its like load students; `import hf_afro` calls it.

    Covers `AutoConfig`, `AutoTokenizer` (XLM-R's tokenizer, for folders that do not name one) and the Auto models of
    every head the students have. Calling it again changes nothing.
    """
    AutoConfig.register(AfroStudentConfig.model_type, AfroStudentConfig, exist_ok=True)
    AutoTokenizer.register(AfroStudentConfig, tokenizer_class=XLMRobertaTokenizer, exist_ok=True)
    for auto_class, model_class in MODELS.items():
        auto_class.register(AfroStudentConfig, model_class, exist_ok=True)

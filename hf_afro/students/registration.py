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
    """Register the students with `AutoConfig`, `AutoTokenizer` and every Auto model they have a head for.

    `import hf_afro` calls this. XLM-R's tokenizer is registered for folders that do not name a tokenizer class. A
    second call changes nothing.
    """
    AutoConfig.register(AfroStudentConfig.model_type, AfroStudentConfig, exist_ok=True)
    AutoTokenizer.register(AfroStudentConfig, tokenizer_class=XLMRobertaTokenizer, exist_ok=True)
    for auto_class, model_class in MODELS.items():
        auto_class.register(AfroStudentConfig, model_class, exist_ok=True)

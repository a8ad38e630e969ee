"""A student as a plain XLM-R: the same weights in transformers' own class, which loads anywhere."""

from __future__ import annotations

import torch
from transformers import (
    PreTrainedModel,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaForMultipleChoice,
    XLMRobertaForQuestionAnswering,
    XLMRobertaForSequenceClassification,
    XLMRobertaForTokenClassification,
    XLMRobertaModel,
)

from hf_afro.students.configuration_afro_student import AfroStudentConfig
from hf_afro.students.modeling_afro_student import (
    AfroStudentForMaskedLM,
    AfroStudentForMultipleChoice,
    AfroStudentForQuestionAnswering,
    AfroStudentForSequenceClassification,
    AfroStudentForTokenClassification,
    AfroStudentModel,
)

_PLAIN_CLASS = {
    AfroStudentModel: XLMRobertaModel,
    AfroStudentForMaskedLM: XLMRobertaForMaskedLM,
    AfroStudentForMultipleChoice: XLMRobertaForMultipleChoice,
    AfroStudentForQuestionAnswering: XLMRobertaForQuestionAnswering,
    AfroStudentForSequenceClassification: XLMRobertaForSequenceClassification,
    AfroStudentForTokenClassification: XLMRobertaForTokenClassification,
}
_STUDENTS_OWN = ("embedding_size", "unpad", "model_type", "architectures", "auto_map", "transformers_version")


def plain_student(student: PreTrainedModel) -> PreTrainedModel:
    """Return a student as a model of transformers' own XLM-R classes.

    Where the student's embedding is not factorised the weights are copied bit by bit. Where it is, the table becomes
    the product of table and projection, ``[vocab_size, hidden_size]``, computed in double precision and rounded once:
    the folder grows, the states stay the same to rounding. What the plain model does not do is leave padding out.

    Args:
        student: Of one of the student classes; it is left as it is.

    Returns:
        The plain model in evaluation mode, of the student's precision and on its device.

    Raises:
        TypeError: If the model is not a student; adapters have to be merged first.
        ValueError: If it is factorised and has a masked-LM head, which XLM-R cannot express: its head is as wide as
            its layers. Convert the encoder inside it, ``student.base_model``; `weights_without_place` names the rest.

    Example:
        >>> from hf_afro import AfroStudentConfig, AfroStudentModel
        >>> student = AfroStudentModel(AfroStudentConfig(vocab_size=100, num_hidden_layers=1, embedding_size=64))
        >>> plain_student(student).config.model_type
        'xlm-roberta'
    """
    plain_class = _PLAIN_CLASS.get(type(student))
    if plain_class is None:
        raise TypeError(
            f"the class of the model is {type(student).__name__}; expected a student, one of "
            f"{', '.join(each.__name__ for each in _PLAIN_CLASS)}; merge adapters with merge_and_unload() first"
        )
    if weights_without_place(student):
        raise ValueError(
            f"a masked-LM head of width {student.config.embedding_size} under layers of width "
            f"{student.config.hidden_size} is not XLM-R's; convert student.base_model, or save the student as it is"
        )
    weights = student.state_dict()
    if student.config.is_factorised:
        prefix = "" if isinstance(student, AfroStudentModel) else "roberta."
        table, projection = f"{prefix}embeddings.word_embeddings.weight", f"{prefix}embeddings.projection.weight"
        product = weights[table].cpu().double() @ weights.pop(projection).cpu().double().T
        weights[table] = product.to(student.dtype)
    settings = {"add_pooling_layer": student.pooler is not None} if isinstance(student, AfroStudentModel) else {}
    with torch.random.fork_rng(devices=[]):  # what is drawn here is overwritten
        plain = plain_class(plain_config(student.config), **settings)
    plain.load_state_dict(weights)
    return plain.to(dtype=student.dtype, device=student.device).eval()


def weights_without_place(student: PreTrainedModel) -> tuple[str, ...]:
    """Return the names of a student's weights that XLM-R has no place for.

    They are those of the masked-LM head of a factorised student, which is as wide as its embedding where XLM-R's is as
    wide as its layers. Every other student has none.
    """
    if not (isinstance(student, AfroStudentForMaskedLM) and student.config.is_factorised):
        return ()
    return tuple(name for name in student.state_dict() if name.startswith("lm_head."))


def plain_config(config: AfroStudentConfig) -> XLMRobertaConfig:
    """Return the configuration without what only students have."""
    return XLMRobertaConfig(**{name: value for name, value in config.to_dict().items() if name not in _STUDENTS_OWN})

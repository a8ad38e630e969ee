"""Export of a student as plain XLM-R: the same weights in a class of transformers, which loads anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase, XLMRobertaConfig

from hf_afro.export.folder import check_no_adapters, check_student, write_record
from hf_afro.students import AfroStudentConfig, AfroStudentForMaskedLM, AfroStudentModel
from hf_afro.students.modeling_afro_student import AfroStudentPreTrainedModel

PLAIN = XLMRobertaConfig.model_type
"""Model type of a plain student."""

_STUDENTS_OWN = ("embedding_size", "unpad", "model_type", "architectures", "auto_map", "transformers_version")


def export_plain(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
) -> dict[str, Any]:
    """Write a student as a plain XLM-R; of a factorised student with a masked-LM head, the encoder.

    Args:
        model: A student, with a head or without. One that is a plain XLM-R already is written as it is.
        tokenizer: Its tokenizer.
        folder: Folder to write to; created if needed.

    Returns:
        The content of `export.json`; ``left_out`` lists the weights that XLM-R has no place for.

    Raises:
        ValueError: If the model is of another type, or carries adapters.
    """
    left_out = weights_without_place(model)
    if model.config.model_type == PLAIN:
        check_no_adapters(model)
        plain = model
    else:
        check_student(model, "plain")
        plain = plain_student(model.base_model if left_out else model)
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return write_record(Path(folder), "plain", plain, left_out=list(left_out))


def plain_student(student: PreTrainedModel) -> PreTrainedModel:
    """Return a student as a model of transformers' own XLM-R classes.

    The weights of a student that is not factorised are copied bit by bit. Otherwise the word embeddings become the
    product of table and projection, ``[vocab_size, hidden_size]``, computed in double precision and rounded once: the
    model grows, and its hidden states are equal up to rounding. The plain model does not leave padding out.

    Args:
        student: Instance of one of the student classes; it is not changed.

    Returns:
        The plain model in evaluation mode, with the student's dtype and device.

    Raises:
        TypeError: If the model is no student, or carries adapters that have to be merged first.
        ValueError: If it is factorised and has a masked-LM head, which XLM-R cannot express: its head is as wide as
            its layers. Convert the encoder, ``student.base_model``; `weights_without_place` names the rest.

    Example:
        >>> from hf_afro import AfroStudentConfig, AfroStudentModel
        >>> student = AfroStudentModel(AfroStudentConfig(vocab_size=100, num_hidden_layers=1, embedding_size=64))
        >>> plain_student(student).config.model_type
        'xlm-roberta'
    """
    if not isinstance(student, AfroStudentPreTrainedModel):
        raise TypeError(
            f"the class of the model is {type(student).__name__}; expected a student, such as AfroStudentModel; merge "
            "adapters with merge_and_unload() first"
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
    with torch.random.fork_rng(devices=[]):  # initial values are drawn, then overwritten
        plain = getattr(transformers, plain_class_name(student))(plain_config(student.config), **settings)
    plain.load_state_dict(weights)
    return plain.to(dtype=student.dtype, device=student.device).eval()


def weights_without_place(student: PreTrainedModel) -> tuple[str, ...]:
    """Return the names of a student's weights that XLM-R has no place for.

    These are the weights of the masked-LM head of a factorised student, which is as wide as its word embeddings, while
    XLM-R's is as wide as its layers.
    """
    if not (isinstance(student, AfroStudentForMaskedLM) and student.config.is_factorised):
        return ()
    return tuple(name for name in student.state_dict() if name.startswith("lm_head."))


def plain_config(config: AfroStudentConfig) -> XLMRobertaConfig:
    """Return a student's configuration as XLM-R's, without the fields that only students have."""
    return XLMRobertaConfig(**{name: value for name, value in config.to_dict().items() if name not in _STUDENTS_OWN})


def plain_class_name(student: PreTrainedModel) -> str:
    """Return the name of the XLM-R class that corresponds to a student's class."""
    return type(student).__name__.replace("AfroStudent", "XLMRoberta")

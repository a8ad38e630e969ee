"""An encoder as a folder of sentence-transformers: the mean over its tokens, of length one, is a text's vector."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_afro.export.plain import plain_student
from hf_afro.export.remote_code import add_remote_code
from hf_afro.students.configuration_afro_student import AfroStudentConfig

POOLINGS = ("mean", "cls", "max")


def export_sentence_transformer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path, *, pooling: str = "mean"
) -> int:
    """Write the encoder of a model as sentence-transformers keeps one, with its own writer.

    Nothing is trained: the vectors are as good as the encoder's states are, and no encoder that only learnt to fill
    masks is good at them. Train the folder with sentence-transformers for retrieval.

    Args:
        model: With a head, which stays behind, or without. A student that is not factorised becomes a plain XLM-R; a
            factorised one brings its code along, and loads after ``import hf_afro`` or with `trust_remote_code`.
        tokenizer: Its tokenizer.
        folder: Where to write; made where it is not there.
        pooling: How tokens become one vector: `mean`, `cls` or `max`.

    Returns:
        The width of a vector.

    Raises:
        ModuleNotFoundError: If sentence-transformers is missing.
        ValueError: If the pooling is unknown or the model carries adapters.

    Example:
        >>> export_sentence_transformer(student, tokenizer, "embedder")  # doctest: +SKIP
        384
    """
    if find_spec("sentence_transformers") is None:
        raise ModuleNotFoundError("sentence-transformers is missing; pip install 'hf_afro[sentence]'")
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; expected one of {', '.join(POOLINGS)}")
    if getattr(model, "peft_config", None):
        raise ValueError("the model carries adapters; merge them first with merge_and_unload()")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    encoder = model.base_model
    student = isinstance(encoder.config, AfroStudentConfig)
    if student and not encoder.config.is_factorised:
        encoder, student = plain_student(encoder), False
    with tempfile.TemporaryDirectory() as passing:
        encoder.save_pretrained(passing)
        tokenizer.save_pretrained(passing)
        body = Transformer(passing)
        width = encoder.config.hidden_size
        whole = SentenceTransformer(modules=[body, Pooling(width, pooling), Normalize()], device="cpu")
        whole.save_pretrained(str(folder), create_model_card=False)
    if student:
        add_remote_code(folder)
    return width

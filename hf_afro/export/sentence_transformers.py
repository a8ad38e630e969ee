"""Export of an encoder for sentence-transformers: with its own modules, or with a pooling and a normalisation."""

from __future__ import annotations

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_afro.export.folder import check_no_adapters, write_record
from hf_afro.export.plain import plain_student
from hf_afro.export.remote_code import add_remote_code
from hf_afro.sentence_modules import SentenceModules, sentence_modules_of
from hf_afro.students import AfroStudentConfig

POOLINGS = ("mean", "cls", "max")


def export_sentence_transformer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    *,
    pooling: str | None = None,
    modules_from: str | os.PathLike[str] | None = None,
) -> int:
    """Write the encoder of a model as a folder for sentence-transformers.

    A sentence-transformers model keeps its own modules: pooling, dense layers, prompts and whatever else its
    `modules.json` names. Any other encoder gets a pooling and a normalisation, which have no weights: the vectors are
    as good as the hidden states, and those of an encoder that only learnt to fill masks are not good. Train the folder
    with sentence-transformers for retrieval.

    Args:
        model: With a head, which is dropped where a pooling is added, or without. A student that is not factorised
            becomes a plain XLM-R. A factorised one brings its code, and loads after ``import hf_afro`` or with
            `trust_remote_code`.
        tokenizer: Its tokenizer.
        folder: Folder to write to; created if needed.
        pooling: How token vectors become one vector: "mean" (default), "cls" or "max". Only for a model without
            modules of its own.
        modules_from: Folder or Hub repository the model was loaded from, whose sentence-transformers modules are kept.

    Returns:
        The width of a vector.

    Raises:
        ModuleNotFoundError: If sentence-transformers is not installed.
        ValueError: If the pooling is unknown or given beside modules, the modules cannot be kept, or the model carries
            adapters.

    Example:
        >>> export_sentence_transformer(student, tokenizer, "embedder")  # doctest: +SKIP
        384
    """
    if find_spec("sentence_transformers") is None:
        raise ModuleNotFoundError("sentence-transformers is missing; pip install 'hf_afro[sentence]'")
    if pooling is not None and pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; expected one of {', '.join(POOLINGS)}")
    check_no_adapters(model)
    modules, folder = None if modules_from is None else sentence_modules_of(modules_from), Path(folder)
    if modules is not None:
        _check(modules, pooling)
    body = model.base_model if modules is None else model
    factorised = isinstance(body.config, AfroStudentConfig) and body.config.is_factorised
    if isinstance(body.config, AfroStudentConfig) and not factorised:
        body = plain_student(body)
    if modules is None:
        width = _with_pooling(body, tokenizer, folder, pooling or POOLINGS[0])
    else:
        width = _with_modules(body, tokenizer, folder, modules)
    if factorised:
        add_remote_code(folder)
    write_record(folder, "sentence-transformers", body, width=width)
    return width


def _check(modules: SentenceModules, pooling: str | None) -> None:
    """Refuse modules that make no vectors or cannot be carried, and a pooling beside their own."""
    modules.check(pruned=False)
    if modules.model_type != "SentenceTransformer":
        raise ValueError(
            f"{modules.folder} is a {modules.model_type} of sentence-transformers, which makes no vectors of texts; "
            "expected a SentenceTransformer, or an encoder without modules.json"
        )
    if pooling is not None:
        raise ValueError(
            f"pooling is {pooling!r}, and {modules.folder} has modules of its own: {', '.join(modules.names)}; leave "
            "the pooling out, or copy the folder without modules.json to use another pooling"
        )


def _with_modules(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, modules: SentenceModules
) -> int:
    from sentence_transformers import SentenceTransformer

    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    modules.carry(folder)
    return len(SentenceTransformer(str(folder), device="cpu").encode("a"))


def _with_pooling(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, pooling: str) -> int:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    width = encoder.config.hidden_size
    with tempfile.TemporaryDirectory() as temporary:
        encoder.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        modules = [Transformer(temporary), Pooling(width, pooling), Normalize()]
        SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder), create_model_card=False)
    return width

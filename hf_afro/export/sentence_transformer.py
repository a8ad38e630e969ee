"""An encoder as a folder of sentence-transformers, with its own modules or a pooling, which make vectors of texts."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_afro.export.plain import plain_student
from hf_afro.export.remote_code import add_remote_code
from hf_afro.sentence_modules import SentenceModules, sentence_modules_of
from hf_afro.students.configuration_afro_student import AfroStudentConfig

POOLINGS = ("mean", "cls", "max")


def export_sentence_transformer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    *,
    pooling: str | None = None,
    modules_from: str | Path | None = None,
) -> int:
    """Write the encoder of a model as a folder of sentence-transformers.

    A model of sentence-transformers keeps its own modules: pooling, dense layers, prompts and what else its
    `modules.json` names. To any other encoder a pooling and a normalisation are added, for which nothing is trained:
    the vectors are as good as the encoder's states are, and no encoder that only learnt to fill masks is good at them.
    Train the folder with sentence-transformers for retrieval.

    Args:
        model: With a head, which stays behind where a pooling is added, or without. A student that is not factorised
            becomes a plain XLM-R; a factorised one brings its code along, and loads after ``import hf_afro`` or with
            `trust_remote_code`.
        tokenizer: Its tokenizer.
        folder: Where to write; made where it is not there.
        pooling: How tokens become one vector: `mean`, the default, `cls` or `max`. Only for a model that has no
            modules of its own.
        modules_from: Folder, or repository of the Hub, that the model was loaded from, whose modules are kept if it is
            a model of sentence-transformers.

    Returns:
        The width of a vector.

    Raises:
        ModuleNotFoundError: If sentence-transformers is missing.
        ValueError: If the pooling is unknown or given beside modules, these cannot be kept, or the model carries
            adapters.

    Example:
        >>> export_sentence_transformer(student, tokenizer, "embedder")  # doctest: +SKIP
        384
    """
    if find_spec("sentence_transformers") is None:
        raise ModuleNotFoundError("sentence-transformers is missing; pip install 'hf_afro[sentence]'")
    if pooling is not None and pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; expected one of {', '.join(POOLINGS)}")
    if getattr(model, "peft_config", None):
        raise ValueError("the model carries adapters; merge them first with merge_and_unload()")
    modules = None if modules_from is None else sentence_modules_of(modules_from)
    if modules is not None:
        _check(modules, pooling)
    body = model.base_model if modules is None else model
    factorised = isinstance(body.config, AfroStudentConfig) and body.config.is_factorised
    if isinstance(body.config, AfroStudentConfig) and not factorised:
        body = plain_student(body)
    if modules is None:
        width = _with_pooling(body, tokenizer, folder, pooling or POOLINGS[0])
    else:
        width = _with_modules(body, tokenizer, Path(folder), modules)
    if factorised:
        add_remote_code(folder)
    return width


def _check(modules: SentenceModules, pooling: str | None) -> None:
    """Refuse modules that make no vectors or cannot be carried, and a pooling beside their own.

    Raises:
        ValueError: If so.
    """
    modules.check(pruned=False)
    if modules.model_type != "SentenceTransformer":
        raise ValueError(
            f"{modules.folder} is a {modules.model_type} of sentence-transformers, which makes no vectors of texts; "
            "expected a SentenceTransformer, or an encoder without modules.json"
        )
    if pooling is not None:
        raise ValueError(
            f"pooling is {pooling!r}, and {modules.folder} has modules of its own: {', '.join(modules.names)}; leave "
            "the pooling out, or copy the folder without modules.json to have another on its encoder"
        )


def _with_modules(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, modules: SentenceModules
) -> int:
    from sentence_transformers import SentenceTransformer

    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    modules.carry(folder)
    return len(SentenceTransformer(str(folder), device="cpu").encode("a"))


def _with_pooling(
    encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path, pooling: str
) -> int:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    width = encoder.config.hidden_size
    with tempfile.TemporaryDirectory() as passing:
        encoder.save_pretrained(passing)
        tokenizer.save_pretrained(passing)
        body = Transformer(passing)
        whole = SentenceTransformer(modules=[body, Pooling(width, pooling), Normalize()], device="cpu")
        whole.save_pretrained(str(folder), create_model_card=False)
    return width

"""The stages `base`, `count` and `prune`: a model to start from, and its vocabulary cut to what languages use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from hf_afro.model_folders import COUNTS_FILE
from hf_afro.recipes.architecture import Architecture
from hf_afro.recipes.schema import RecipeError
from hf_afro.recipes.stages.context import StageContext
from hf_afro.recipes.stages.text import HELD_OUT, TRAIN, read_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BASE_FILE = "base.json"


def run_base(context: StageContext) -> dict[str, Any]:
    """See that the model is there and is what was declared, and write down the commit of one of the Hub."""
    from hf_afro.recipes.pretrained import load_encoder_config, load_tokenizer

    settings = context.settings
    settings_of_hub = {"revision": settings.revision} if settings.revision else {}
    config = load_encoder_config(settings.model, **settings_of_hub)
    tokens = len(load_tokenizer(settings.model, **settings_of_hub))
    found = Architecture.of_config(config)
    if tokens > found.vocab_size:
        raise ValueError(
            f"the tokenizer of {settings.model} has {tokens} tokens and the model {found.vocab_size} rows; they do "
            "not belong together: take both from one folder"
        )
    if settings.architecture is not None and found != settings.architecture:
        raise RecipeError(
            f"{settings.model} is {found}; the recipe declares {settings.architecture}. Correct the recipe"
        )
    # What "main" is today may be something else tomorrow; the commit is what this run used.
    revision = getattr(config, "_commit_hash", None) or settings.revision
    context.write_json(BASE_FILE, {"revision": revision})
    return {"vocabulary": found.vocab_size, "parameters": _parameters(config)}


def _parameters(config: Any) -> int:
    """Return how many parameters the masked language model of a configuration has, tied ones once."""
    import torch
    from transformers import AutoModelForMaskedLM

    with torch.device("meta"):
        return AutoModelForMaskedLM.from_config(config).num_parameters()


def open_model(context: StageContext, stage: str, **settings: Any) -> PreTrainedModel:
    """Return the masked language model of a finished stage, by the stage's name, in fp32."""
    import torch

    from hf_afro.recipes.pretrained import load_model

    name, revision = _source_of(context, stage)
    # The default of transformers is the checkpoint's own dtype, and fp16 weights do not train.
    return load_model(name, auto_class="AutoModelForMaskedLM", dtype=torch.float32, **revision, **settings)


def open_tokenizer(context: StageContext, stage: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a finished stage, by the stage's name."""
    from hf_afro.recipes.pretrained import load_tokenizer

    name, revision = _source_of(context, stage)
    return load_tokenizer(name, **revision)


def _source_of(context: StageContext, stage: str) -> tuple[str, dict[str, Any]]:
    folder = context.root / stage
    if context.recipe.stage(stage).kind != "base":
        return str(folder), {}
    revision = json.loads((folder / BASE_FILE).read_text("utf-8"))["revision"]
    # Where the recipe has the model now: a folder that was moved since is the same to the stage's key.
    return context.recipe.stage(stage).settings.model, {"revision": revision} if revision else {}


def run_count(context: StageContext) -> dict[str, Any]:
    """Count the tokens of the text, language by language, with the model's tokenizer."""
    from hf_afro.vocabulary import count_tokens

    lines = read_text(context.input("text"), TRAIN, context.settings.languages)
    context.progress.length(len(lines))

    def read(own: Iterable[str]) -> Iterator[str]:
        yield from own
        context.progress.advance()

    texts = {language: read(own) for language, own in lines.items()}
    counts = count_tokens(texts, open_tokenizer(context, context.settings.model))
    counts.save(context.folder / COUNTS_FILE)
    occurring = int((counts.counts.sum(axis=0) > 0).sum())
    return {"languages": len(lines), "tokens": sum(counts.total.values()), "distinct_tokens": occurring}


def run_prune(context: StageContext) -> dict[str, Any]:
    """Choose the tokens to keep, cut model and tokenizer, and verify what was written."""
    from hf_afro.recipes.pruning import prune_model
    from hf_afro.vocabulary import TokenCounts, select_tokens

    settings = context.settings
    counts = TokenCounts.load(context.input("counts"))
    keep = select_tokens(
        counts, settings.budget, coverage=settings.coverage, smoothing=settings.smoothing, strict=settings.strict
    )
    source, revision = _source_of(context, settings.model)
    held_out = read_text(context.input("text"), HELD_OUT)
    judged = {language: held_out[language] for language in counts.languages if language in held_out}
    pruned, verification = prune_model(
        source, keep, context.folder / "model", revision=revision.get("revision"), held_out=judged
    )
    # Verified as a folder of its own; nothing of the stage's may stand in its way there.
    for path in sorted((context.folder / "model").iterdir()):
        path.rename(context.folder / path.name)
    (context.folder / "model").rmdir()
    return {
        "vocabulary": len(keep),
        "old_vocabulary": keep.old_size,
        "parameters": pruned.report.new_parameters,
        "old_parameters": pruned.report.old_parameters,
        "below_coverage": keep.provenance["below_floor"],
        "held_out_lines": sum(one.lines for one in verification.held_out.values()),
        "new_unknown": sum(one.new_unknown for one in verification.held_out.values()),
    }

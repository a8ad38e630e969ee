"""`hf-afro maft --language_adapter_rank`: the model stays, and each language gets a LoRA adapter of its own."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.cli.output import ADAPTER_MARK, say
from hf_afro.cli.text import datasets_of
from hf_afro.files import write_whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

    from hf_afro.corpora import PreparedCorpora
    from hf_afro.training import MAFTTrainingArguments

Metrics = dict[str, dict[str, Any]]


def check_adapter_rank(args: Namespace) -> None:
    """Refuse a rank that is none, and adapters of a model that is trained from scratch.

    Raises:
        ValueError: If so.
    """
    rank = args.language_adapter_rank
    if rank is not None and rank < 1:
        raise ValueError(f"--language_adapter_rank {rank}; expected at least 1, such as 8")
    if rank is not None and args.from_scratch:
        raise ValueError("--language_adapter_rank trains beside a model that stays; leave --from_scratch out")


def train_adapters(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    text: PreparedCorpora,
    rank: int,
    settings_of: Callable[[Path], MAFTTrainingArguments],
    train: Callable[[Trainer, Path], Metrics],
    folder: Path,
) -> Metrics:
    """Train an adapter a language, one after the other; those that an earlier call finished are left as they are.

    Args:
        model: The masked language model; the same afterwards.
        tokenizer: Its tokenizer.
        text: What is trained and evaluated on; each language on its own.
        rank: Of LoRA, scaled as that of a task; it goes where PEFT puts it for the family: to queries and values.
        settings_of: Gives the trainer's arguments for the folder it writes to.
        train: Trains in a folder, from its last whole checkpoint if there is one, and returns what was measured.
        folder: Gets a folder a language, with the adapter, the tokenizer and the metrics.

    Returns:
        Of each process the same: under `before` and `after` the figures that are named by a language, under `train`
        those of each language's training by its code, and under `unknown_share` what of its text is unknown.
    """
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list
    from peft import LoraConfig

    from hf_afro.evaluation.adaptation import LORA_SCALE
    from hf_afro.evaluation.facts import model_fingerprint
    from hf_afro.evaluation.language_adapters import write_base
    from hf_afro.training import MAFTTrainer
    from hf_afro.training.resuming import BEFORE_FILE

    main = PartialState().is_main_process
    # The main process looks, for all: another could look while it moves the folder.
    made = [[code for code in text.train if (folder / code / ADAPTER_MARK).is_file()] if main else []]
    broadcast_object_list(made)
    base = model_fingerprint(model, pooler=False) if main else ""
    for language, lines in text.train.items():
        if language in made[0]:
            say(f"{language}: made before")
            continue
        own = folder / language
        settings = settings_of(own)
        evaluated = {language: text.evaluation[language]} if language in text.evaluation else {}
        trainer = MAFTTrainer(
            model=model,
            args=settings,
            train_dataset=datasets_of({language: lines}),
            eval_dataset=datasets_of(evaluated) or None,
            processing_class=tokenizer,
            peft_config=LoraConfig(r=rank, lora_alpha=LORA_SCALE * rank, lora_dropout=0.0),
        )
        metrics = train(trainer, own)
        trainer.save_model(str(own))
        if main:
            write_base(own, base)
            write_whole(own / ADAPTER_MARK, json.dumps(metrics, indent=2) + "\n")
            (own / BEFORE_FILE).unlink(missing_ok=True)
        assert trainer.model is not None
        model = trainer.model.unload()
        say(f"{language}: adapter trained")
    found = [read_metrics(folder, list(text.train)) if main else {}]
    broadcast_object_list(found)
    return found[0]


def read_metrics(folder: Path, languages: list[str]) -> Metrics:
    """Return what was measured of the adapters in a folder; see `train_adapters`."""
    every: Metrics = {"before": {}, "train": {}, "after": {}, "unknown_share": {}}
    for language in languages:
        own = json.loads((folder / language / ADAPTER_MARK).read_text("utf-8"))
        every["train"][language] = own["train"]
        every["unknown_share"] |= own.get("unknown_share", {})
        for moment in ("before", "after"):
            figures = own.get(moment, {})
            every[moment] |= {name: value for name, value in figures.items() if f"_{language}_" in name}
    return every

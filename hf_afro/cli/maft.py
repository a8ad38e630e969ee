"""`hf-afro maft`: adapt a masked language model to the languages of a folder of text."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.checkpoints import checkpoints_in, fault_of
from hf_afro.cli.count import shown_unknown
from hf_afro.cli.inputs import check_inputs
from hf_afro.cli.maft_adapters import check_adapter_rank, train_adapters
from hf_afro.cli.output import finished_folder, is_main_process, say
from hf_afro.cli.own_settings import MAFT_SETTINGS, describe_own_settings
from hf_afro.cli.settings import check_names, parse_settings
from hf_afro.cli.table import format_table
from hf_afro.cli.text import OPTIONS, add_text_arguments, datasets_of, prepare_text
from hf_afro.model_folders import HOW_MADE
from hf_afro.nearest import nearest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

    from hf_afro.corpora import PreparedCorpora

DESCRIPTION = f"""\
Adapt a masked language model to the languages of your text (MAFT).

Training goes on as the model was pre-trained, on monolingual text of many languages at once: one model serves all of
them. The text is cleaned as in the paper (Alabi et al., 2022), and what `--exclude` names is taken out of it.

  hf-afro maft --model pruned --text texts --exclude test_sentences.txt --output_dir adapted \\
      --num_train_epochs 3 --learning_rate 5e-5 --per_device_train_batch_size 10

Every field of MAFTTrainingArguments, hence of transformers.TrainingArguments, is a setting: --name value. Its own are

{describe_own_settings(MAFT_SETTINGS)}

On several GPUs: accelerate launch --module hf_afro.cli.main maft ...
A run that was interrupted goes on where it was when the same command is given again.

With --language_adapter_rank 8 the model stays as it is, and a LoRA adapter is trained for each language by itself,
which wants about ten times the learning rate; `hf-afro evaluate --language_adapters` takes the folder.

What comes out: the model and its tokenizer, metrics.json (bits a byte of held-out text before and after, by language),
cleaning.json and cleaning.md (what was read and dropped, and why), and the trainer's checkpoints.
"""
TAKES_SETTINGS = True


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--model", required=True, help="folder of a model with its tokenizer, or its name on the Hub")
    add_text_arguments(parser)
    parser.add_argument("--from_scratch", action="store_true", help="train the architecture from random weights")
    parser.add_argument(
        "--config_overrides",
        metavar="hidden_size=384,...",
        help="with --from_scratch: what to change of the model's configuration",
    )
    parser.add_argument(
        "--language_adapter_rank",
        type=int,
        metavar="N",
        help="train a LoRA adapter of this rank a language, in <output_dir>/<language>, in place of the model",
    )


def run(args: Namespace) -> None:
    """Clean, train, evaluate and save.

    Raises:
        ValueError: If a setting is unknown or impossible, or text or model are not fit for training.
    """
    check_inputs(args)
    check_scratch(args)
    check_adapter_rank(args)
    own = ("model", "from_scratch", "config_overrides", "language_adapter_rank", *OPTIONS)
    check_names(args.settings, MAFT_SETTINGS, own, "MAFTTrainingArguments")

    from hf_afro.cli.loading import load_encoder_config, load_tokenizer
    from hf_afro.training import MAFTTrainer, MAFTTrainingArguments

    with finished_folder(args, resumable=True) as folder:
        settings = parse_settings(MAFTTrainingArguments, args.settings, folder, own)
        load_encoder_config(args.model)
        tokenizer = load_tokenizer(args.model)
        text = prepare_text(args, settings.seed)
        model = load_masked_lm(args, tokenizer, settings.seed)
        if args.language_adapter_rank is not None:
            metrics = train_adapters(
                model,
                tokenizer,
                text,
                args.language_adapter_rank,
                lambda place: parse_settings(MAFTTrainingArguments, args.settings, place, own),
                train,
                folder,
            )
            if is_main_process():
                save_facts(text, metrics, folder)
            # The main process moves the folder next, so every other one has to be done with it.
            settings.distributed_state.wait_for_everyone()
        else:
            trainer = MAFTTrainer(
                model=model,
                args=settings,
                train_dataset=datasets_of(text.train),
                eval_dataset=datasets_of(text.evaluation) or None,
                processing_class=tokenizer,
            )
            metrics = train(trainer, folder)
            save(trainer, text, metrics, folder)
    report(metrics, text)
    say(f"{'model' if args.language_adapter_rank is None else 'adapters'} written to {args.output_dir}")


def check_scratch(args: Namespace) -> None:
    """Refuse overrides without `--from_scratch`.

    Raises:
        ValueError: If there are any.
    """
    if args.config_overrides and not args.from_scratch:
        raise ValueError("--config_overrides changes the architecture, so it needs --from_scratch")


def load_masked_lm(args: Namespace, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """Return the model of `--model` in fp32, or one of its architecture with random weights.

    Raises:
        ValueError: If there is no such model, or `--config_overrides` does not fit it.
    """
    import torch
    from transformers import AutoModelForMaskedLM, set_seed

    from hf_afro.cli.loading import load_config, load_model

    if not args.from_scratch:
        # The default of transformers is the checkpoint's own dtype, and fp16 weights do not train.
        return load_model(args.model, auto_class="AutoModelForMaskedLM", seed=seed, dtype=torch.float32)
    config = load_config(args.model)
    overrides = args.config_overrides or ""
    for name, sign, _ in (part.partition("=") for part in overrides.split(",") if part):
        if not hasattr(config, name):
            hint = nearest(name, config.to_dict())
            raise ValueError(f"--config_overrides {overrides}: the configuration has no {name!r}; {hint}")
        if not sign:
            raise ValueError(f"--config_overrides {overrides}: {name} has no value; expected {name}=...")
    for name in HOW_MADE:  # that is told of the model whose weights are left behind
        if hasattr(config, name):
            delattr(config, name)
    set_seed(seed)
    try:
        if overrides:  # of no text at all it makes an error
            config.update_from_string(overrides)
        if tokenizer.pad_token_id is not None:  # a new model counts positions from what its text is padded with
            config.pad_token_id = tokenizer.pad_token_id
        return AutoModelForMaskedLM.from_config(config, dtype=torch.float32)  # whatever its weights were saved in
    except (ValueError, TypeError) as error:
        # What a configuration refuses is the user's, though the library raises it.
        asked = f"--config_overrides {overrides}" if overrides else "--from_scratch"
        raise ValueError(f"{asked}: {error}") from error


def train(trainer: Trainer, folder: Path) -> dict[str, dict[str, Any]]:
    """Train from where an earlier run ended, if there was one, evaluating before and after where there is text."""
    from hf_afro.training.resuming import evaluate_before

    metrics: dict[str, dict[str, Any]] = {}
    if trainer.eval_dataset is not None:
        metrics["before"] = evaluate_before(trainer, folder)
    checkpoint: Path | None = None
    for path in checkpoints_in(folder):  # by steps: the last whole one is gone on with
        fault = fault_of(path)
        if fault is None:
            checkpoint = path
        else:
            say(f"{path.name} of {folder} is not whole and is passed over: {fault}")
    if checkpoint is not None:
        say(f"going on from {checkpoint.name} of {folder}")
    metrics["train"] = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint)).metrics
    if trainer.eval_dataset is not None:
        metrics["after"] = trainer.evaluate()
    metrics["unknown_share"] = trainer.unknown_shares
    return metrics


def save(trainer: Trainer, text: PreparedCorpora, metrics: dict[str, dict[str, Any]], folder: Path) -> None:
    """Save model and tokenizer, and from the main process the metrics and the cleaning report."""
    trainer.save_model(str(folder))
    if trainer.is_world_process_zero():
        save_facts(text, metrics, folder)
    # The main process moves the folder next, so every other one has to be done with it.
    trainer.accelerator.wait_for_everyone()


def save_facts(text: PreparedCorpora, metrics: dict[str, dict[str, Any]], folder: Path) -> None:
    """Save the metrics and the cleaning report."""
    from hf_afro.corpora.cleaning_page import save_report
    from hf_afro.training.resuming import BEFORE_FILE

    save_report(text.report, folder)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
    (folder / BEFORE_FILE).unlink(missing_ok=True)


def report(metrics: dict[str, dict[str, Any]], text: PreparedCorpora) -> None:
    """Print what each language was trained on, what of it is unknown, and its gain in bits per byte."""
    before, after, unknown = (metrics.get(name, {}) for name in ("before", "after", "unknown_share"))
    rows = [
        [
            language,
            text.report.read.get(language),
            text.report.kept.get(language),
            shown_unknown(unknown[language]) if language in unknown else None,
            before.get(f"eval_{language}_bits_per_byte"),
            after.get(f"eval_{language}_bits_per_byte"),
        ]
        for language in sorted({*text.train, *text.evaluation})
    ]
    say(format_table(["language", "lines", "trained on", "unknown", "bits a byte before", "after"], rows))

"""Training on text, with resuming, evaluation before and after, and the figures saved beside the model."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from hf_afro.checkpoints import BROKEN_FOLDER, checkpoints_in, fault_of, last_checkpoint
from hf_afro.corpora import PreparedCorpora
from hf_afro.corpora.cleaning_report import save_report
from hf_afro.files import write_whole
from hf_afro.reports.tables import format_table
from hf_afro.steps.count import shown_unknown
from hf_afro.steps.running import UNFINISHED, say
from hf_afro.training import check_processes
from hf_afro.training.saving import BEFORE_FILE, evaluate_before

METRICS_FILE, HISTORY_FILE = "metrics.json", "history.json"
Metrics = dict[str, dict[str, Any]]

# Figures of the trainer's log that are shown while it trains, with their titles.
_WATCHED = {
    "loss": "loss",
    "learning_rate": "learning rate",
    "eval_loss": "evaluation loss",
    "eval_bits_per_byte": "bits per byte",
}


def can_resume(folder: Path) -> bool:
    """Tell whether a folder holds a complete checkpoint."""
    return last_checkpoint(folder) is not None


def trainer_arguments(kind: type[TrainingArguments], given: Mapping[str, Any], folder: Path) -> Any:
    """Return a trainer's arguments for a folder.

    Raises:
        ValueError: If processes were launched that cannot work together, or a checkpoint was named.
    """
    if given.get("resume_from_checkpoint") is not None:
        raise ValueError(
            f"--resume_from_checkpoint {given['resume_from_checkpoint']}: an interrupted run resumes by itself when "
            "the same command is repeated; to start from another checkpoint, name it as the model"
        )
    # Without a terminal a bar is noise, and an error would start in the middle of its line.
    # The evaluation after training is a part of the run that is reported, and so is what is resumed.
    name = folder.name.removesuffix(UNFINISHED)
    mixed = bool(given.get("bf16")) and not torch.accelerator.is_available()  # without use_cpu it is refused there
    defaults = {"disable_tqdm": not sys.stderr.isatty(), "run_name": name, **({"use_cpu": True} if mixed else {})}
    arguments = kind(**{**defaults, **given, "output_dir": str(folder)})
    check_processes(arguments)
    return arguments


class _Bar(ProgressCallback):
    """The trainer's bar with the loss beside it, instead of the full log, which `history.json` has."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **parts: Any) -> None:
        """Show the loss."""
        if self.training_bar is not None and "loss" in (logs or {}):
            self.training_bar.set_postfix(loss=f"{float(logs['loss']):.3f}")


class LogLines(TrainerCallback):
    """The trainer's log as one short line each time, where there is no bar; `history.json` has every figure."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock

    def on_train_begin(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Start the clock."""
        self._since, self._last = self._clock(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **parts: Any) -> None:
        """Print the step, what a reader watches, and the speed since the last training loss."""
        figures = [f"{title} {float(logs[name]):.4g}" for name, title in _WATCHED.items() if name in (logs or {})]
        if not figures:
            return
        if "loss" in logs:
            now, steps = self._clock(), state.global_step - self._last
            figures.append(f"{steps / (now - self._since):.2g} steps/s")
            self._since, self._last = now, state.global_step
        of = f" of {state.max_steps}" if state.max_steps else ""
        say(f"step {state.global_step}{of}: {', '.join(figures)}")


def train(
    trainer: Trainer, text: PreparedCorpora, folder: Path, *, keep_checkpoints: bool, remove: Path | None = None
) -> Metrics:
    """Train, evaluate before and after if there is text for it, and save model, tokenizer and figures.

    Returns:
        The same on every process: figures `before`, of `train` and `after`, and the `unknown_share` of the text.
    """
    metrics: Metrics = {}
    # By now the main process has removed what is not resumed, so all find the same checkpoint.
    trainer.accelerator.wait_for_everyone()
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Bar if sys.stderr.isatty() and not trainer.args.disable_tqdm else LogLines)
    if trainer.eval_dataset is not None:
        metrics["before"] = evaluate_before(trainer, folder)
    checkpoint = _last_whole(folder)
    metrics["train"] = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint)).metrics
    if trainer.eval_dataset is not None:
        metrics["after"] = trainer.evaluate()
    metrics["unknown_share"] = trainer.unknown_shares
    trainer.save_model(str(folder))
    if trainer.is_world_process_zero():
        save_report(text.report, folder)
        write_whole(folder / METRICS_FILE, json.dumps(metrics, indent=2) + "\n")
        write_whole(folder / HISTORY_FILE, json.dumps(trainer.state.log_history, indent=1) + "\n")
        (folder / BEFORE_FILE).unlink(missing_ok=True)
        if not keep_checkpoints:
            for path in checkpoints_in(folder):
                shutil.rmtree(path)
        for path in (folder / BROKEN_FOLDER, *([] if remove is None else [remove])):
            shutil.rmtree(path, ignore_errors=True)
    # The main process moves the folder next, so every other one has to be done with it.
    trainer.accelerator.wait_for_everyone()
    return metrics


def _last_whole(folder: Path) -> Path | None:
    """Return the checkpoint to resume from, having said which are not whole."""
    checkpoint: Path | None = None
    for path in checkpoints_in(folder):  # in order: training resumes from the last complete one
        fault = fault_of(path)
        if fault is None:
            checkpoint = path
        else:
            say(f"{path.name} of {folder} is incomplete and skipped: {fault}")
    if checkpoint is not None:
        say(f"resuming from {checkpoint.name} of {folder}")
    return checkpoint


def facts_of(trainer: Trainer, metrics: Metrics, figure: str) -> dict[str, Any]:
    """Return the facts of a training for its record: sizes, steps, tokens, and a figure before and after.

    Args:
        trainer: After training.
        metrics: From `train`.
        figure: `bits_per_byte` or `loss`; over several languages its mean.
    """
    model: Any = trainer.model
    facts: dict[str, Any] = {
        "vocabulary": model.get_input_embeddings().weight.shape[0],
        "parameters": model.num_parameters(),
        "steps": trainer.state.global_step,
        "tokens_seen": dict(sorted(trainer.tokens_seen.by_language.items())),
        "figure": figure,
    }
    return facts | {moment: _mean(metrics[moment], figure) for moment in ("before", "after") if moment in metrics}


def _mean(metrics: Mapping[str, float], figure: str) -> float | None:
    if f"eval_{figure}" in metrics:
        return metrics[f"eval_{figure}"]
    own = [value for name, value in metrics.items() if name.endswith(f"_{figure}")]
    return sum(own) / len(own) if own else None


def gain_table(metrics: Metrics, text: PreparedCorpora, figure: str, title: str) -> str:
    """Return a table by language: lines, share of unknown tokens, and a figure before and after.

    Args:
        metrics: From `train`.
        text: What was trained and evaluated on.
        figure: The evaluation figure, such as `bits_per_byte`.
        title: The name of the figure in the table.
    """
    before, after, unknown = (metrics.get(name, {}) for name in ("before", "after", "unknown_share"))
    rows = [
        [
            language,
            text.report.read.get(language),
            text.report.kept.get(language),
            shown_unknown(unknown[language]) if language in unknown else None,
            before.get(f"eval_{language}_{figure}"),
            after.get(f"eval_{language}_{figure}"),
        ]
        for language in sorted({*text.train, *text.evaluation})
    ]
    return format_table(["language", "lines", "trained on", "unknown", f"{title} before", "after"], rows)

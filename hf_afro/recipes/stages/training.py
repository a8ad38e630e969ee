"""The stages `teacher`, `maft`, `fit` and `distill`: everything that is trained on running text."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING, Any

from transformers import PrinterCallback, TrainerCallback, set_seed

from hf_afro.checkpoints import BROKEN_FOLDER, last_checkpoint
from hf_afro.files import folder_written_whole
from hf_afro.recipes.schema import RecipeError
from hf_afro.recipes.settings import TOKENIZER_SIZE, TrainingSettings
from hf_afro.recipes.stages.context import HISTORY_FILE, StageContext
from hf_afro.recipes.stages.models import open_model, open_tokenizer
from hf_afro.recipes.stages.text import HELD_OUT, TRAIN, as_datasets, read_text
from hf_afro.training import (
    MAFTTrainer,
    MAFTTrainingArguments,
    RelationDistillTrainer,
    RelationDistillTrainingArguments,
)
from hf_afro.training.resuming import BEFORE_FILE, evaluate_before

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerControl, TrainerState

    from hf_afro.recipes.progress import Progress

METRICS_FILE = "metrics.json"
TOKENIZER_FOLDER = "tokenizer"

# Fields of a stage's settings that the trainers' arguments have under the same name.
_SHARED = tuple(
    field.name
    for field in dataclasses.fields(TrainingSettings)
    if field.name not in {"text", "languages", "max_steps", "num_train_epochs", "arguments"}
)


class StepProgress(TrainerCallback):
    """Moves the bar of a stage on with every optimizer step."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Set the bar's length, and where a resumed run starts."""
        self.progress.length(state.max_steps)
        self.progress.advance(state.global_step)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move on."""
        self.progress.advance()


def run_teacher(context: StageContext) -> dict[str, Any]:
    """Train a small XLM-R from scratch, with a tokenizer of its own where none is given."""
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    settings = context.settings
    tokenizer = _teacher_tokenizer(context)
    sizes = dataclasses.asdict(settings.architecture(len(tokenizer)))
    for name in ("embedding_size", "type_vocab_size", "position_offset", "pad_token_id"):
        sizes.pop(name)
    config = XLMRobertaConfig(
        **sizes,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.dropout,
    )
    set_seed(settings.seed)
    return _adapt(context, XLMRobertaForMaskedLM(config), tokenizer)


def _teacher_tokenizer(context: StageContext) -> PreTrainedTokenizerBase:
    from hf_afro.recipes.pretrained import load_tokenizer
    from hf_afro.recipes.tokenizer import train_tokenizer

    settings = context.settings
    if settings.tokenizer is not None:
        given = load_tokenizer(settings.tokenizer)
        if settings.tokenizer_size not in (None, len(given)):
            raise RecipeError(
                f"{context.stage.place}: {settings.tokenizer} has {len(given)} pieces and tokenizer_size says "
                f"{settings.tokenizer_size}; correct it, or leave it out"
            )
        return given
    saved = context.folder / TOKENIZER_FOLDER
    if not saved.is_dir():
        context.progress.length(1, "tokenizer")
        text = read_text(context.input("text"), TRAIN, settings.languages)
        lines = (line for own in text.values() for line in own)
        with folder_written_whole(saved, "tokenizer.json") as beside:
            trained = train_tokenizer(lines, settings.tokenizer_size or TOKENIZER_SIZE, settings.max_length)
            trained.save_pretrained(beside)
    # Read back, so that a run that goes on has the very same.
    return load_tokenizer(str(saved))


def run_maft(context: StageContext) -> dict[str, Any]:
    """Go on with masked-language-model training."""
    source = context.settings.model
    return _adapt(context, open_model(context, source, seed=context.settings.seed), open_tokenizer(context, source))


run_fit = run_maft


def _adapt(context: StageContext, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    settings = context.settings
    text = context.input("text")
    train, held_out = read_text(text, TRAIN, settings.languages), read_text(text, HELD_OUT)
    trainer = MAFTTrainer(
        model=model,
        args=MAFTTrainingArguments(mlm_probability=settings.mlm_probability, **training_arguments(context)),
        train_dataset=as_datasets(train),
        eval_dataset=as_datasets(held_out) or None,
        processing_class=tokenizer,
        callbacks=[StepProgress(context.progress)],
    )
    return _train(context, trainer, "bits_per_byte")


def run_distill(context: StageContext) -> dict[str, Any]:
    """Build a student of the sizes wanted and teach it the teacher's relations."""
    from hf_afro.students import build_student

    settings = context.settings
    teacher = open_model(context, settings.teacher, seed=settings.seed)
    tokenizer = open_tokenizer(context, settings.teacher)
    student = build_student(
        teacher,
        tokenizer=tokenizer,
        num_hidden_layers=settings.num_hidden_layers,
        hidden_size=settings.hidden_size,
        num_attention_heads=settings.num_attention_heads,
        intermediate_size=settings.intermediate_size,
        embedding_size=settings.embedding_size,
        seed=settings.seed,
    )
    text = context.input("text")
    train = read_text(text, TRAIN, settings.languages)
    # A language of few lines has none held out.
    held_out = {language: lines for language, lines in read_text(text, HELD_OUT).items() if language in train}
    trainer = RelationDistillTrainer(
        model=student,
        teacher_model=teacher,
        args=RelationDistillTrainingArguments(
            objective=settings.objective,
            teacher_layer=settings.teacher_layer,
            num_relation_heads=settings.num_relation_heads,
            **training_arguments(context),
        ),
        train_dataset=as_datasets(train),
        eval_dataset=as_datasets(held_out) or None,
        processing_class=tokenizer,
        callbacks=[StepProgress(context.progress)],
    )
    return _train(context, trainer, "loss")


def training_arguments(context: StageContext) -> dict[str, Any]:
    """Return what both trainers' arguments are made with."""
    settings = context.settings
    length = (
        {"max_steps": settings.max_steps} if settings.max_steps else {"num_train_epochs": settings.num_train_epochs}
    )
    return {
        **{name: getattr(settings, name) for name in _SHARED},
        **length,
        "output_dir": str(context.folder),
        "per_device_eval_batch_size": 32,
        "save_strategy": "steps",
        "save_total_limit": 2,
        "logging_steps": 10,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        **settings.arguments,
    }


def _train(context: StageContext, trainer: Trainer, figure: str) -> dict[str, Any]:
    """Train from the last whole checkpoint, evaluate before and after, and leave a model and what was measured."""
    trainer.remove_callback(PrinterCallback)  # it prints to the terminal; what it would say is in the history
    evaluated = trainer.eval_dataset is not None
    before = evaluate_before(trainer, context.folder) if evaluated else {}
    trained = trainer.train(resume_from_checkpoint=last_checkpoint(context.folder))
    after = trainer.evaluate() if evaluated else {}
    trainer.save_model(str(context.folder))
    metrics = {"before": before, "train": trained.metrics, "after": after, "unknown_share": trainer.unknown_shares}
    context.write_json(METRICS_FILE, metrics)
    context.write_json(HISTORY_FILE, trainer.state.log_history)
    (context.folder / BEFORE_FILE).unlink(missing_ok=True)
    for folder in [
        path for name in ("checkpoint-*", BROKEN_FOLDER, TOKENIZER_FOLDER) for path in context.folder.glob(name)
    ]:
        shutil.rmtree(folder)
    model = trainer.model
    facts = {
        "vocabulary": model.get_input_embeddings().weight.shape[0],
        "parameters": model.num_parameters(),
        "steps": trainer.state.global_step,
        "tokens_seen": dict(sorted(trainer.tokens_seen.by_language.items())),
        "figure": figure,
    }
    return facts | ({"before": _mean(before, figure), "after": _mean(after, figure)} if evaluated else {})


def _mean(metrics: dict[str, float], figure: str) -> float | None:
    """Return a figure over all languages: its mean, where the trainer gives none of its own."""
    if f"eval_{figure}" in metrics:
        return metrics[f"eval_{figure}"]
    own = [value for name, value in metrics.items() if name.endswith(f"_{figure}")]
    return sum(own) / len(own) if own else None

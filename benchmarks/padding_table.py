"""Every model family with a configuration that names the padding id of its tokenizer, and with one that names another.

python -m benchmarks.padding_table [--families bert mpnet ...]

The tokenizer pads with 1, as XLM-R's does, and its id 0 begins every text. A configuration that disagrees says 0, as
that of multilingual-e5-small. The columns: whether a student with every layer and the full width computes what its
teacher does; whether a model trained by MAFT, and a student trained by distillation, are the same when read back from
disk; whether these run a text of their full length. A cell is the largest difference of hidden states and logits,
"yes", or how the model was refused. The models are small and untrained, the rows are drawn.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForMaskedLM, PreTrainedModel, PreTrainedTokenizerFast, PrinterCallback
from transformers.utils import logging

from hf_afro.families import depth_of, family_of, positions_of
from hf_afro.students import build_student
from hf_afro.students.building import LIKE_XLMR
from hf_afro.training import (
    MAFTTrainer,
    MAFTTrainingArguments,
    RelationDistillTrainer,
    RelationDistillTrainingArguments,
)
from tests.tiny_families import TINY, VOCABULARY, tiny

BOS, PAD, EOS, UNKNOWN, MASK = range(5)
NOT_BUILT = "not built"
COLUMNS = ("full copy", "MAFT, read back", "full length", "distilled, read back", "full length")
_LENGTH = 24


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of words whose id 0 begins a text and whose id 1 pads."""
    words = {word: index for index, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])}
    words |= {f"w{index}": index for index in range(len(words), VOCABULARY)}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    names = {
        "bos": "<s>",
        "cls": "<s>",
        "eos": "</s>",
        "sep": "</s>",
        "pad": "<pad>",
        "unk": "<unk>",
        "mask": "<mask>",
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=512,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in names.items()},
    )


def rows(seed: int) -> list[list[int]]:
    """Return 16 rows of ids of different lengths, each begun with id 0."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(5, VOCABULARY, (16, _LENGTH - 2), generator=generator).tolist()
    return [[BOS, *row[: 6 + index], EOS] for index, row in enumerate(drawn)]


@torch.no_grad()
def difference(one: PreTrainedModel, other: PreTrainedModel) -> float:
    """Return the largest difference of two models' hidden states and logits on a padded batch."""
    own = rows(7)[:3]
    width = max(map(len, own))
    ids = torch.tensor([row + [PAD] * (width - len(row)) for row in own])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in own])
    batch = {"input_ids": ids, "attention_mask": mask}
    found = [(model.eval().base_model(**batch)[0], model(**batch).logits) for model in (one, other)]
    apart = [own - its for own, its in zip(*found, strict=True)]
    # One row per token, or one per text where a classifier gives those.
    return max(float((one[mask.bool()] if one.shape[:2] == mask.shape else one).abs().max()) for one in apart)


@torch.no_grad()
def runs(model: PreTrainedModel, length: int) -> bool:
    """Tell whether a model says that it takes a text of this length, and does."""
    ids = torch.full((1, length), UNKNOWN)
    return positions_of(model) == length and bool(torch.isfinite(model.eval()(input_ids=ids).logits).all())


def read_back(trainer: Any, folder: Path, length: int) -> tuple[float, bool]:
    """Train and save; return how far the model on disk is from the one trained, and whether it runs the length."""
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trainer.save_model(str(folder))
    loaded = AutoModelForMaskedLM.from_pretrained(folder)
    return difference(trainer.model, loaded), runs(loaded, length)


def settings(folder: Path) -> dict[str, Any]:
    """Return settings of a training of three steps."""
    return {
        "output_dir": str(folder),
        "max_steps": 3,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-2,
        "max_length": _LENGTH,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }


def full_copy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> float | None:
    """Return how far a student with every layer and the full width is from its teacher; None where none is built."""
    if family_of(model).inner_layers is not None:
        return None
    sizes = {"num_hidden_layers": depth_of(model), "embedding_size": getattr(model.config, "embedding_size", None)}
    student = build_student(model, tokenizer=tokenizer, unpad=False, **sizes)
    return difference(student, model)


def maft(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> tuple[float, bool]:
    """Train a model by MAFT; return what `read_back` does."""
    trainer = MAFTTrainer(
        model=copy.deepcopy(model),
        args=MAFTTrainingArguments(**settings(folder)),
        train_dataset={"swa": Dataset.from_dict({"input_ids": rows(1)})},
        processing_class=tokenizer,
    )
    return read_back(trainer, folder, positions_of(model) or 0)


def distilled(
    model: PreTrainedModel, student: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> tuple[float, bool]:
    """Distil a student: one built from the model where that is possible, else one of the same family."""
    if family_of(model).inner_layers is None:
        narrow = {"hidden_size": 16, "num_attention_heads": 2} if model.config.model_type in LIKE_XLMR else {}
        student = build_student(model, tokenizer=tokenizer, num_hidden_layers=2, **narrow)
    trainer = RelationDistillTrainer(
        model=student,
        teacher_model=copy.deepcopy(model),
        args=RelationDistillTrainingArguments(**settings(folder), teacher_layer=depth_of(model)),
        train_dataset={"swa": Dataset.from_dict({"input_ids": rows(1)})},
        processing_class=tokenizer,
    )
    return read_back(trainer, folder, positions_of(model) or 0)


def outcome(work: Callable[[], Any]) -> Any:
    """Return what a piece of work returns, or the error with which it was refused."""
    try:
        return work()
    except ValueError as error:
        return error


def line(name: str, agrees: bool) -> dict[str, Any]:
    """Return what the table says of a family, a `ValueError` where it was refused."""
    pad = PAD if agrees else BOS
    model, tokenizer = tiny(name, pad_token_id=pad), word_tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        return {
            "full copy": outcome(lambda: full_copy(model, tokenizer)),
            "MAFT": outcome(lambda: maft(model, tokenizer, Path(folder) / "maft")),
            "distillation": outcome(
                lambda: distilled(model, tiny(name, 1, pad_token_id=pad), tokenizer, Path(folder) / "distilled")
            ),
        }


def cells(found: dict[str, Any]) -> list[str]:
    """Return the cells of a line of the table, as they are printed."""
    copied = found["full copy"]
    said = [_refused(copied) or (NOT_BUILT if copied is None else f"{copied:.1e}")]
    for kind in ("MAFT", "distillation"):
        if refusal := _refused(found[kind]):
            said += [refusal, "-"]
        else:
            apart, is_run = found[kind]
            said += [f"{apart:.1e}", "yes" if is_run else "NO"]
    return said


def _refused(found: Any) -> str:
    return "refused: " + " ".join(str(found).split()[:6]) + " ..." if isinstance(found, ValueError) else ""


def is_right(found: dict[str, Any]) -> bool:
    """Tell whether all of a line is exact, or refused with the correction named."""

    def right(one: Any) -> bool:
        if isinstance(one, ValueError):
            return "set tokenizer.pad_token = '<s>'" in str(one)
        return one in (None, 0.0, (0.0, True))

    return all(map(right, found.values()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="*", default=list(TINY), choices=list(TINY), help="default: all")
    args = parser.parse_args()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    print(f"| family | padding id, configuration and tokenizer | {' | '.join(COLUMNS)} |")
    print("|---|---" + "|---" * len(COLUMNS) + "|")
    wrong = 0
    for name in args.families:
        for agrees in (True, False):
            found = line(name, agrees)
            wrong += not is_right(found)
            ids = f"{PAD} and {PAD}, equal" if agrees else f"{BOS} and {PAD}, unequal"
            print(f"| {name} | {ids} | {' | '.join(cells(found))} |", flush=True)
    print(f"{wrong} lines with something wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

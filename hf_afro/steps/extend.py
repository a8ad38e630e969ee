"""The step `extend`: tokens added to a model's vocabulary, for words that it splits or scripts that it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from transformers.hf_argparser import HfArg

from hf_afro.languages import script_names
from hf_afro.model_folders import check_no_adapter
from hf_afro.pretrained import load_model, load_tokenizer
from hf_afro.sentence_modules import sentence_modules_of
from hf_afro.steps.plans import check_languages
from hf_afro.steps.settings import Limits, Model, Words
from hf_afro.steps.step import Outcome, Plan, Step
from hf_afro.steps.text import ReadingConfig, read_text
from hf_afro.vocabulary import extend_vocabulary

DESCRIPTION = """\
Add tokens for words or scripts to a model's vocabulary.

Without --scripts, the words that save the most tokens in the text become one token each; other text is split as
before. With --scripts, subwords with a letter of these scripts are learnt from the text and added. Any kind of
tokenizer will do. Each new row begins as the mean of the rows of the tokens that it replaces.

  hf-afro extend --model FacebookAI/xlm-roberta-base --text texts --languages zul --output_dir extended
  hf-afro extend --model jhu-clsp/mmBERT-base --text texts --languages nqo --scripts Nko --output_dir extended

Train the model on the text afterwards: hf-afro maft --model extended --embedding_warmup_steps 500.

Output: the model and its tokenizer, and new_tokens.txt, the tokens added as they are in the vocabulary.
"""
TOKENS_FILE = "new_tokens.txt"
_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Config(ReadingConfig):
    """The model, the text, and what to add."""

    model: Model = HfArg(help="folder of a model with its tokenizer, or its name on the Hub")
    num_tokens: Annotated[int, Limits(low=1)] = HfArg(default=2000, help="tokens to add at most")
    scripts: Annotated[list[str] | None, Words()] = HfArg(
        default=None, help="add subwords with a letter of these Unicode scripts, such as Nko; by default whole words"
    )
    shared_bytes: bool = HfArg(
        default=False,
        help="with --scripts and a byte-level tokenizer: also join first bytes that characters of other scripts begin "
        "with, which splits those differently",
    )
    seed: int = HfArg(default=0, help="seed of the rows of tokens that nothing could spell")


def check(config: Config) -> None:
    """Refuse what cannot be extended, and settings that do not go together.

    Raises:
        ValueError: If so.
    """
    script_names(config.scripts or ())
    if config.shared_bytes and config.scripts is None:
        raise ValueError("--shared_bytes is about letters of --scripts; leave it out, or name the scripts")
    check_no_adapter(Path(config.model))
    if Path(config.model).is_dir() and sentence_modules_of(config.model) is not None:
        raise ValueError(
            f"{config.model} is a sentence-transformers model, whose modules extend would lose; expected the encoder "
            "in a folder of its own"
        )


def run(config: Config, folder: Path) -> Outcome:
    """Choose the tokens, add them, and save.

    Raises:
        ValueError: If there is nothing to add, or it cannot be added without splitting other text differently.
    """
    texts = read_text(config.text, config.languages, config.errors)
    extended = extend_vocabulary(
        load_model(config.model, all_heads=True),
        load_tokenizer(config.model),
        (line for lines in texts.values() for line in lines),
        config.num_tokens,
        scripts=config.scripts,
        shared_bytes=config.shared_bytes,
        seed=config.seed,
    )
    extended.save_pretrained(folder)
    (folder / TOKENS_FILE).write_text("".join(f"{piece}\n" for piece in extended.pieces), encoding="utf-8")
    facts = {
        "new_tokens": len(extended.pieces),
        "from_pieces": extended.from_pieces,
        "vocabulary": len(extended.tokenizer),
        "old_tokens_per_word": extended.old_tokens_per_word,
        "new_tokens_per_word": extended.new_tokens_per_word,
    }
    shown = ", ".join(map(extended.tokenizer.decode, range(len(extended.tokenizer))[-len(extended.pieces) :][:_SHOWN]))
    return Outcome(
        facts,
        f"{len(extended.pieces):,} tokens added, {extended.from_pieces:,} of them from the tokens that spelt them: "
        f"{shown}{', ...' if len(extended.pieces) > _SHOWN else ''}\n"
        f"tokens per word of the text: {extended.old_tokens_per_word:.3f} before, {extended.new_tokens_per_word:.3f} "
        "after",
    )


def plan(config: Config, inputs: Mapping[str, Plan]) -> Plan:
    """Refuse languages that the text will not have."""
    check_languages(config.languages, inputs.get("text"))
    return Plan("sizes depend on the text")


STEP = Step(name="extend", description=DESCRIPTION, config=Config, run=run, gives="model", check=check, plan=plan)

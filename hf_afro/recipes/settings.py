"""What each stage of a recipe can be told: one frozen dataclass a kind of stage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from hf_afro.evaluation.presets import ADAPTATIONS, LARGEST_SEED, check_seeds, preset
from hf_afro.languages import find_language, find_languages, languages_in
from hf_afro.recipes.architecture import Architecture
from hf_afro.recipes.schema import is_folder_name, setting

SAMPLE = "sample"
"""In place of a folder: what the package brings along."""

TOKENIZER_SIZE = 4000
"""Pieces of a tokenizer trained from the text of a recipe that does not say how many."""

HUB = "hub"
"""In place of a folder of tasks: the data sets on the Hub."""

AS_PRESET: Any = ()
"""The default of a setting whose None means something: not given. No number is it, and JSON can hold it."""

_SETS = ("afroxlmr", "antc", "masakhaner1", "masakhaner2", "masakhanews", "afrisenti", "masakhapos")


def codes_of(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the ISO 639-3 codes of codes and names of sets, each once.

    Raises:
        ValueError: If a word is neither, the message naming the nearest language, or two words are one language.
    """
    find_languages(word for word in words if word not in _SETS)
    codes = (languages_in(word) if word in _SETS else (find_language(word).iso639_3,) for word in words)
    return tuple(dict.fromkeys(code for group in codes for code in group))


@dataclass(frozen=True, kw_only=True)
class BaseSettings:
    """A pretrained model to start from; nothing is copied."""

    model: str = setting(help="folder of the model with its tokenizer, or its name on the Hub, owner/name", path=True)
    revision: str | None = setting(None, help="commit, tag or branch on the Hub; a commit makes the run repeatable")
    architecture: Architecture | None = setting(
        None, help="its sizes, as declared here, so that a plan can be made before anything is downloaded"
    )


@dataclass(frozen=True)
class TaskSource:
    """Where the data of one task is."""

    folder: str = setting(
        help=f"folder in the form the sets are published in; `{SAMPLE}`, or `{HUB}` for the Hub", path=True
    )
    languages: tuple[str, ...] = setting(help="the languages, in any code", low=1)

    def __post_init__(self) -> None:
        """Check the codes."""
        codes_of(self.languages)


@dataclass(frozen=True, kw_only=True)
class TasksSettings:
    """The tasks a model is judged by; their sentences are taken out of the text."""

    ner: TaskSource | None = setting(None, help="named entities")
    topic: TaskSource | None = setting(None, help="topics of news")
    sentiment: TaskSource | None = setting(None, help="sentiment of tweets")

    def __post_init__(self) -> None:
        """Check that there is a task."""
        if self.ner is self.topic is self.sentiment is None:
            raise ValueError("there is no task; give ner, topic or sentiment a folder and languages")


@dataclass(frozen=True, kw_only=True)
class CorporaSettings:
    """Text, cleaned, freed of evaluation sentences, a part held out."""

    text: str = setting(help=f"folder with one file a language, such as swa.txt, or `{SAMPLE}`", path=True)
    languages: tuple[str, ...] | None = setting(None, help="the languages or sets of languages; all there are", low=1)
    tasks: str | None = setting(None, help="the stage whose evaluation sentences are taken out", reads="tasks")
    held_out_lines: int = setting(200, help="lines held out of each language, a tenth of them at most", low=0)
    min_tokens: int = setting(6, help="shorter lines are dropped, in white-space tokens", low=1)
    nfc: bool = setting(False, help="bring the text to Unicode normal form C")
    drop_duplicates: bool = setting(False, help="drop a line that came before")
    near_duplicates: float | None = setting(
        None, help="drop a line that is so similar to an earlier one, 0.8 as a rule; null keeps them", above=0, high=1
    )
    errors: str = setting(
        "fail",
        help="where text is not UTF-8: fail with file and line, replace by U+FFFD, or skip the line",
        choices=("fail", "replace", "skip"),
    )
    max_lines: int | None = setting(None, help="train on so many lines of a language at most", low=1)
    seed: int = setting(0, help="chooses the lines held out", low=0)

    def __post_init__(self) -> None:
        """Check the codes."""
        codes_of(self.languages or ())


@dataclass(frozen=True, kw_only=True)
class CountSettings:
    """How often each language uses each token."""

    text: str = setting("", help="the stage whose text is counted", reads="text")
    model: str = setting("", help="the stage whose tokenizer counts", reads="model")
    languages: tuple[str, ...] | None = setting(None, help="the languages to serve; all of the text", low=1)

    def __post_init__(self) -> None:
        """Check the codes."""
        codes_of(self.languages or ())


@dataclass(frozen=True, kw_only=True)
class PruneSettings:
    """The vocabulary cut to the tokens the languages use."""

    model: str = setting("", help="the stage whose model is cut", reads="model")
    counts: str = setting("", help="the stage that counted", reads="counts")
    text: str = setting("", help="the stage that held out sentences, to judge the cut by", reads="text")
    budget: int = setting(70_000, help="tokens to keep at most", low=5)
    coverage: float = setting(0.9995, help="share of its running tokens each language keeps", low=0, high=1)
    smoothing: float = setting(0.3, help="exponent of the sizes of the languages for the rest", low=0, high=1)
    strict: bool = setting(False, help="stop where the budget does not allow the coverage")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What all trained stages share; the names are those of transformers.TrainingArguments."""

    text: str = setting("", help="the stage whose text is trained on", reads="text")
    languages: tuple[str, ...] | None = setting(None, help="only these languages of the text", low=1)
    max_steps: int | None = setting(None, help="optimizer steps", low=1)
    num_train_epochs: float | None = setting(None, help="passes over the text, in place of max_steps", above=0)
    learning_rate: float = setting(5e-5, help="the highest", above=0, high=1)
    lr_scheduler_type: str = setting(
        "linear", help="how the rate goes down", choices=("linear", "cosine", "constant", "constant_with_warmup")
    )
    warmup_steps: float = setting(0, help="steps until the rate is reached, or a share of them below 1", low=0)
    per_device_train_batch_size: int = setting(10, help="sequences a device and micro-batch", low=1)
    gradient_accumulation_steps: int = setting(1, help="micro-batches a step", low=1)
    weight_decay: float = setting(0.0, help="of AdamW", low=0, below=1)
    adam_beta1: float = setting(0.9, help="of AdamW", low=0, below=1)
    adam_beta2: float = setting(0.999, help="of AdamW", low=0, below=1)
    adam_epsilon: float = setting(1e-8, help="of AdamW", above=0, below=1)
    max_length: int = setting(512, help="tokens a sequence", low=3)
    packing: bool = setting(True, help="sequences are full, of lines end to end; otherwise a line each")
    language_alpha: float = setting(1.0, help="languages are sampled by n^alpha; 1 as they are", low=0, high=1)
    bf16: bool = setting(False, help="mixed precision with bfloat16")
    save_steps: int = setting(500, help="steps between checkpoints, from which a killed run goes on", low=1)
    seed: int = setting(42, help="decides order, masks and dropout", low=0, high=LARGEST_SEED)
    arguments: dict[str, Any] = setting({}, help="other fields of the trainer's arguments, name: value")

    def __post_init__(self) -> None:
        """Check what concerns several settings."""
        codes_of(self.languages or ())
        if (self.max_steps is None) == (self.num_train_epochs is None):
            raise ValueError("give max_steps or num_train_epochs, one of the two; null takes the other away")
        own = sorted(set(self.arguments) & set(self.__dataclass_fields__))
        if own:
            raise ValueError(f"{own[0]} stands in arguments and is a setting of its own; give it without `arguments`")

    @property
    def tokens_a_step(self) -> int:
        """Tokens an optimizer step on one device, special ones included, where sequences are full."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps * self.max_length


@dataclass(frozen=True, kw_only=True)
class MaftSettings(TrainingSettings):
    """Masked-language-model training that goes on; `fit`, which trains a distilled student's head, is the same."""

    model: str = setting("", help="the stage whose model is trained", reads="model")
    mlm_probability: float = setting(0.15, help="share of the tokens masked", above=0, below=1)


@dataclass(frozen=True, kw_only=True)
class TeacherSettings(TrainingSettings):
    """A small XLM-R trained from scratch."""

    tokenizer: str | None = setting(None, help="folder of a tokenizer; without one it is trained here", path=True)
    tokenizer_size: int | None = setting(
        None,
        help="its pieces: of one trained here, 4000; of one that is given, declared so that a plan knows",
        low=100,
    )
    hidden_size: int = setting(256, help="width of the layers", low=8)
    num_hidden_layers: int = setting(4, help="layers", low=1)
    num_attention_heads: int = setting(4, help="attention heads a layer", low=1)
    intermediate_size: int = setting(1024, help="width inside the feed-forward part", low=8)
    dropout: float = setting(0.0, help="of hidden states and attention", low=0, below=1)
    mlm_probability: float = setting(0.15, help="share of the tokens masked", above=0, below=1)

    def __post_init__(self) -> None:
        """Check what concerns several settings."""
        super().__post_init__()
        self.architecture(TOKENIZER_SIZE)

    def architecture(self, vocab_size: int) -> Architecture:
        """Return the sizes of the teacher with a vocabulary."""
        return Architecture(
            vocab_size=vocab_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=self.intermediate_size,
            max_position_embeddings=self.max_length + 2,
        )


@dataclass(frozen=True, kw_only=True)
class DistillSettings(TrainingSettings):
    """A student that learns a teacher's self-attention relations."""

    teacher: str = setting("", help="the stage whose model teaches", reads="model")
    num_hidden_layers: int = setting(help="layers of the student", low=1)
    hidden_size: int = setting(help="width of the student", low=1)
    num_attention_heads: int | None = setting(None, help="its heads; one for each 64 columns", low=1)
    intermediate_size: int | None = setting(None, help="width inside its feed-forward part; 4 times its own", low=1)
    embedding_size: int | None = setting(None, help="width of a row of its embedding, if factorised", low=1)
    objective: str = setting("minilmv2", help="what is learnt", choices=("minilmv2", "minilm", "hybrid"))
    teacher_layer: int | None = setting(None, help="layer that teaches, from 1; as in the paper", low=1)
    num_relation_heads: int | None = setting(None, help="relation heads; as in the paper", low=1)


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings:
    """What is changed of the preset for one task; the names are those of `hf_afro.evaluation.FineTuningSettings`.

    `null` takes away `patience` and the limits of examples; with any other it stands for what the preset says.
    """

    max_length: int | None = setting(None, help="tokens of an example at most", low=3)
    batch_size: int | None = setting(None, help="examples a step", low=1)
    accumulation: int | None = setting(None, help="parts a step is split into; a divisor of batch_size", low=1)
    epochs: int | None = setting(None, help="passes over the training examples at most", low=1)
    learning_rate: float | None = setting(None, help="the highest", above=0, high=1)
    warmup: float | None = setting(None, help="share of the steps until the rate is reached", low=0, below=1)
    weight_decay: float | None = setting(None, help="of AdamW", low=0, below=1)
    patience: int | None = setting(AS_PRESET, help="epochs without a better score on dev before it ends", low=1)
    max_train: int | None = setting(AS_PRESET, help="training examples at most, drawn once", low=1)
    max_dev: int | None = setting(AS_PRESET, help="the same of dev", low=1)
    max_test: int | None = setting(AS_PRESET, help="the same of test", low=1)

    @property
    def given(self) -> dict[str, Any]:
        """What is changed, by name."""
        values = {field: getattr(self, field.name) for field in fields(self)}
        return {field.name: value for field, value in values.items() if value != field.default}


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Models fine-tuned and measured on tasks, and measured in bits a byte."""

    models: dict[str, str] = setting(help="what each is called in tables, and its stage", low=1, reads="model")
    tasks: str | None = setting(None, help="the stage that has the tasks", reads="tasks")
    text: str | None = setting(None, help="the stage that held out sentences, for bits a byte", reads="text")
    languages: tuple[str, ...] | None = setting(None, help="languages of the bits a byte; all held out", low=1)
    preset: str = setting("paper", help="how models are fine-tuned", choices=("paper", "small"))
    seeds: tuple[int, ...] = setting((1, 2, 3, 4, 5), help="each model is fine-tuned once a seed", low=1)
    save_models: bool = setting(False, help="keep every fine-tuned model, in <model>/models/<task>-<language>-<seed>")
    adaptation: str = setting(
        "full", help="what of the encoder is trained; parts at ten times the rate", choices=ADAPTATIONS
    )
    transfer: tuple[str, ...] | None = setting(None, help="languages to train on, each run measured on all", low=1)
    joint: bool = setting(False, help="train on all languages of a task at once, or on those of transfer")
    efficiency: bool = setting(False, help="measure latency, throughput and memory too")
    ner: FinetuneSettings = setting(FinetuneSettings(), help="what differs from the preset for named entities")
    topic: FinetuneSettings = setting(FinetuneSettings(), help="the same for topics")
    sentiment: FinetuneSettings = setting(FinetuneSettings(), help="the same for sentiment")

    def __post_init__(self) -> None:
        """Check what concerns several settings, and what the preset would refuse."""
        codes_of(self.languages or ())
        codes_of(self.transfer or ())
        if self.tasks is self.text is None:
            raise ValueError("there is nothing to measure; name a stage for tasks, or one for text, or both")
        for name in self.models:
            if not is_folder_name(name):
                raise ValueError(f"models has {name!r}, which becomes a folder; expected letters, digits, - and _")
        check_seeds(self.seeds)
        for task in ("ner", "topic", "sentiment"):
            preset(self.preset, task).replace(**getattr(self, task).given)

    def runs(self, languages: Iterable[Iterable[str]]) -> int:
        """Return how often a model is fine-tuned.

        Args:
            languages: Of each task, by ISO 639-3 code.
        """
        counts = [len(self.trained(own)) for own in languages]
        return len(self.seeds) * sum(min(1, count) if self.joint else count for count in counts)

    def trained(self, languages: Iterable[str]) -> list[str]:
        """Return those languages of a task that are trained on, by ISO 639-3 code."""
        chosen = None if self.transfer is None else codes_of(self.transfer)
        return [code for code in languages if chosen is None or code in chosen]


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """One page with every table and plot."""

    reports: str = setting("", help="the stage that evaluated", reads="reports")
    title: str | None = setting(None, help="of the page; the recipe's name")


@dataclass(frozen=True, kw_only=True)
class CardSettings:
    """The card of a model, every number of it measured."""

    reports: str = setting("", help="the stage that evaluated", reads="reports")
    model: str = setting("", help="the stage whose model the card is of; one of those evaluated", reads="model")
    name: str | None = setting(None, help="what the card calls the model; the recipe's name")
    license: str | None = setting(None, help="of the weights, as the Hub names it, such as mit")
    notice: str = setting("", help="what must stand above everything else")

"""The step `evaluate`: models fine-tuned and scored on tasks, and measured in bits per byte of text."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from tqdm import tqdm
from transformers.hf_argparser import HfArg

from hf_afro.evaluation import (
    FineTuningSettings,
    ParallelText,
    TaskData,
    bits_per_byte_scores,
    evaluate_model,
    preset,
    read_parallel,
)
from hf_afro.evaluation.comparison import difference_tables, kept_tables
from hf_afro.evaluation.data.descriptions import described_files
from hf_afro.evaluation.data.loading import HUB, SAMPLE, check_splits
from hf_afro.evaluation.distillation import LABELS_ONLY, MODELS, clean_unlabelled, is_finetuned
from hf_afro.evaluation.finetuning import check_logit_loss
from hf_afro.evaluation.models import with_own_pooler
from hf_afro.evaluation.perturbation import check_perturbations
from hf_afro.evaluation.presets import OF_BITEXT, OF_PROBES, OF_TEACHER, OF_VECTORS, adapted, check_seeds
from hf_afro.evaluation.runs import check_teachers, forget_runs, has_runs
from hf_afro.families import encoder_of
from hf_afro.files import write_whole
from hf_afro.messages import counted, nearest
from hf_afro.pretrained import load_encoder_config, load_model, load_tokenizer
from hf_afro.reports import EvalReport, Score
from hf_afro.reports.evaluation_report import REPORT_FILE, load_reports
from hf_afro.reports.published_sets import key_of_folder
from hf_afro.reports.tables import format_table
from hf_afro.steps.plans import check_languages
from hf_afro.steps.running import say
from hf_afro.steps.settings import (
    Input,
    Languages,
    Limits,
    NoEffect,
    OptionalLanguages,
    StepConfig,
    Words,
    is_folder_name,
    place_of,
)
from hf_afro.steps.step import Outcome, Plan, Step
from hf_afro.steps.tasks import load_sets
from hf_afro.steps.text import held_out_text, is_prepared, read_text
from hf_afro.students.building import config_with_fewer_layers, empty_model
from hf_afro.tasks import BITEXT, BITS_PER_BYTE, DROP, MEASURED, PERTURBATIONS, TASKS, metrics_of

DESCRIPTION = """\
Fine-tune models on tasks and score them, or measure bits per byte of text or bitext retrieval.

A copy of a model's encoder gets a new head and is fine-tuned for each task, language and seed; the best epoch on dev
is scored on test. The model itself stays as it is.

  hf-afro evaluate adapted --tasks ner --data masakhaner1 --languages swa,yor --seeds 3 --output_dir scores
  hf-afro evaluate adapted --data ner=masakhaner1 topic=masakhanews --output_dir scores
  hf-afro evaluate student=small teacher=adapted --data tasks --output_dir scores
  hf-afro evaluate adapted --tasks ner --data masakhaner1 --transfer swa,yor --output_dir transfer
  hf-afro evaluate adapted --tasks ner --data masakhaner1 --perturb no_diacritics lower_case --output_dir typed
  hf-afro evaluate adapted --tasks bits_per_byte --text held_out --output_dir bits
  hf-afro evaluate embedder --tasks bitext --parallel mafand --prompt "query: " --output_dir bitext
  hf-afro evaluate embedder --tasks topic --data masakhanews --adaptation probe --output_dir probes
  hf-afro evaluate small --teacher adapted --unlabelled news --tasks ner --data masakhaner1 --output_dir distilled
  hf-afro evaluate --teacher adapted --student_layers 6 --unlabelled news --tasks ner --data masakhaner1 \\
      --output_dir distilled

--teacher distils on the task: the teacher is fine-tuned, and each student learns from the labels and the teacher's
logits, and on --unlabelled text from its logits alone, without the sentences that are evaluated on. The same student
from labels alone is measured beside it, as NAME-labels.

--data is a folder with one folder per language, as the sets are published: swa/train.txt, dev.txt and test.txt with
one token and its tag per line for ner (MasakhaNER) and pos (MasakhaPOS); swa/train.tsv, dev.tsv and test.tsv for topic
(MasakhaNEWS, ANTC), sentiment (AfriSenti), hate (AfriHate) and nli (AfriXNLI); or a copy of the repository of BRIGHTER
(emotion), SemRel (relatedness) or INJONGO (intent, slots). It may also be a set's description in YAML, a
folder of such sets, as in data/ner/masakhaner1, or the output of `hf-afro tasks`; TASK=FOLDER names one per task, and
--tasks can then be left out.

--parallel is a folder with one folder per language and two files of as many lines: swa/test.swa and swa/test.en. The
vector of each sentence is compared with those of all translations: accuracy at 1 is the share whose own translation
is the nearest. --adaptation probe fits a logistic regression on such vectors, for which each text is read once.
Vectors are made as the modules of a sentence-transformers folder say, and otherwise are the mean over the tokens.

--perturb measures the same fine-tuned models on test text without the marks on its Latin letters, or in lower case,
and shows by how much the score falls.

The settings of fine-tuning replace those of the preset for every task. An interrupted run resumes with the languages
and seeds that are missing when the same command is repeated; --processes may differ.

Output: evaluation_report.json, which `EvalReport.load` reads, and predictions/ with the correct and predicted labels
of every test example. Several models, or one given as NAME=MODEL, get one folder per model.
"""
MOST_SEEDS = 100
NAMES_FILE = "models.json"


@dataclass(frozen=True, kw_only=True)
class Config(StepConfig):
    """The models, the data, and how models are fine-tuned."""

    models: Annotated[list[str], Input("model", is_model=True, must_exist=False)] = HfArg(
        default_factory=list,
        aliases=["--model"],
        help="folders of models with their tokenizers, or names on the Hub; NAME=MODEL is called NAME in tables",
    )
    tasks: Annotated[list[str] | None, Words()] = HfArg(
        default=None,
        aliases=["--task"],
        help=f"what is measured: {', '.join((*TASKS, *MEASURED))}; by default all that --data has, "
        f"{BITS_PER_BYTE} if there is text, and {BITEXT} if there is parallel text",
    )
    data: Annotated[list[str] | None, Input("tasks", must_exist=False, default=True, files=described_files)] = HfArg(
        default=None,
        help="for the tasks: [TASK=]FOLDER with one folder per language, or the output of `hf-afro tasks`",
    )
    text: Annotated[str | None, Input("text")] = HfArg(
        default=None, help=f"for {BITS_PER_BYTE}: folder with one file per language, or prepared text"
    )
    parallel: Annotated[str | None, Input()] = HfArg(
        default=None,
        help=f"for {BITEXT}: folder with one folder per language, such as swa/test.swa and its translation test.en",
    )
    languages: OptionalLanguages = HfArg(default=None, help="only these languages; by default all")
    errors: Literal["fail", "replace", "skip"] = HfArg(
        default="fail", help="if text is not UTF-8: stop with its file and line, insert U+FFFD, or skip the line"
    )
    preset: Literal["paper", "small"] = HfArg(
        default="paper", help="how models are fine-tuned: as in the papers, or small, for CPUs"
    )
    seeds: list[int] = HfArg(
        default_factory=lambda: [5], help="one run per seed, as in 1 2 3; a single number is how many, counted from 1"
    )
    transfer: Annotated[list[str] | None, Languages(or_all=True)] = HfArg(
        default=None,
        help="train on these languages only, and measure each run on all; `all` trains on each. Languages that are "
        "not trained on need only a test split",
    )
    joint: bool = HfArg(
        default=False,
        help="train on all languages of a task at once, or on those of transfer; each is measured separately",
    )
    teacher: Annotated[str | None, Input("model", or_gives="reports", is_model=True, must_exist=False)] = HfArg(
        default=None,
        help="distil each model on the tasks from this one: an encoder, which is fine-tuned first; a fine-tuned "
        "model; or the output of `hf-afro evaluate --save_models`",
    )
    student_layers: Annotated[int | None, Limits(low=1)] = HfArg(
        default=None, help="with teacher, in place of models: start from this many evenly spaced layers of it"
    )
    unlabelled: Annotated[str | None, Input("text")] = HfArg(
        default=None, help="with teacher: text that it labels, a folder with one file per language or prepared text"
    )
    perturb: Annotated[list[str] | None, Words()] = HfArg(
        default=None,
        help="also measure on changed test text, and show by how much the score falls: "
        f"{', '.join(PERTURBATIONS)} (no_diacritics leaves scripts other than Latin as they are)",
    )
    efficiency: bool = HfArg(default=False, help="measure latency, throughput and memory on the test's own sentences")
    processes: Annotated[int, Limits(low=1), NoEffect()] = HfArg(
        default=1, help="runs at a time; each gets its share of threads, or a GPU"
    )
    save_models: bool = HfArg(
        default=False, help="keep every fine-tuned model, in models/<task>-<language>-<seed>, ready for pipeline()"
    )
    name: str | None = HfArg(default=None, help="name of a single model in the report; by default that of its folder")
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check settings against each other."""
        super().__post_init__()
        for task in self.tasks or ():
            if task not in (*TASKS, *MEASURED):
                raise ValueError(f"--tasks has {task!r}; {nearest(task, (*TASKS, *MEASURED), every=True)}")
        check_perturbations(self.perturb or ())
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"--seeds {' '.join(map(str, self.seeds))}: give each seed once")
        check_seeds(seeds_of(self.seeds))
        if len(self.named_models) < len(self.models):
            raise ValueError(f"--models {' '.join(self.models)}: two have the same name; give each as NAME=MODEL")
        if self.teacher is None and (
            alone := [name for name in ("student_layers", "unlabelled") if getattr(self, name)]
        ):
            raise ValueError(f"--{alone[0]} needs --teacher, the model to learn from")
        if self.teacher is None and not self.models:
            raise ValueError("--models is missing; expected folders of models, or names on the Hub")
        if self.teacher is not None and bool(self.models) == (self.student_layers is not None):
            raise ValueError("with --teacher expected either --models, the students, or --student_layers")
        if len(set(self.shown_names)) < len(self.shown_names):
            raise ValueError(f"two reports would have one name, of {', '.join(self.shown_names)}; use NAME=MODEL")

    @property
    def named_models(self) -> dict[str, str]:
        """The models by the names of their reports."""
        return {
            (word.partition("=")[0] if place_of(word) != word else self.name or Path(word).name): place_of(word)
            for word in self.models
        }

    @property
    def teacher_name(self) -> str:
        """The name of the teacher's report."""
        return "" if self.teacher is None else Path(self.teacher).name or Path(self.teacher).resolve().name

    @property
    def students(self) -> dict[str, str | None]:
        """The students by the names of their reports; None stands for the teacher's own layers."""
        if self.student_layers is not None:
            return {self.name or f"{self.teacher_name}-{self.student_layers}-layers": None}
        return dict(self.named_models)

    @property
    def shown_names(self) -> list[str]:
        """The names in the reports: they are part of the result, and a model is called after its folder by default."""
        if self.teacher is None:
            return list(self.named_models)
        return [*(name for own in self.students for name in (own, f"{own}{LABELS_ONLY}")), self.teacher_name]

    @property
    def in_own_folders(self) -> bool:
        """Whether each report has a folder of its own: of several models, or one given as ``NAME=MODEL``."""
        return len(self.models) != 1 or self.teacher is not None or place_of(self.models[0]) != self.models[0]

    @property
    def trained_tasks(self) -> list[str] | None:
        """The tasks that are fine-tuned on; None for all that the data has."""
        return None if self.tasks is None else [task for task in dict.fromkeys(self.tasks) if task not in MEASURED]

    @property
    def measures_bits(self) -> bool:
        """Whether bits per byte are measured."""
        return self.text is not None if self.tasks is None else BITS_PER_BYTE in self.tasks

    @property
    def measures_bitext(self) -> bool:
        """Whether bitext retrieval is measured."""
        return self.parallel is not None if self.tasks is None else BITEXT in self.tasks


def check(config: Config) -> None:
    """Refuse settings that do not go together.

    Raises:
        ValueError: If so; the message says what is expected.
    """
    trains = config.data is not None if config.tasks is None else bool(config.trained_tasks)
    tasks = ",".join(config.tasks or ())
    if trains and config.data is None:
        raise ValueError(f"--tasks {tasks} needs --data FOLDER")
    if config.measures_bits and config.text is None:
        raise ValueError(f"--tasks {BITS_PER_BYTE} needs --text FOLDER")
    if config.measures_bitext and config.parallel is None:
        raise ValueError(f"--tasks {BITEXT} needs --parallel FOLDER")
    if not (trains or config.measures_bits or config.measures_bitext):
        raise ValueError("there is nothing to measure; expected --data with tasks, --text or --parallel, or several")
    reads = {"data": trains, "text": config.measures_bits, "parallel": config.measures_bitext}
    for name in [name for name, read in reads.items() if not read and getattr(config, name) is not None]:
        others = " and ".join(f"--{other}" for other, read in reads.items() if read)
        raise ValueError(f"--tasks {tasks} reads {others}; leave --{name} out")
    if not config.measures_bits and config.unlabelled is None and config.errors != "fail":
        raise ValueError(f"--errors {config.errors} is for --text and --unlabelled; leave it out, and repair --data")
    _check_training(config, trains=trains)


def _check_training(config: Config, *, trains: bool) -> None:
    """Refuse settings of training where nothing is trained, and names of models that cannot be folders."""
    flags = ("save_models", "transfer", "joint", "efficiency", "teacher", "perturb")
    given = [name for name in (*flags, *config.arguments) if getattr(config, name, True)]
    allowed = OF_BITEXT if config.measures_bitext else ()
    idle = " ".join(f"--{name}" for name in given if name not in allowed)
    if not trains and idle:
        raise ValueError(f"--tasks {','.join(config.tasks or MEASURED)} trains nothing; leave {idle} out")
    probes = config.arguments.get("adaptation") == "probe"
    idle = " ".join(f"--{name}" for name in config.arguments if name not in (*OF_PROBES, *allowed))
    if probes and idle:
        raise ValueError(f"--adaptation probe has no {idle}; leave it out")
    idle = " ".join(f"--{name}" for name in OF_VECTORS if name in config.arguments)
    if idle and not probes and not config.measures_bitext:
        raise ValueError(f"{idle} is for --adaptation probe and --tasks {BITEXT}; leave it out")
    idle = " ".join(f"--{name}" for name in OF_TEACHER if name in config.arguments)
    if idle and config.teacher is None:
        raise ValueError(f"{idle} needs --teacher, the model to learn from")
    if config.teacher is not None and probes:
        raise ValueError("--adaptation probe does not train the encoder, so it cannot learn from --teacher")
    if config.teacher is not None and (config.measures_bits or config.measures_bitext):
        raise ValueError("--teacher is for tasks that models are trained on; measure all else in a run of its own")
    for name in config.shown_names if config.in_own_folders else ():
        if not is_folder_name(name):
            raise ValueError(f"--models has {name!r}, which becomes a folder; expected letters, digits, -, _ and .")


def can_resume(folder: Path) -> bool:
    """Tell whether a folder holds a finished fine-tuning run or a report."""
    if has_runs(folder):
        return True
    below = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return any(has_runs(path) or (path / REPORT_FILE).is_file() for path in below)


def run(config: Config, folder: Path) -> Outcome:
    """Load, fine-tune, score and write one model after the other.

    Raises:
        ValueError: If model and data do not fit.
    """
    check(config)
    for model in config.named_models.values():
        load_encoder_config(model)
    finetuned = config.teacher is not None and is_finetuned(config.teacher)
    transfer = _sources_of(config)
    data, parallel = _data_of(config, transfer), _parallel_of(config)
    there = sorted({one.language for one in data})
    if missing := [code for code in transfer or () if code not in there]:
        raise ValueError(
            f"--transfer names {', '.join(missing)}, and the data is in {', '.join(there)}; --languages names those "
            "to train on and those to measure on"
        )
    sources = transfer if transfer != [] else there

    def evaluated(name: str, model: str | None, **more: Any) -> EvalReport:
        own = folder / name if config.in_own_folders else folder
        if (own / REPORT_FILE).is_file():  # of an earlier run that was interrupted
            forget_runs(own)
            return EvalReport.load(own)
        return _evaluate(config, name, model, data, parallel, sources, own, **more)

    if config.teacher is None:
        reports = {name: evaluated(name, model) for name, model in config.named_models.items()}
    else:
        if finetuned:
            _check_finetuned(config, data, sources)
        reports = _distilled(config, folder, data, None if finetuned else config.teacher, evaluated)
    if config.in_own_folders:
        write_whole(folder / NAMES_FILE, json.dumps(list(reports)) + "\n")
    text = "\n".join(
        f"{name}\n{show(report)}" if len(reports) > 1 else show(report) for name, report in reports.items()
    )
    if config.teacher is not None:
        places = [*(folder / name for name in reports), *_report_of(config.teacher)]
        loaded = load_reports(list(map(str, places)))
        text = "\n\n".join(map(str, [text, *kept_tables(loaded), *difference_tables(loaded)]))
    facts = {"models": len(reports), "sets": len(data), "seeds": len(seeds_of(config.seeds))}
    return Outcome(facts, text)


def _report_of(teacher: str) -> list[Path]:
    """Return the folder of a teacher that was evaluated before, if it was."""
    return [Path(teacher)] if (Path(teacher) / REPORT_FILE).is_file() else []


def _check_finetuned(config: Config, data: Sequence[TaskData], sources: Sequence[str] | None) -> None:
    """Refuse a fine-tuned teacher that lacks a run, has other labels, or is called like a student."""
    assert config.teacher is not None
    check_teachers(config.teacher, data, seeds_of(config.seeds), transfer=sources, joint=config.joint)
    if any((name := EvalReport.load(place).name) in config.shown_names[:-1] for place in _report_of(config.teacher)):
        raise ValueError(f"teacher and student are both called {name}; give the student as NAME=MODEL")


def _distilled(
    config: Config,
    folder: Path,
    data: Sequence[TaskData],
    teacher: str | None,
    evaluated: Callable[..., EvalReport],
) -> dict[str, EvalReport]:
    """Return the reports of each student from labels alone and distilled, and of the teacher if it is tuned here."""
    source: Any = config.teacher
    reports: dict[str, EvalReport] = {}
    # What is wrong with the text or the sizes is found before the teacher is fine-tuned.
    for task, settings in _settings_of(config, data).items():
        if task != BITEXT:
            check_logit_loss(task, settings)
    unlabelled = None
    if config.unlabelled is not None:
        unlabelled = clean_unlabelled(read_text(config.unlabelled, config.languages, config.errors), data)
    if teacher is not None:
        depth = load_encoder_config(teacher).num_hidden_layers
        if (config.student_layers or 0) > depth:
            raise ValueError(f"--student_layers {config.student_layers}; --teacher {teacher} has {depth} layers")
        source = folder / config.teacher_name
        reports[config.teacher_name] = evaluated(config.teacher_name, teacher, save_models=True)
        _warn_of_collapse(reports[config.teacher_name], config.teacher_name)
    else:
        for place in _report_of(source):
            _warn_of_collapse(EvalReport.load(place), config.teacher_name)
    for name, model in config.students.items():
        start = {"teacher": source, "student_layers": config.student_layers} if model is None else {}
        alone = f"{name}{LABELS_ONLY}"
        reports[alone] = evaluated(alone, model, logit_weight=0.0, **start)
        own: dict[str, Any] = {**start, "teacher": source, "unlabelled": unlabelled}
        reports[name] = evaluated(name, model, **own)
    if teacher is not None and not config.save_models:
        shutil.rmtree(folder / config.teacher_name / MODELS, ignore_errors=True)
    return {name: reports[name] for name in config.shown_names if name in reports}


def _warn_of_collapse(teacher: EvalReport, name: str) -> None:
    """Warn of a teacher that gives one answer to everything, before its students take their time."""
    for score in teacher.scores:
        if score.collapsed and score.metric == metrics_of(score.task)[0]:
            say(
                f"the teacher {name} learnt nothing of {score.task} in {score.language} and will teach nothing there: "
                f"{score.note}; try another --learning_rate, or more --epochs"
            )


def _evaluate(
    config: Config,
    name: str,
    model: str | None,
    data: list[TaskData],
    parallel: list[ParallelText],
    transfer: list[str] | None,
    folder: Path,
    *,
    save_models: bool = False,
    logit_weight: float | None = None,
    **distillation: Any,
) -> EvalReport:
    encoder = tokenizer = None
    if model is not None:
        tokenizer = load_tokenizer(model)
        encoder = with_own_pooler(load_model(model, dtype=torch.float32), model)
    names = (
        *("tasks", "data", "text", "parallel", "languages", "errors", "preset", "seeds"),
        *("transfer", "joint", "perturb"),
    )
    asked = {key: value for key in (*names, "arguments") if (value := getattr(config, key)) not in (None, False, {})}
    settings = _settings_of(config, data)
    if logit_weight is not None:
        settings = {task: own.replace(logit_weight=logit_weight) for task, own in settings.items()}
    with _told_runs(f"{name}: " if config.in_own_folders else "") as tell:
        return evaluate_model(
            encoder,
            tokenizer,
            data,
            name=name,
            output_dir=folder,
            settings=settings,
            seeds=seeds_of(config.seeds),
            parallel=parallel,
            extra_scores=_bits_per_byte(config, encoder, tokenizer) if config.measures_bits else (),
            provenance={"model": model or config.teacher, "command": "hf-afro evaluate", "arguments": asked},
            model_folder=model,
            save_models=save_models or config.save_models,
            transfer=transfer,
            joint=config.joint,
            perturb=config.perturb or (),
            efficiency=config.efficiency and bool(data),
            processes=config.processes,
            on_run=tell,
            **distillation,
        )


def _data_of(config: Config, transfer: list[str] | None) -> list[TaskData]:
    if config.data is None or config.trained_tasks == []:
        return []
    return load_sets(config.trained_tasks, config.data, config.languages, transfer)


def _parallel_of(config: Config) -> list[ParallelText]:
    if not config.measures_bitext:
        return []
    texts = read_parallel(config.parallel or "", config.languages)
    for text in texts:
        for what, count in text.left_out.items():
            say(f"{text.dataset}: {what}, left out: {count}")
    return texts


def _settings_of(config: Config, data: Sequence[TaskData]) -> dict[str, FineTuningSettings]:
    """Return the preset's settings of each task, with those that were given in place of its own."""
    adaptation = config.arguments.get("adaptation", "full")
    chosen = {
        one.task: adapted(preset(config.preset, one.task, one.dataset), adaptation).replace(**config.arguments)
        for one in data
    }
    of_bitext = {name: value for name, value in config.arguments.items() if name in OF_BITEXT}
    return {**chosen, BITEXT: preset(config.preset, BITEXT).replace(**of_bitext)}


def seeds_of(given: Sequence[int]) -> list[int]:
    """Return the seeds that were given; a single number N stands for the seeds 1 to N.

    Raises:
        ValueError: If N is so large that a seed must have been meant.
    """
    if len(given) > 1 or given[0] < 1:
        return list(given)
    if given[0] > MOST_SEEDS:
        raise ValueError(
            f"--seeds {given[0]} asks for that many runs of each set; expected at most {MOST_SEEDS}, or several seeds"
        )
    return list(range(1, given[0] + 1))


def _sources_of(config: Config) -> list[str] | None:
    """Return the languages to train on, none for all there are, None where each is trained and measured alone."""
    if config.transfer is None:
        return None
    return [] if config.transfer == ["all"] else config.transfer


def _bits_per_byte(config: Config, encoder: Any, tokenizer: Any) -> tuple[Score, ...]:
    assert config.text is not None
    if is_prepared(config.text):
        sentences = held_out_text(config.text, config.languages)
        if not sentences:
            raise ValueError(f"--text {config.text} holds no lines out; prepare it with --eval_lines of 1 or more")
        if missing := [code for code in config.languages or () if code not in sentences]:
            say(f"{config.text} holds no lines out in {', '.join(missing)}")
        return bits_per_byte_scores(encoder, tokenizer, sentences)
    texts = read_text(config.text, config.languages, config.errors)
    sentences = {language: [line for line in text if line.strip()] for language, text in texts.items()}
    return bits_per_byte_scores(encoder, tokenizer, sentences, dataset=key_of_folder(config.text))


@contextmanager
def _told_runs(model: str = "") -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that reports progress: one bar for all runs on a terminal, one line per run elsewhere.

    Args:
        model: Written before each run, if there are several models.
    """
    if not sys.stdout.isatty():
        yield lambda what, done, total: say(f"{done} of {total}: {model}{what}")
        return
    with tqdm(file=sys.stdout, bar_format="{bar:30} {n_fmt} of {total_fmt}: {desc}") as bar:

        def tell(what: str, done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.set_description_str(f"{model}{what}")

        yield tell


def show(report: EvalReport) -> str:
    """Return the tables: one row per language, their mean, the interval, and what collapsed; F1 in percent."""
    parts: list[str] = []
    tasks = list(dict.fromkeys(score.task for score in report.scores))
    for task in tasks:
        if len(tasks) > 1:
            parts.append(f"\n{task}")
        for codes in dict.fromkeys(score.together for score in report.select(task=task) if score.together):
            parts.append(f"trained jointly on {', '.join(codes)}")
        parts.append(_task_table(report, task))
        if collapsed := [score for score in report.select(task=task) if score.collapsed]:
            parts.append(
                "a probe that collapsed finds nothing in the encoder's vectors: try --adaptation full"
                if report.is_probe(task, collapsed[0].language)
                else "a run that collapsed learnt nothing: try another --learning_rate, or more --epochs"
            )
        parts += _drop_parts(report, task)
    for task in dict.fromkeys(score.task for score in report.transfer):
        parts += _transfer_parts(report, task)
    if (told := report.provenance.get("distillation", {})).get("evaluation_sentences"):
        parts.append(
            f"\nunlabelled text: at most {told['unlabelled_lines']:,} lines per model; "
            f"{told['evaluation_lines_dropped']:,} lines contained one of {told['evaluation_sentences']:,} evaluation "
            "sentences and were left out"
        )
    if "latency_ms" in report.model:
        parts.append(
            f"\n{report.model['latency_ms']:.1f} ms per sentence alone, {report.model['sentences_per_second']:.1f} "
            f"sentences per second in batches of 32 ({report.model['measured_device']}, "
            f"{counted(report.model['measured_threads'], 'thread')})"
        )
    return "\n".join(parts)


def _task_table(report: EvalReport, task: str) -> str:
    metrics = metrics_of(task)
    scale = 1 if task == BITS_PER_BYTE else 100
    first = report.select(task=task, metric=metrics[0])
    rows: list[list[object]] = []
    for score in first:
        by_metric = {other.metric: other for other in report.select(task=task, language=score.language)}
        spread = None if score.spread is None else scale * score.spread
        means = (scale * by_metric[metric].mean for metric in metrics)
        sound = score.sound_mean
        note = score.note if sound is None else f"{score.note}; {100 * sound:.2f} without"
        rows.append([score.language, score.n, *means, spread, _percent(score.interval), note])
    if len(first) > 1:
        every = (report.mean(task, metric) for metric in metrics)
        note = "includes collapsed runs" if any(score.collapsed for score in first) else ""
        rows.append(["mean", None, *(None if mean is None else scale * mean for mean in every), None, "", note])
    counted = MEASURED[task].counted if task in MEASURED else "examples"
    header = ["language", counted, *metrics, "spread", "95 %", ""]
    return format_table(header, rows)


def _drop_parts(report: EvalReport, task: str) -> list[str]:
    """Return by how much the main metric falls on changed test text: one row per language and change."""
    metric = f"{metrics_of(task)[0]}{DROP}"
    scores = [score for score in report.select(task=task) if score.metric.startswith(metric)]
    rows: list[list[object]] = [
        [score.language, score.metric.removeprefix(metric), 100 * score.mean, _percent(score.interval), score.note]
        for score in scores
    ]
    title = f"\n{metrics_of(task)[0]} lost on changed test text"
    return [title, format_table(["language", "changed", "lost", "95 %", ""], rows)] if rows else []


def _percent(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def _transfer_parts(report: EvalReport, task: str) -> list[str]:
    """Return one row per language trained on, one column per language measured on, by the main metric."""
    metric = metrics_of(task)[0]
    scores = [score for score in report.transfer if (score.task, score.metric) == (task, metric)]
    own = {(score.trained_on, score.language): score for score in report.select(task=task, metric=metric)}
    cells = {**own, **{(score.source, score.language): score for score in scores}}
    sources = sorted({score.source for score in scores})
    targets = sorted({language for _, language in cells})
    rows: list[list[object]] = [
        [source, *(100 * cells[source, target].mean if (source, target) in cells else None for target in targets)]
        for source in sources
    ]
    return [
        f"\n{task}, {metric}: trained on the languages of the row, measured on that of the column",
        format_table(["trained on", *targets], rows),
        *(f"{score.source} to {score.language}: {score.note}" for score in scores if score.note),
    ]


def _check_splits(trained: Mapping[str, Sequence[str]], places: Mapping[str, str]) -> None:
    """Refuse languages to train on that lack a split; the step `tasks` only checks the test split."""
    for task, codes in trained.items():
        own = places[task] not in (SAMPLE, HUB) and Path(places[task]).exists()
        for code in codes if own else ():
            check_splits(task, places[task], code)


def plan(config: Config, inputs: Mapping[str, Plan]) -> Plan:
    """Return the number of models and fine-tuning runs, and the size of a new student without its head, if known.

    Raises:
        ValueError: If the text, the sets or the fine-tuned models of earlier stages lack what is asked for.
    """
    seeds = len(seeds_of(config.seeds))
    measured = len(config.named_models) if config.teacher is None else len(config.shown_names)
    taught = inputs.get("teacher", Plan())
    if taught.evaluation is not None:
        measured -= 1  # an earlier stage has measured the teacher
        _check_teachers_of_stage(config, taught.evaluation)
    notes, sizes = [counted(measured, "model")], {}
    teacher = taught.model
    if teacher is not None and config.student_layers is not None:
        if config.student_layers > teacher.num_hidden_layers:
            raise ValueError(f"student_layers is {config.student_layers}; the teacher has {teacher.num_hidden_layers}")
        student = empty_model(config_with_fewer_layers(teacher, config.student_layers))
        sizes = {"vocabulary": teacher.vocab_size, "parameters": encoder_of(student).num_parameters()}
        notes.append(f"the student has {counted(config.student_layers, 'layer')}")
    sets = {
        task: [code for code in codes if config.languages is None or code in config.languages]
        for task, codes in (inputs["data"].sets if "data" in inputs else {}).items()
        if config.tasks is None or task in config.tasks
    }
    if sets:
        sources = _sources_of(config)
        if missing := set(sources or ()) - {code for codes in sets.values() for code in codes}:
            raise ValueError(f"transfer names {', '.join(sorted(missing))}, but no task is in that language")
        trained = {task: [one for one in codes if not sources or one in sources] for task, codes in sets.items()}
        _check_splits(trained, inputs["data"].places)
        if config.joint and any(len(codes) == 1 for codes in trained.values()):
            raise ValueError("joint trains on several languages at once, and a task has only one; leave it out")
        runs = seeds * measured * sum(min(1, len(codes)) if config.joint else len(codes) for codes in trained.values())
        all_sets = counted(sum(map(len, sets.values())), "set")
        notes.append(f"{all_sets}, {counted(seeds, 'seed')}: {counted(runs, 'run')}")
    if config.measures_bits:
        text = inputs.get("text", Plan())
        check_languages(config.languages, text)
        if not text.held_out:
            raise ValueError(
                f"text is {config.text!r}, which holds no lines out (eval_lines is 0) to measure {BITS_PER_BYTE} on; "
                "expected 1 or more, or no text"
            )
        notes.append("bits per byte")
    if config.measures_bitext:
        notes.append("bitext retrieval")
    return Plan(", ".join(notes), evaluation=config, **sizes)


def _check_teachers_of_stage(config: Config, earlier: Config) -> None:
    """Refuse an evaluation in an earlier stage that will not hold a fine-tuned teacher for every run."""
    stage = f"teacher is {config.teacher!r}, a stage"
    if earlier.in_own_folders:
        raise ValueError(f"{stage} with a folder per model; give it one model without a name, as in `models: prune`")
    if not earlier.save_models:
        raise ValueError(f"{stage} that keeps no models; set its save_models to true")
    if missing := sorted(set(seeds_of(config.seeds)) - set(seeds_of(earlier.seeds))):
        raise ValueError(f"{stage} without seed {', '.join(map(str, missing))}; give both stages the same seeds")
    if config.joint != earlier.joint:
        raise ValueError(f"{stage} where joint is {str(earlier.joint).lower()}; give both stages the same")


STEP = Step(
    name="evaluate",
    description=DESCRIPTION,
    config=Config,
    arguments=FineTuningSettings,
    run=run,
    gives="reports",
    positional="models",
    check=check,
    can_resume=can_resume,
    plan=plan,
)

"""Command lines and files become the same settings, and refuse the same mistakes with the nearest right name."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from transformers.hf_argparser import HfArg

from hf_afro.steps import SUMMARIES, step_named
from hf_afro.steps.parsing import SettingError, StepParser, compose, pairs_of, read_config, settings_of
from hf_afro.steps.settings import Limits, OptionalLanguages, StepConfig
from hf_afro.steps.step import Step
from hf_afro.training import MAFTTrainingArguments


@dataclass(frozen=True, kw_only=True)
class Config(StepConfig):
    """One field of each kind, with a trainer's arguments."""

    model: str = HfArg(help="folder")
    reports: list[str] | None = HfArg(default=None, help="several")
    lines: Annotated[int | None, Limits(low=1)] = HfArg(default=200, help="lines")
    student: str | None = HfArg(default=None, help="sizes")
    languages: OptionalLanguages = HfArg(default=None, help="languages")
    seeds: list[int] = HfArg(default_factory=lambda: [5], help="seeds")
    nfc: bool = HfArg(default=False, help="normalise")
    arguments: dict[str, Any] = field(default_factory=dict)


STEP = Step(
    name="small",
    description="Write.",
    config=Config,
    arguments=MAFTTrainingArguments,
    run=lambda config, folder: None,
    positional="reports",
)


@pytest.fixture(scope="module")
def parser() -> StepParser:
    return StepParser(STEP, prog="hf-afro small")


@pytest.fixture
def from_file(parser, tmp_path):
    """Settings of a file's lines, and of words that come after them."""

    def parse(lines: str, words: str = "") -> Config:
        path = tmp_path / "s.yaml"
        path.write_text(lines, "utf-8")
        return parser.parse(words.split(), read_config(str(path), parser))

    return parse


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_step_has_its_summary_and_its_parser_builds(name, capsys):
    step = step_named(name)
    assert step.name == name
    assert step.description.splitlines()[0] == SUMMARIES[name]
    assert f"hf-afro {name} " in step.description
    parser = StepParser(step, prog=f"hf-afro {name}")
    with pytest.raises(SystemExit) as left:
        parser.parse(["--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    for one in dataclasses.fields(step.config):
        assert f"--{one.name}" in shown or one.name == "arguments", one.name
        assert one.name == "arguments" or one.metadata["help"], one.name
    assert "--arguments" not in shown
    assert ("Every field of transformers.TrainingArguments" in shown) == step.trains
    assert not step.trains or "--max_length" in shown
    assert "--ddp_backend" not in shown
    assert "--no-checkpoints" not in shown  # which is the same as --no_checkpoints


def test_every_field_is_a_setting(parser):
    words = "--model m --learning_rate 3e-5 --max_length=128 --no_packing --use_cpu --language-alpha 0.3 --nfc"
    config = parser.parse(words.split())
    assert (config.model, config.nfc, config.lines) == ("m", True, 200)
    assert config.arguments == {
        "learning_rate": 3e-5,
        "max_length": 128,
        "packing": False,
        "use_cpu": True,
        "language_alpha": 0.3,
    }


def test_values_that_lead_are_those_of_the_positional_setting(parser):
    assert parser.parse("a b --model m".split()).reports == ["a", "b"]
    assert parser.parse("a b --model m".split(), ()).seeds == [5]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "the following arguments are required: --model"),
        ("--modle m", "required: --model; unknown setting --modle of small; did you mean 'model'"),
        ("--model m --lerning_rate 3e-5", "unknown setting --lerning_rate of small; did you mean 'learning_rate'"),
        ("--model m --learning_rat=3e-5", "did you mean 'learning_rate'"),
        ("--model m --learning 3e-5", "unknown setting --learning"),
        ("--model m --no_packin", "did you mean 'packing'"),
        ("--model m --arguments a", "unknown setting --arguments of small"),
        ("--model m --line 20", "did you mean 'lines'"),
        ("--model m --seeds 1 --nfc true text", "'text' stands alone; expected --name value"),
        ("--model m --lines many", "--lines: expected a whole number, received 'many'"),
        ("--model m --learning_rate much", "--learning_rate: expected a number, received 'much'"),
        ("--model m --lines", "--lines: expected one argument"),
        ("--model m --lines 0", "lines is 0; expected at least 1"),
        ("--model m --mlm_probability 2", r"mlm_probability=2.0 is outside \(0, 1\)"),
        ("--model m --eval_strategy sometimes", "--eval_strategy: invalid choice: 'sometimes'"),
        ("--model m --nfc perhaps", "--nfc: Truthy value expected"),
    ],
)
def test_what_cannot_be_is_refused_with_the_nearest(parser, words, message):
    with pytest.raises(SettingError, match=message) as caught:
        parser.parse(words.split())
    assert "/--" not in str(caught.value)


def test_none_leaves_numbers_and_lists_open_and_is_a_word_elsewhere(parser, from_file):
    for words in ("--lines none --languages None", "--lines=none --languages=none"):
        config = parser.parse(["--model", "none", *words.split(), "--student", "none"])
        assert (config.lines, config.languages) == (None, None)
        assert (config.model, config.student) == ("none", "none")
    assert parser.parse("--model m --lines none --lines 3".split()).lines == 3
    assert parser.parse("--model m --lines 3 --lines none".split()).lines is None
    assert from_file("model: m\nlines: null\n").lines is None
    assert from_file("model: m\nlines: ~\n", "--lines 3").lines == 3
    assert from_file("model: m\nlines: 3\n", "--lines none").lines is None
    assert from_file("model: m\nstudent:\n").student is None  # which is its default


def test_a_file_gives_what_a_command_line_gives(parser, from_file):
    lines = """\
model: m
reports: [a, b]
student: {layers: 6, hidden_size: 384}
languages: [sw, yor]
seeds: [1, 2]
nfc: yes
packing: false
learning_rate: 1e-3
lr_scheduler_kwargs: {min_lr: 1.0e-6}
"""
    words = "a b --model m --student layers=6,hidden_size=384 --languages sw yor --seeds 1 2 --nfc --packing false"
    given = [*words.split(), "--learning_rate", "1e-3", "--lr_scheduler_kwargs", '{"min_lr": 1e-06}']
    assert from_file(lines) == parser.parse(given)
    assert from_file("model: no\n").model == "no"  # Norwegian, and no truth
    assert from_file("", "--model m") == parser.parse(["--model", "m"])


def test_the_command_line_replaces_what_a_file_says(from_file):
    lines = "model: m\nreports: [a, b]\nlines: 7\nmax_length: 64\npacking: true\n"
    config = from_file(lines, "c --lines 8 --max-length=32 --no_packing")
    assert (config.model, config.reports, config.lines) == ("m", ["c"], 8)
    assert config.arguments == {"max_length": 32, "packing": False}
    assert from_file(lines).reports == ["a", "b"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("model: m\nmdl: x\n", r"s\.yaml, line 2: unknown setting --mdl of small; did you mean 'model'"),
        ("model: m\n\nlines: many\n", r"s\.yaml, line 3: --lines: expected a whole number, received 'many'"),
        ("lines: 0\nmodel: m\n", r"s\.yaml, line 1: lines is 0; expected at least 1"),
        ("lines: 0\n", r"s\.yaml, line 1: lines is 0"),  # that the model is missing comes second
        ("model: m\nlanguages: swaa\n", r"s\.yaml, line 2: unknown language 'swaa'"),
        ("model: m\nmlm_probability: 2\n", r"s\.yaml, line 2: mlm_probability=2\.0 is outside"),
        ("model: m\nlines: [1, 2]\n", r"s\.yaml, line 2: lines is a list; expected one value"),
        ("model: m\nnfc: perhaps\n", r"s\.yaml, line 2: --nfc: Truthy value expected"),
        ("model: m\nseeds: []\n", r"s\.yaml, line 2: seeds is an empty list; add entries, or leave it out"),
        ("model: m\nseeds: [[1]]\n", r"s\.yaml, line 2: seeds holds a list; expected a word or a number"),
        ("model: m\nmodel: n\n", r"s\.yaml, line 2: 'model' is given twice, first in .*s\.yaml, line 1"),
        ("- model\n", r"s\.yaml, line 1: .* is a list; expected `name: value` lines"),
        ("model: [\n", r"s\.yaml cannot be read as YAML"),
        ("model: !!python/object:os.system {}\n", r"s\.yaml, line 1: model is an empty mapping"),
        ("<<: {model: m}\n", r"s\.yaml, line 1: .* stands where"),
        ("lines: 3\n", "the following arguments are required: --model"),
        ("arguments: {a: 1}\n", r"s\.yaml, line 1: unknown setting --arguments"),
        ("model: m\noutput_dir: o\n", r"s\.yaml, line 2: unknown setting --output_dir"),
    ],
)
def test_a_mistake_in_a_file_names_its_line(from_file, lines, message):
    with pytest.raises(SettingError, match=message):
        from_file(lines)


def test_a_mistake_of_the_command_line_is_not_blamed_on_the_file(from_file):
    for words, message in (("--lines 0", "^lines is 0"), ("--max_length 1", "^max_length=1"), ("--mdl x", "^unknown")):
        with pytest.raises(SettingError, match=message):
            from_file("model: m\nlines: 3\nmax_length: 32\n", words)


def test_a_file_that_grows_without_end_is_refused(from_file):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcde", "bcdef", strict=True)]
    with pytest.raises(SettingError, match="more than 100,000 values"):
        from_file("\n".join(lines))


def test_a_file_that_is_not_there_or_not_utf8_is_refused(parser, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.yaml does not exist; --config takes a YAML file of settings"):
        read_config("no.yaml", parser)
    (tmp_path / "s.yaml").write_bytes(b"model: m\nname: caf\xe9\n")
    with pytest.raises(SettingError, match=r"s\.yaml, line 2: not UTF-8"):
        read_config(str(tmp_path / "s.yaml"), parser)


def test_settings_know_their_lines(parser, tmp_path):
    (tmp_path / "s.yaml").write_text("model: m\nseeds: [1, 2]\n", "utf-8")
    model, seeds = settings_of(compose(Path(tmp_path / "s.yaml")), parser, "s")
    assert (model.option(), seeds.option()) == (["--model=m"], ["--seeds", "1", "2"])
    assert seeds.place.endswith("s.yaml, line 2")


def test_pairs_of_words():
    assert pairs_of(["--a.b", "1", "2", "--c=3", "--d"]) == [("a.b", ["1", "2"]), ("c", ["3"]), ("d", [])]
    with pytest.raises(SettingError, match="'x' stands alone"):
        pairs_of(["x"])

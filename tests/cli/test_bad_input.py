"""What bad input gets: one line that names it, an exit code, and not a file written, changed or lost."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hf_afro.cli.main import main
from tests.cli.scene import (
    Prepare,
    base_in_the_output,
    broken_weight,
    build,
    configure,
    contents,
    cut,
    fewer_rows,
    made_by_us,
    no_tokenizer,
    nothing,
    recipe,
    remove,
    spoil,
    trained,
    write,
)

ROOT = Path(__file__).resolve().parents[2]

COUNT = "count --text text --tokenizer m --output_dir deep/er/out"
PRUNE = "prune --model m --counts counts --budget 400 --output_dir out"
_TRAIN = "--text text --output_dir out --use_cpu --max_length 32 --max_steps 3 --eval_lines 0 --disable_tqdm True"
MAFT = f"maft --model m {_TRAIN}"
DISTILL = f"distill --teacher m --student layers=1,hidden_size=16,heads=2 --num_relation_heads 4 {_TRAIN}"
_TASK = "--output_dir out --preset small --seeds 1 --epochs 1"
NER = f"evaluate --model m --task ner --data data/ner {_TASK}"
TOPIC = f"evaluate --model m --task topic --data data/topic {_TASK}"
BITS = "evaluate --model m --task bits_per_byte --text text --output_dir out"
REPORT = "report scores/teacher scores/student --output_dir out"
CARD = "card scores/student --output_dir out"
RUN, BASE = "run tiny.yaml --data .", "run base.yaml"

CAFE = b"Sannu da zuwa.\ncaf\xe9\n"  # Latin-1
TOGETHER = "has 518 tokens but the model has 100 rows, so they do not belong together; load both from the same folder"
NOT_FINITE = "dense.bias of m holds numbers that are not finite"


def to(command: str, folder: str) -> str:
    """Return a command that writes to another folder."""
    front, option, _ = command.partition("--output_dir ")
    return f"{front}{option}{folder} {command[len(front + option) :].partition(' ')[2]}"


class Case(NamedTuple):
    what: str
    prepare: Prepare
    command: str
    code: int
    says: str


# A case is to be seen at a glance: what is wrong, how it came about, the command, its exit code, what it says.
# fmt: off
CASES = [Case(*case) for case in (
    # text
    ("bytes not UTF-8", write("text/hau.txt", CAFE), COUNT, 2,
        "text/hau.txt, line 2: byte 3 of the line is not UTF-8 (unexpected end of data). Convert the file to UTF-8, "
        "or choose --errors replace or --errors skip"),
    ("bytes not UTF-8", write("text/hau.txt", CAFE), BITS, 2, "choose --errors replace or --errors skip"),
    ("bytes not UTF-8", write("text/hau.txt", CAFE), RUN, 2,
        "text/hau.txt, line 2: byte 3 of the line is not UTF-8 (unexpected end of data). Convert the file to UTF-8, "
        "or choose errors: replace or errors: skip (stage prepare: tiny.yaml, line 3)"),
    ("bytes not UTF-8, excluded", write("ex.txt", CAFE), f"{MAFT} --exclude ex.txt", 2, "ex.txt, line 2: byte 3 of"),
    ("no text", write("text/hau.txt", "\n  \n"), COUNT, 2,
        "text/hau.txt has no text for 'hau'; add text, or leave the language out"),
    ("no text left", write("text/hau.txt", "Ina kwana\n"), MAFT, 2,
        "nothing is left of text/hau.txt after cleaning: {'read': 1, 'too few tokens': 1"),
    ("no text left", write("text/hau.txt", "Ina kwana\n"), RUN, 2,
        "add text, leave the language out, or lower min_tokens, which is 6 (stage prepare: tiny.yaml, line 3)"),
    ("unknown language", nothing, f"{COUNT} --languages swaa", 2,
        "unknown language 'swaa'; did you mean swa (Swahili)"),
    ("one language twice", nothing, f"{COUNT} --languages gaz_Latn,orm", 2,
        "'gaz_Latn' and 'orm' are one language, Oromo (orm)"),
    ("unknown language", write("text/LICENSE.txt", "Do as you like.\n"), COUNT, 2,
        "text/LICENSE.txt: text files are named by their language. unknown language 'LICENSE'; expected an ISO 639-3 "
        "or 639-1 code, or a tag such as 'swh_Latn'. Rename it, or move it out of the folder."),
    ("unknown language", write("text/yorr.txt", "Ọjà\n"), RUN, 2,
        "tiny.yaml, line 3: prepare: text/yorr.txt: text files are named by their language. unknown language 'yorr'; "
        "did you mean yor (Yoruba)"),
    ("JSON without text", write("text/hau.jsonl", '{"text": "Sannu"}\n{"txt": 3}\n'), COUNT, 2,
        "text/hau.jsonl, line 2: expected an object with a string 'text', received '{\"txt\": 3}'"),
    ("half an archive", write("text/hau.txt.gz", b"\x1f\x8b\x08\x00"), COUNT, 2, "text/hau.txt.gz cannot be read"),
    ("no such folder", nothing, DISTILL.replace("--text text", "--text no"), 2, "--text no does not exist"),

    # tokenizers
    ("no tokenizer", no_tokenizer, COUNT, 2,
        "m holds no tokenizer; expected tokenizer.json, *.model, vocab.txt, vocab.json. Save it there"),
    ("no tokenizer", no_tokenizer, BASE, 2, "base.yaml, line 2: base: m holds no tokenizer; expected tokenizer.json"),
    ("half a tokenizer", cut("m/tokenizer.json", 2000), COUNT, 2, "no tokenizer could be read from 'm': "),
    ("a tokenizer in an unknown form", write("m/tokenizer.json", '{"model": {}}'), PRUNE, 2,
        "expected a folder that holds a whole one, or a Hub name"),
    ("more tokens than rows", fewer_rows, MAFT, 2, f"the tokenizer {TOGETHER}"),
    ("more tokens than rows", fewer_rows, NER, 2, f"the tokenizer {TOGETHER}"),
    ("more tokens than rows", fewer_rows, PRUNE, 2, "has only 100 rows; expected the tokenizer the model was trained"),
    ("more tokens than rows", fewer_rows, BASE, 2, f"the tokenizer of m {TOGETHER} (stage base: base.yaml, line 2)"),

    # models and what belongs to them
    ("half the weights", cut("m/model.safetensors", 5000), PRUNE, 2,
        "its header says"),
    ("no weights", remove("m/model.safetensors"), MAFT, 2, "no model could be read from 'm': Error no file named"),
    ("no weights", remove("m/model.safetensors"), BASE, 2, "base.yaml, line 2: base: m holds no weights; expected *."),
    ("weights of another width", configure(hidden_size=64), DISTILL, 2,
        "lm_head.dense.bias of m is [32], its configuration says [64]; expected the weights that were saved with its"),
    ("weights of fewer layers", configure(num_hidden_layers=4), PRUNE, 2,
        "m lacks roberta.encoder.layer.2.attention.output.LayerNorm.bias, roberta.encoder.layer.2.attention.output."),
    ("weights of more layers", configure(num_hidden_layers=1), BITS, 2,
        "m has roberta.encoder.layer.1.attention.output.LayerNorm.bias, roberta.encoder.layer.1.attention.output."),
    ("weights of more layers", configure(num_hidden_layers=1), PRUNE, 2,
        "m has roberta.encoder.layer.1.attention.output.LayerNorm.bias, roberta.encoder.layer.1.attention.output."),
    ("a configuration cut short", write("m/config.json", "{"), BASE, 2,
        "base.yaml, line 2: base: m/config.json cannot be read: Expecting property name"),
    ("no such model", nothing, NER.replace(" m ", " ./no "), 2, "--models ./no: there is no such folder"),
    ("damaged counts", spoil("counts/counts.npz"), PRUNE, 2, "counts/counts.npz is damaged ("),
    ("a map that is none", write("x.json", '{"format": 1, "old_ids": [0]}'), f"{DISTILL} --vocabulary_map x.json", 2,
        "x.json holds no vocabulary map of format 1; give the vocabulary_map.json that prune wrote"),

    # numbers that are not finite
    ("an absurd learning rate", nothing, f"{NER} --learning_rate 1e30 --epochs 3", 1,
        "FloatingPointError: the model returned values that are not finite; lower learning_rate or raise warmup"),
    ("a NaN weight", broken_weight, MAFT, 1, NOT_FINITE),
    ("a NaN weight", broken_weight, DISTILL, 1, NOT_FINITE),
    ("a NaN weight", broken_weight, PRUNE, 1, NOT_FINITE),
    ("a NaN weight", broken_weight, BITS, 1, NOT_FINITE),

    # tasks
    ("a line without a tag", write("data/ner/swa/dev.txt", "Amina B-PER\njana\n"), NER, 2,
        "data/ner/swa/dev.txt, line 2: received 'jana'; expected 'token tag' with a tag such as O, B-PER or I-PER"),
    ("a row without a label", write("data/topic/swa/test.tsv", "text\tlabel\nmvua\train\nmvua\n"), TOPIC, 2,
        "data/topic/swa/test.tsv, line 3: 1 column; expected 2, as in the header"),
    ("a task not UTF-8", write("data/topic/swa/dev.tsv", b"text\tlabel\ncaf\xe9\train\n"), TOPIC, 2,
        "data/topic/swa/dev.tsv, line 2: not UTF-8 (invalid continuation byte); convert the file to UTF-8"),
    ("labels that differ", write("data/topic/swa/dev.tsv", "text\tlabel\nmpira\tsport\n"), TOPIC, 2,
        "topic/swa: dev has the labels sport, which train lacks; it has farming, music, rain. Correct the labels "
        "or remove those examples"),
    ("a split is missing", remove("data/ner/swa/dev.txt"), NER, 2, "data/ner/swa has no dev.txt or validation.txt"),
    ("a seed below zero", nothing, f"{NER} --seeds -1", 2,
        "seeds are [-1]; expected one or more different ones from 0"),
    ("advice that does not apply", nothing, f"{NER} --errors skip", 2, "leave it out, and repair --data"),

    # reports and cards
    ("no report", nothing, "report text --output_dir deep/out", 2,
        "text/evaluation_report.json does not exist; expected the output of `hf-afro evaluate`"),
    ("half a report", cut("scores/student/evaluation_report.json", 300), CARD, 2,
        "scores/student/evaluation_report.json is not an evaluation report: "),
    ("a training without a log", trained("{}"), f"{REPORT} --trained m", 2,
        "m/checkpoint-1/trainer_state.json holds no log of a training"),
    ("a fact of the wrong kind", write("f.json", '{"format": 1, "model_name": "mini", "base_model": "me/base"}'),
        f"{CARD} --facts f.json", 2, 'f.json: base_model is "me/base"; expected a list of strings'),

    # recipes
    ("an unknown key", recipe("  budget: 250", "  budgte: 250"), RUN, 2,
        "tiny.yaml, line 20: prune: unknown setting --budgte of prune; did you mean 'budget'"),
    ("an unknown stage", recipe("distill:", "destill:"), RUN, 2,
        "tiny.yaml, line 28: 'destill' is not a stage; did you mean 'distill'"),
    ("a wrong type", recipe("  budget: 250", "  budget: many"), RUN, 2,
        "tiny.yaml, line 20: prune: --budget: expected a whole number, received 'many'"),
    ("out of range", nothing, f"{RUN} --maft.seed 99999999999", 2,
        "--maft.seed: maft: seed=99999999999 is outside 0 to 4294967295"),
    ("an impossible stage", recipe("hidden_size: 16", "hidden_size: 48"), RUN, 2,
        "tiny.yaml, line 28: distill: hidden_size 48 is wider than the teacher's 32"),
    ("a card of what is not measured", recipe("  model: maft-fit", "  model: distill"), RUN, 2,
        "tiny.yaml, line 46: card: model is 'distill', which evaluate does not measure; expected one of pretrain, "
        "prune, maft"),
    ("no such data", nothing, "run tiny.yaml --data no", 2,
        "--data no is not a folder; expected the one with the recipe's text and tasks"),
    ("data not named", nothing, "run tiny.yaml", 2,
        "tiny.yaml, line 3: prepare reads ${data}/text; name the folder of data with --data FOLDER"),
    ("an unknown recipe", nothing, "run quickstrat", 2, "unknown recipe 'quickstrat'; did you mean 'quickstart'"),
    ("a recipe not UTF-8", write("tiny.yaml", b"name: x\ndescription: caf\xe9\n"), RUN, 2,
        "tiny.yaml, line 2: not UTF-8 (invalid continuation byte); convert the file to UTF-8"),
    ("a recipe that is no YAML", write("tiny.yaml", b"name: x\0y\n"), RUN, 2,
        "tiny.yaml cannot be read as YAML: unacceptable character #x0000"),
    ("a name that leads elsewhere", recipe("name: tiny", "name: ../../tiny"), RUN, 2,
        "tiny.yaml: name is '../../tiny'; it becomes a folder"),

    # where to write
    ("a folder of other things", nothing, to(COUNT, "scores"), 2,
        "--output_dir scores is not empty; name a new folder, or replace it with --overwrite"),
    ("a folder of other things, overwritten", nothing, to(COUNT, "scores --overwrite"), 2,
        "--output_dir scores was not made by hf-afro, so it is not overwritten; name a new folder"),
    ("a folder of other things", nothing, f"{RUN} --output_dir scores", 2,
        "--output_dir scores is not empty and was not made by hf-afro run; name another"),
    ("a folder below a file", nothing, to(MAFT, "tiny.yaml/a/out"), 2,
        "--output_dir tiny.yaml/a/out cannot be made: tiny.yaml is a file; name another folder"),
    ("the counts themselves", nothing, to(PRUNE, "counts --overwrite"), 2, "would replace what --counts counts reads"),
    ("the model itself", made_by_us("m"), to(NER, "m --overwrite"), 2,
        "--output_dir m would replace what --models m reads; name another folder"),
    ("the tasks themselves", made_by_us("data"), to(NER, "data --overwrite"), 2, "replace what --data data/ner reads"),
    ("the reports themselves", made_by_us("scores"), to(REPORT, "scores --overwrite"), 2,
        "--output_dir scores would replace what --reports scores/teacher reads; name another folder"),
    ("the report itself", made_by_us("scores/student"), to(CARD, "scores/student --overwrite"), 2,
        "--output_dir scores/student would replace what --reports scores/student reads"),
    ("the model of the recipe", base_in_the_output, f"{BASE} --output_dir runs", 2,
        "base.yaml, line 2: base reads runs/maft, which is in --output_dir runs; name another"),

    # the command line
    ("a misspelt option", nothing, f"{COUNT} --eror skip", 2,
        "unknown setting --eror of count; did you mean 'errors'"),
    ("a misspelt setting", nothing, f"{MAFT} --lerning_rate 1e-3", 2,
        "unknown setting --lerning_rate of maft; did you mean 'learning_rate'"),
    ("a batch of none", nothing, f"{DISTILL} --per_device_train_batch_size 0", 2,
        "per_device_train_batch_size=0 is less than 1; expected an integer from 1"),
    ("a seed below zero", nothing, f"{MAFT} --seed -1", 2, "seed=-1 is outside 0 to 4294967295"),
    ("an impossible architecture", nothing, f"{MAFT} --from_scratch --config_overrides hidden_size=33", 2,
        "--config_overrides hidden_size=33: The hidden size (33) is not a multiple of the number of attention heads"),
    ("no language named", nothing, f"{CARD} --languages ,", 2, "languages names nothing; expected"),
)]
# fmt: on


@pytest.fixture(scope="session")
def scene(model_folder, counts_folder, tmp_path_factory) -> Path:
    """The working directory that each test gets a copy of; see tests/cli/scene.py."""
    folder = tmp_path_factory.mktemp("scene")
    build(folder, model_folder, counts_folder)
    return folder


@pytest.fixture
def place(scene, tmp_path, monkeypatch) -> Path:
    shutil.copytree(scene, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def only_line(err: str) -> str:
    """The one line in which a command says what is wrong; nothing comes after it."""
    assert "Traceback" not in err
    (line,) = (line for line in err.splitlines() if line.startswith("hf-afro"))
    assert [one for one in err.splitlines() if one.strip()][-1] == line
    return line


def run_process(command: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, with some code in front."""
    script = f"import sys\n{before}\nfrom hf_afro.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", script, *command.split()],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.command.split()[0]}: {case.what}")
def test_one_line_the_exit_code_and_nothing_written(case, place, capsys):
    case.prepare()
    before = contents(place)
    assert main(case.command.split()) == case.code
    line = only_line(capsys.readouterr().err)
    assert case.says in line
    assert line.endswith("(--debug shows where)") == (case.code == 1)
    assert contents(place) == before


def test_the_same_in_a_process_of_its_own(place):
    before = contents(place)
    done = run_process(to(COUNT, "text --overwrite"))
    assert done.returncode == 2, done.stderr
    assert "--output_dir text would replace what --text text reads" in only_line(done.stderr)
    assert contents(place) == before


@pytest.mark.parametrize("command", [MAFT, DISTILL], ids=["maft", "distill"])
def test_a_loss_that_is_not_finite_leaves_its_batch_alone(place, capsys, command):
    before = contents(place)
    assert main(f"{command} --learning_rate 1e30".split()) == 1
    line = only_line(capsys.readouterr().err)
    assert (
        "FloatingPointError: the loss of step 2 is nan, with learning_rate 1e+30; expected a finite number: lower "
        "learning_rate, raise warmup_steps, or start from another model; its batch is in out.unfinished/not_finite/"
    ) in line
    left = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    shutil.rmtree(place / "out.unfinished")
    assert contents(place) == before
    here = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    batch = "out.unfinished/not_finite/step-2-process-0.safetensors"
    assert left - here == {batch, "out.unfinished/hf_afro_run.json"}


NO_MORE = "the disk is full: free some space, or name another --output_dir; existing files are unchanged"


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as the system does it.

    No bytecode is written meanwhile: Python takes a short write of it for a whole one, and every other test that
    imports the module then fails.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = before


FULL = {
    "count: counts": (COUNT, 2_000),
    "prune: model": (f"{PRUNE} --overwrite", 50_000),
    "maft: what is run": (MAFT, 100),
    "maft: model": (f"{MAFT} --overwrite", 50_000),
    "maft: optimizer": (MAFT, 300_000),
    "evaluate: report": (BITS, 500),
    "report: page": (f"{REPORT} --overwrite", 10_000),
    "card: card": (CARD, 1_000),
    "run: text": (RUN, 1_000),
}


@pytest.mark.parametrize(("command", "size"), FULL.values(), ids=FULL)
def test_a_full_disk_leaves_what_was_there(place, capsys, command, size):
    if "--overwrite" in command:
        made_by_us("out")()
        write("out/thesis.tex", "all of it")()
    before = contents(place)
    with files_of_at_most(size):
        assert main(command.split()) == 1
    line = only_line(capsys.readouterr().err)
    assert line.endswith(f"; {NO_MORE} (--debug shows where)")
    assert contents(place) == before


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A folder that is a disk of its own, of 64 kB to begin with."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("a disk of a chosen size can be mounted by root alone")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("command", [COUNT, CARD], ids=["count", "card"])
def test_wherever_the_disk_ends_nothing_is_left(place, small_disk, capsys, command):
    """Down to the last write of all, which says what was run."""
    codes = []
    for pages in range(1, 10):
        subprocess.run(["mount", "-o", f"remount,size={4 * pages}k", str(small_disk)], check=True)
        codes.append(main(to(command, "disk/out").split()))
        if codes[-1] == 0:
            break
        assert NO_MORE in only_line(capsys.readouterr().err)
        assert list(small_disk.iterdir()) == []
    assert codes[-1] == 0
    assert set(codes[:-1]) == {1}
    assert len(codes) > 2


def test_a_nan_in_a_later_stage_keeps_the_earlier_ones(place, capsys):
    broken_weight()
    assert main(BASE.split()) == 1
    line = only_line(capsys.readouterr().err)
    assert NOT_FINITE.replace(" m ", " runs/based/base ") in line
    assert "(stage maft: base.yaml, line 6)" in line
    folder = place / "runs" / "based"
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["base", "prepare"]


def test_a_full_disk_in_a_later_stage_keeps_the_earlier_ones(place, capsys):
    folder = place / "runs" / "tiny"
    with files_of_at_most(20_000):
        assert main(RUN.split()) == 1
    line = only_line(capsys.readouterr().err)
    assert f"(stage pretrain: tiny.yaml, line 6); {NO_MORE}" in line
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["prepare"]
    assert main([*RUN.split(), "--dry-run"]) == 0
    assert "prepare   up to date" in capsys.readouterr().out


# The worker is killed while it makes its third batch, as one that asks for too much memory is. Killed at any moment,
# it may hold the lock of the event by which torch ends its workers, and then torch itself waits for ever: seen twice
# in 680 kills, the main thread in `_mark_worker_as_unavailable` of torch 2.13. And torch raises the loss of a worker
# from a signal, wherever the main thread is; caught in the midst of this lazy import it is only logged, so it is done
# first.
KILLED_AT_THE_THIRD_BATCH = """
import itertools, os, signal, torch
from hf_afro.batching.collators import MaskingCollator
with torch.autograd.profiler.record_function("the lazy import"):
    pass
collate, made = MaskingCollator.__call__, itertools.count(1)
def collate_or_die(self, examples):
    if torch.utils.data.get_worker_info() is not None and next(made) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return collate(self, examples)
MaskingCollator.__call__ = collate_or_die
"""


def test_a_killed_worker_ends_the_run_and_leaves_nothing(place):
    before = contents(place)
    done = run_process(f"{MAFT} --max_steps 10000 --dataloader_num_workers 1", KILLED_AT_THE_THIRD_BATCH)
    assert done.returncode == 1, done.stderr
    line = only_line(done.stderr)
    assert "DataLoader worker" in line
    assert "lower --dataloader_num_workers or the batch size, and repeat the command" in line
    assert contents(place) == before

"""Every benchmark runs, at a size that says nothing about speed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from benchmarks.heaps_text import write_grown
from hf_afro.sample import write_tasks
from tests.texts import SENTENCES
from tests.vocabulary.kinds import EXAMPLES

ROOT = Path(__file__).resolve().parents[1]


def run(name: str, *options: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sides"),
    [
        (["relation_loss"], ["reference", "chunked"]),
        (["maft_step", "--no_memory"], ["stock head", "masked logits", "masked only"]),
    ],
)
def test_timings_print_every_side_and_its_ratio(name, sides):
    printed = run(*name, "--small")
    for side in sides:
        assert any(line.strip().startswith(side) and line.endswith("x") for line in printed.splitlines())


def test_planted_lines_are_found_in_text(tmp_path):
    pytest.importorskip("fasttext", reason="needs fasttext, of the extra `language_id`")
    for language in ("swa", "yor", "amh"):
        lines = [f"{first} {second}" for first in SENTENCES[language] for second in SENTENCES[language]]
        (tmp_path / f"{language}.txt").write_text("\n".join(lines), "utf-8")
    printed = run("language_identification", "--data", str(tmp_path), "--epochs", "500", "--share", "0.2").splitlines()
    assert sum(line.split()[1:3] == ["96", "24"] for line in printed if line.startswith("all")) == 4
    first = next(line.split() for line in printed if line.startswith("all"))
    assert first[3:] == ["100.0%", "0.00%"]


def test_the_inference_of_a_student_prints_every_side_in_every_order(tmp_path, tokenizer):
    for language, lines in SENTENCES.items():
        (tmp_path / f"{language}.txt").write_text("\n".join(lines), "utf-8")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    printed = run(
        "student_inference",
        *("--small", "--int8", "--sentences", "12", "--batch_size", "4", "--repeats", "1"),
        *("--tokenizer", str(tmp_path / "tokenizer"), "--text", str(tmp_path), "--languages", "swa", "yor"),
    ).splitlines()
    for side in ("XLM-R-base", "student, padded", "student", "student, int8"):
        assert sum(line.startswith(f"  {side} ") and line.endswith("x") for line in printed) >= 3, side
    assert sum(line.startswith("states differ by ") for line in printed) == 3


def test_fine_tuning_prints_both_stock_sides_and_ours(tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    write_tasks(tmp_path / "tasks", sizes={"train": 16, "dev": 4, "test": 6}, languages=["swa"])
    data = ("--tokenizer", str(tmp_path / "tokenizer"), "--data", str(tmp_path / "tasks" / "ner"))
    printed = run("finetuning_step", "--small", *data).splitlines()
    for side in ("stock, fixed", "stock, by batch", "hf_afro", "hf_afro, distilled"):
        of_side = [line for line in printed if line[2:34].rstrip() == side]
        assert [line.endswith("x") for line in of_side] == [True, False], side
        assert of_side[1].endswith("sentences a second"), side


def test_distillation_on_a_task_prints_what_each_student_keeps(tmp_path, model, tokenizer):
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    write_tasks(tmp_path / "tasks", sizes={"train": 16, "dev": 4, "test": 30}, languages=["swa"])
    (tmp_path / "swa.txt").write_text("\n".join(SENTENCES["swa"]), "utf-8")
    data = ("--model", str(tmp_path / "model"), "--data", str(tmp_path / "tasks" / "topic"), "--task", "topic")
    more = (
        "--seeds",
        "1",
        "--layers",
        "1",
        "--epochs",
        "1",
        "--learning_rate",
        "5e-3",
        "--output_dir",
        str(tmp_path / "out"),
    )
    printed = run("task_distillation", *data, "--unlabelled", str(tmp_path), *more)
    assert "labels alone for as many steps:" in printed
    assert "share of teacher kept" in printed
    assert sorted(path.name for path in (tmp_path / "out" / "1").iterdir()) == [
        "labels", "labels-as-many-steps", "logits", "teacher", "unlabelled",
    ]  # fmt: skip


@pytest.mark.slow
def test_whole_trainings_print_both_sides(shared_data):
    options = ("--small", "--steps", "2", "--lines", "40", "--rounds", "1", "--languages", "swa", "amh")
    data = ("--tokenizer", str(shared_data / "xlm-roberta-base"), "--text", str(shared_data / "corpora"))
    printed = run("maft_training", *data, *options, "--budget", "20000")
    assert printed.count("  stock recipe ") == printed.count("  MAFTTrainer ") == 2


def test_the_table_of_pruning():
    options = ("--families", "WordPiece", "--classes", "seq2seq", "tokens", "--size", "2500")
    printed = run("pruning_table", *options).splitlines()
    assert [line.count("| equal | in range |") for line in printed[2:4]] == [1, 1]
    assert printed[-1] == "0 rows with something wrong"


def test_the_table_of_tensors():
    printed = run("tensors_table", "--classes", "BertForPreTraining", "SiglipModel", "--size", "600").splitlines()
    assert [line.count("| all |") for line in printed[2:4]] == [1, 1]
    assert printed[3] == "| SiglipModel | text and images | 56 | not run | 56 | all |"
    assert printed[-1] == "0 rows with something wrong"


def test_the_table_of_distillation():
    printed = run("distillation_table", "--small", "--teachers", "albert", "modernbert")
    lines = printed.splitlines()
    assert [line.count("| yes | yes |") for line in lines[2:6]] == [1] * 4
    assert lines[-1] == "every pair holds"


def test_the_table_of_padding_ids():
    lines = run("padding_table", "--families", "xlm-roberta").splitlines()
    assert lines[2] == "| xlm-roberta | 1 and 1, equal | 0.0e+00 | 0.0e+00 | yes | 0.0e+00 | yes |"
    assert lines[3].count("refused: the xlm-roberta ") == 3
    assert lines[-1] == "0 lines with something wrong"


def test_a_distillation_step_against_its_forwards_and_against_maps():
    lines = run("distillation_step", "--small").splitlines()
    for side in ("maps requested", "two forwards alone", "ours  ", "ours, all states"):
        assert any(line.strip().startswith(side) and "of alone" in line for line in lines)


@pytest.mark.slow
def test_pruning_a_checkpoint_prints_seconds_and_memory():
    printed = run("prune_checkpoint", "--small", "--repeats", "1", "--sides", "copy", "weights only")
    figures = printed.splitlines()[-1].removeprefix("weights only").split()
    assert len(figures) == 6
    assert float(figures[3]) > float(figures[4]) >= 0
    assert float(figures[5].removesuffix("x")) > 0


@pytest.mark.slow
def test_faults_of_the_hub_are_told_and_leave_no_part_of_a_push():
    printed = run("hub_faults", "--sequences", "2")
    assert "commit, 401: unchanged" in printed
    assert "commit, lost: complete" in printed
    assert "2 sequences" in printed
    assert "0 with a part of a push" in printed


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["maft", "streaming", "distill"])
def test_kills_end_in_the_same_weights(kind):
    printed = run("kills", "--kind", kind, "--kills", "3", "--in_save", "1", "--steps", "20", "--save_steps", "2")
    assert printed.splitlines()[-1] == "3 of 3 checksums are the unbroken run's"


@pytest.mark.slow
def test_global_batches_are_the_same_in_every_way():
    printed = run("global_batches", "--steps", "20")
    assert printed.count("20 of 20 batches are those of 1 process") == 4


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), [("real_text", "teacher"), ("mixing", "alpha 0.3")])
def test_the_runs_on_real_text(name, side, shared_data, tmp_path):
    printed = run(
        name,
        "--small",
        *("--tokenizer", str(shared_data / "xlm-roberta-base"), "--text", str(shared_data / "corpora")),
        *("--exclude", str(shared_data / "ner"), "--output_dir", str(tmp_path)),
    )
    assert side in printed
    assert (tmp_path / "figures.json").is_file()


@pytest.mark.slow
def test_extending_prints_both_cases_of_every_kind(shared_data):
    printed = run(
        "extending",
        *("--small", "--tokenizer", str(shared_data / "xlm-roberta-base"), "--text", str(shared_data / "corpora")),
    )
    for kind in ("XLM-R, cut", "WordPiece", "byte-level BPE", "BPE, bytes"):
        assert sum(line.startswith(kind) for line in printed.splitlines()) == 2, kind


@pytest.mark.slow
def test_the_real_vocabulary(shared_data):
    printed = run(
        "real_vocabulary",
        *("--tokenizer", str(shared_data / "xlm-roberta-base"), "--text", str(shared_data / "corpora")),
        *("--budgets", "50000"),
    )
    assert "50,000 tokens" in printed
    assert "hidden_difference=0.0, logit_difference=0.0" in printed


@pytest.mark.slow
def test_counting_prints_every_side_and_that_the_counts_are_equal(tmp_path):
    """At sizes that cut the text and grow it, and where encode_batch gets a part."""
    (tmp_path / "text").mkdir()
    for language, lines in SENTENCES.items():
        (tmp_path / "text" / f"{language}.txt").write_text("\n".join(lines), "utf-8")
    EXAMPLES["bert, cased"].make().save_pretrained(tmp_path / "tokenizer")
    printed = run(
        "counting",
        *("--tokenizer", str(tmp_path / "tokenizer"), "--text", str(tmp_path / "text"), "--rounds", "1"),
        *("--sizes", "0.005", "0.2", "--work_dir", str(tmp_path / "grown"), "--whole_up_to", "0.1"),
    )
    for side in ("encode_batch ", "encode_batch_fast ", "count_tokens "):
        assert sum(f"MB  {side}" in line for line in printed.splitlines()) == 2
    assert printed.count("counts identical") == 2
    assert "part 1/2" in printed


def test_text_grows_by_heaps_law(tmp_path):
    """Words drawn by Simon's model from a text whose words are new ever more rarely."""
    generator = np.random.default_rng(0)
    ids = (generator.zipf(1.5, 20_000) - 1).tolist()
    lines = [" ".join(f"w{one:08}x" for one in ids[at : at + 10]) for at in range(0, len(ids), 10)]
    (tmp_path / "swa.txt").write_text("\n".join(lines))
    size = (tmp_path / "swa.txt").stat().st_size
    (constant, exponent), running, distinct = write_grown(tmp_path / "swa.txt", tmp_path / "out.txt", 8 * size, seed=1)
    words = (tmp_path / "out.txt").read_text().split()
    assert len(words) == running == pytest.approx(160_000, rel=0.01)
    assert len(set(words)) == distinct
    assert distinct == pytest.approx(constant * running**exponent, rel=0.05)
    assert (tmp_path / "out.txt").read_text().startswith((tmp_path / "swa.txt").read_text())
    assert 0 < exponent < 1


def test_decontamination_is_judged_by_a_search_of_its_own(tmp_path):
    (tmp_path / "corpora").mkdir()
    (tmp_path / "ner" / "masakhaner1" / "swa").mkdir(parents=True)
    tagged = "\n\n".join("\n".join(f"{word} O" for word in line.split()) for line in SENTENCES["swa"])
    (tmp_path / "ner" / "masakhaner1" / "swa" / "test.txt").write_text(tagged, "utf-8")
    lines = [*SENTENCES["swa"][:2], f"Alisema: {SENTENCES['swa'][2]} Ndiyo.", *SENTENCES["yor"]]
    (tmp_path / "corpora" / "swa.txt").write_text("\n".join(lines), "utf-8")
    printed = run("decontamination", "--data", str(tmp_path)).splitlines()
    figures = dict(zip(printed[1].split(), printed[-2].split()[1:], strict=True))
    assert {name: figures[name] for name in ("lines", "sentences", "equal", "dropped", "left", "missed")} == {
        "lines": str(len(lines)), "sentences": "3", "equal": "2", "dropped": "3", "left": "0", "missed": "0",
    }  # fmt: skip
    assert figures["planted"] == figures["found"] == "60"
    assert printed[-1] == "nothing is left, and nothing planted was missed"


def test_the_search_finds_what_a_filter_leaves():
    """One that does nothing: the search must not take its silence for clean text."""
    from benchmarks.decontamination import Search, count

    search = Search(SENTENCES["swa"])
    lines = [SENTENCES["swa"][0].upper(), f"ndiyo {SENTENCES['swa'][1]} ndiyo", *SENTENCES["yor"]]
    counts, sentences, examples = count(search, lines)
    assert (counts["equal"], counts["within"]) == (1, 2)
    assert len(sentences) == len(examples) == 2


def test_malformed_inputs_prints_what_becomes_of_each():
    printed = run("malformed_inputs").splitlines()
    assert len(printed) > 50
    assert any(line.startswith("byte order mark, CoNLL") and "byte order marks dropped: 1" in line for line in printed)
    assert any(line.startswith("NUL byte") and "refused: swa/test.txt, line 1" in line for line in printed)


def test_task_counts_prints_sizes_and_repairs(tmp_path):
    home = tmp_path / "topic" / "antc" / "lin"
    home.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (home / f"{split}.tsv").write_text("\ufefftext\tlabel\na\tx\nb\ty\n", "utf-8")
    printed = run("task_counts", "--data", str(tmp_path))
    assert "train -1534, dev -218, test -438" in printed
    assert "3  byte order marks dropped" in printed
    assert printed.endswith("1 set, 1 of them in print, 0 of those as printed in every split\n")


@pytest.mark.slow
def test_the_export_to_onnx_prints_differences_sizes_scores_and_times(tmp_path, tokenizer):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extra `onnx`")
    (tmp_path / "texts").mkdir()
    for language, lines in SENTENCES.items():
        (tmp_path / "texts" / f"{language}.txt").write_text("\n".join(lines), "utf-8")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    write_tasks(tmp_path / "tasks", sizes={"train": 16, "dev": 4, "test": 6}, languages=["swa"])
    printed = run(
        "onnx_export",
        *("--small", "--sentences", "8", "--batch_size", "4", "--repeats", "1", "--epochs", "1", "--budget", "500"),
        *("--tokenizer", str(tmp_path / "tokenizer"), "--text", str(tmp_path / "texts"), "--languages", "swa", "yor"),
        *("--ner", str(tmp_path / "tasks" / "ner")),
    )
    assert printed.count("entity F1") == 5
    assert printed.count(" from torch\n") + printed.count(" from torch,") == 8
    graphs = [f"student, ONNX {form}" for form in ("fp32", "fp16", "int8", "int4")]
    for side in ("XLM-R-base, torch", "student, torch", *graphs):
        assert sum(line.startswith(f"  {side} ") and line.endswith("x") for line in printed.splitlines()) == 2, side


@pytest.mark.slow
def test_a_student_of_modernbert_is_the_same_wherever_it_is_read():
    for package in ("onnx", "onnxscript", "onnxruntime", "sentence_transformers"):
        pytest.importorskip(package, reason="needs the extras `onnx` and `sentence`")
    options = ("--small", "--lines", "40", "--trained", "1500", "--rows", "2500", "--budget", "2000", "--steps", "2")
    lines = {line.split()[0]: line for line in run("modernbert_student", *options).splitlines()}
    assert list(lines) == ["make", "cut", "build", "distil", "onnx", "sentence", "elsewhere"]
    differences = {
        name: float(line.split("difference ")[1].split()[0]) for name, line in lines.items() if "diff" in line
    }
    assert differences["cut"] == differences["build"] == differences["elsewhere"] == 0.0
    assert differences["onnx"] < 1e-4
    assert float(lines["elsewhere"].split("vectors ")[1]) < 1e-6
    assert "layers [0, 2, 5]  global 1" in lines["build"]


@pytest.mark.slow
def test_a_round_trip_loses_nothing_and_goes_on_where_it_stopped(tmp_path, tokenizer):
    """From a BERT under XLM-R's tokenizer whose configuration names another padding id, as multilingual-e5-small."""
    for package in ("onnx", "onnxscript", "onnxruntime", "sentence_transformers"):
        pytest.importorskip(package, reason="needs the extras `onnx` and `sentence`")
    for language, lines in SENTENCES.items():
        (tmp_path / "text" / f"{language}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / "text" / f"{language}.txt").write_text("\n".join(lines), "utf-8")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer) + 5, **sizes, max_position_embeddings=64, pad_token_id=0)
    BertModel(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    options = [str(tmp_path / "model"), str(tmp_path / "text"), "--output_dir", str(tmp_path / "trip")]
    options += ["--budgets", "486", "470", "--layers", "1", "--steps", "2", "--sentences", "12", "--threads", "1"]
    printed = run("real_round_trip", *options).partition("step ")[2].splitlines()[1:]
    differences = {line.split()[0]: line.split()[2] for line in printed}
    assert len(differences) == 12
    assert differences.pop("count") == "-"
    for name, difference in differences.items():
        assert float(difference) <= (1e-6 if name.endswith(("_onnx", "_sentence")) else 0.0), name
    (tmp_path / "trip" / "student_distill_sentence.json").unlink()
    again = run("real_round_trip", *options).partition("step ")[2].splitlines()[1:]
    assert again[:-1] == printed[:-1]
    assert again[-1].split()[2] == printed[-1].split()[2]


def test_an_audit_of_a_cut_by_pooled_frequency_says_who_starves(tmp_path, tokenizer, model):
    original, text = tmp_path / "original", tmp_path / "text"
    model.save_pretrained(original)
    tokenizer.save_pretrained(original)
    text.mkdir()
    for language in ("swa", "amh"):
        lines = SENTENCES[language] if language == "amh" else SENTENCES[language] * 50
        (text / f"{language}.txt").write_text("\n".join(lines), "utf-8")
    printed = run(
        "audit",
        *("--text", str(text), "--pooled", str(original), "--counted", str(text), "--budget", "120"),
        *("--output_dir", str(tmp_path / "cuts"), "--tables"),
    )
    last = next(line for line in printed.splitlines() if line.startswith("pooled-original: "))
    assert last.startswith("pooled-original: exact renumbering: 120 of 518 tokens")
    assert last.partition("lost: ")[2].startswith(("amh ", "Ethiopic "))

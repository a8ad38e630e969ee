"""ONNX Runtime computes what torch computes, from a folder that needs neither torch nor this library."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    XLMRobertaForSequenceClassification,
    XLMRobertaForTokenClassification,
)

import hf_afro
from hf_afro.cli.main import main
from hf_afro.evaluation import FineTuned, load_task
from hf_afro.evaluation.data.task_data import make_task_data
from hf_afro.evaluation.metrics import task_scores
from hf_afro.export import EXPORT_FILE, export_onnx, onnx
from hf_afro.export.quantising import FORMATS
from hf_afro.hub import gather
from hf_afro.sample import write_tasks
from hf_afro.steps import export as steps_export
from hf_afro.steps.card import exported_figures
from tests.conftest import tiny_config
from tests.students.conftest import student_config
from tests.students.test_modeling_afro_student import make
from tests.texts import SENTENCES
from tests.vocabulary.kinds import bert

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
pytest.importorskip("onnxscript", reason="needs the extra `onnx`")

LINES = [line for language in SENTENCES.values() for line in language][:20]
ROOT = Path(__file__).resolve().parents[2]


def ran(folder: Path, texts: list[str], graph: str = onnx.GRAPH) -> tuple[np.ndarray, np.ndarray]:
    """The output of a graph for texts tokenised by the tokenizers library alone, and the mask."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id("<pad>"), pad_token="<pad>")
    rows = tokenizer.encode_batch(texts)
    batch = {
        "input_ids": np.array([row.ids for row in rows]),
        "attention_mask": np.array([row.attention_mask for row in rows]),
    }
    (found,) = onnxruntime.InferenceSession(folder / graph).run(None, batch)
    return found, batch["attention_mask"] != 0


def of_torch(model, tokenizer, texts: list[str]) -> np.ndarray:
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        return model(**batch)[0].numpy()


def exported_by(model, tokenizer, folder: Path) -> SimpleNamespace:
    """A model that was exported, with its tokenizer, the folder and the result; the weights lie in the folder too."""
    model.save_pretrained(folder)
    return SimpleNamespace(
        model=model, tokenizer=tokenizer, folder=folder, done=export_onnx(model, tokenizer, folder, LINES)
    )


@pytest.fixture(scope="module")
def tagger(_tokenizer, tmp_path_factory) -> SimpleNamespace:
    """A pruned token classifier, exported."""
    counts = hf_afro.count_tokens(SENTENCES, _tokenizer)
    torch.manual_seed(0)
    model = XLMRobertaForTokenClassification(tiny_config(len(_tokenizer), num_labels=5)).eval()
    result = hf_afro.prune_vocabulary(model, _tokenizer, hf_afro.select_tokens(counts, budget=450))
    return exported_by(result.model, result.tokenizer, tmp_path_factory.mktemp("tagger"))


@pytest.fixture(scope="module")
def pair_classifier(tmp_path_factory) -> SimpleNamespace:
    """A BERT for which it matters which text of a pair a token belongs to, exported."""
    tokenizer = bert(lower=False)
    torch.manual_seed(0)
    settings = tiny_config(len(tokenizer), max_position_embeddings=64, type_vocab_size=2, num_labels=3).to_dict()
    special = {"pad_token_id": tokenizer.pad_token_id, "model_type": "bert", "initializer_range": 0.25}
    model = BertForSequenceClassification(BertConfig(**{**settings, **special})).eval()
    return exported_by(model, tokenizer, tmp_path_factory.mktemp("pairs"))


@pytest.mark.parametrize("head", ["Model", "ForMaskedLM"])
def test_a_student_is_exported_padded_and_gives_the_same(tmp_path, tokenizer, head):
    model = make(head, student_config(len(tokenizer), unpad=True)).bfloat16()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    done = export_onnx(model, tokenizer, tmp_path, LINES, formats=["fp32"])
    assert model.dtype == torch.bfloat16
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert done.output == ("last_hidden_state" if head == "Model" else "logits")
    assert (done.sentences, done.graphs["fp32"].difference < 1e-4) == (20, True)
    for texts in (LINES[:3], LINES[:1], LINES[7:19]):
        found, held = ran(tmp_path, texts)
        wanted = of_torch(model.float(), tokenizer, texts)
        np.testing.assert_allclose(found[held], wanted[held], rtol=0, atol=1e-4)


def test_a_graph_knows_which_text_of_a_pair_a_token_is_of(pair_classifier):
    """onnx_pairs: without token_type_ids the logits of a classifier of pairs were 2.85 from torch's."""
    model, folder, done = pair_classifier.model, pair_classifier.folder, pair_classifier.done
    assert done.inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert (done.sentences, done.pairs) == (20, 20)
    assert json.loads((folder / EXPORT_FILE).read_text("utf-8"))["inputs"] == list(done.inputs)
    pairs = (LINES[:12], LINES[5:17])
    batch = AutoTokenizer.from_pretrained(folder)(*pairs, padding=True, truncation=True, return_tensors="pt")
    assert batch["token_type_ids"].any()
    with torch.inference_mode():
        wanted = model(**batch)[0].numpy()
        of_one_type = model(**{**batch, "token_type_ids": torch.zeros_like(batch["token_type_ids"])})[0].numpy()
    assert np.abs(wanted - of_one_type).max() > 0.5
    given = {name: values.numpy() for name, values in batch.items()}
    for graph, largest in ((onnx.GRAPH, 1e-4), (FORMATS["int8"], 2 * done.graphs["int8"].difference)):
        session = onnxruntime.InferenceSession(folder / graph)
        assert [one.name for one in session.get_inputs()] == list(done.inputs)
        np.testing.assert_allclose(session.run(None, given)[0], wanted, rtol=0, atol=largest)


@pytest.mark.parametrize(
    ("kind", "types"), [(BertForSequenceClassification, 1), (XLMRobertaForSequenceClassification, 2)]
)
def test_no_types_where_the_model_has_one_or_the_tokenizer_gives_none(tokenizer, kind, types):
    splitter = bert(lower=False) if kind is BertForSequenceClassification else tokenizer
    model = kind(kind.config_class(**tiny_config(len(splitter), type_vocab_size=types).to_dict()))
    inputs = onnx.inputs_of(model, splitter)
    assert inputs == ("input_ids", "attention_mask")
    assert onnx._takes_pairs(model, inputs)


def test_a_pruned_classifier_in_both_precisions(tagger):
    found, held = ran(tagger.folder, LINES)
    wanted = of_torch(tagger.model, tagger.tokenizer, LINES)
    np.testing.assert_allclose(found[held], wanted[held], atol=1e-4)
    graphs = tagger.done.graphs
    assert graphs["int8"].bytes < 0.6 * graphs["fp32"].bytes
    assert graphs["int8"].bytes == (tagger.folder / FORMATS["int8"]).stat().st_size
    quantised, _ = ran(tagger.folder, LINES, FORMATS["int8"])
    difference = np.abs(quantised - wanted)[held].max()
    assert 0 < difference < 0.1
    assert graphs["int8"].difference == pytest.approx(difference, abs=0.02)
    assert 0.5 < graphs["int8"].agreement <= 1
    assert min(one.milliseconds for one in (tagger.done.torch, *graphs.values())) > 0


def test_each_format_is_compared_and_only_those_asked_for_are_written(tagger, tmp_path):
    """fp16 is nearer to torch than int8, int8 than 4 bits; the score of each is that of the graph itself."""
    wanted = of_torch(tagger.model, tagger.tokenizer, LINES)
    batch = tagger.tokenizer(LINES, padding=True, return_tensors="pt")
    held = batch["attention_mask"].bool()

    @torch.no_grad()
    def score(model) -> float:
        return float((model(**batch).logits[held] - torch.from_numpy(wanted)[held]).abs().mean())

    small = ["int4", "fp16", "int8"]
    done = export_onnx(tagger.model, tagger.tokenizer, tmp_path, LINES, formats=small, score=score, metric="distance")
    assert {path.name for path in (tmp_path / "onnx").iterdir()} == {
        "model_fp16.onnx", "model_quantized.onnx", "model_q4.onnx"
    }  # fmt: skip
    assert (done.metric, done.torch.score, done.torch.difference) == ("distance", pytest.approx(0, abs=1e-6), None)
    figures = [done.graphs[name] for name in ("fp16", "int8", "int4")]
    assert list(done.graphs) == ["fp16", "int8", "int4"]
    for name in ("difference", "score"):
        values = [getattr(one, name) for one in figures]
        assert 0 < values[0] < values[1] < values[2] < 1, name
    record = json.loads((tmp_path / EXPORT_FILE).read_text("utf-8"))
    assert record["graphs"]["int4"]["score"] == figures[2].score
    assert record["threads"] == torch.get_num_threads()


def test_a_graph_is_called_as_its_model(pair_classifier):
    graph = onnx.OnnxModel(pair_classifier.folder / onnx.GRAPH, pair_classifier.model.config)
    batch = pair_classifier.tokenizer(LINES[:4], LINES[4:8], padding=True, return_tensors="pt")
    with torch.inference_mode():
        torch.testing.assert_close(graph(**batch).logits, pair_classifier.model(**batch).logits, rtol=0, atol=1e-4)
        del batch["token_type_ids"]
        torch.testing.assert_close(graph(**batch)[0], pair_classifier.model(**batch)[0], rtol=0, atol=1e-4)


def test_a_folder_with_graphs_beside_its_weights_can_be_published(tagger):
    assert {"onnx/model.onnx", "model.safetensors"} <= {file.path for file in gather(tagger.folder).files}


# The ten lines of the guide, in a process in which torch cannot be imported.
def test_ten_lines_without_torch_read_the_folder(tagger, tmp_path):
    shutil.copytree(tagger.folder, tmp_path / "exported")
    page = (ROOT / "docs" / "how_to" / "export.md").read_text("utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "onnxruntime" in block]
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 10
    without = "import sys\nfor name in ('torch', 'transformers', 'hf_afro'): sys.modules[name] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{without}{code}\nprint(logits.shape)"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\(2, \d+, 5\)", done.stdout.splitlines()[-1])


def test_the_command_writes_the_layout_of_transformers_js_and_nothing_of_this_machine(tmp_path, tokenizer, capsys):
    config = student_config(len(tokenizer), unpad=True, num_labels=3)
    config.id2label = {0: "O", 1: "B-PER", 2: "I-PER"}
    make("ForTokenClassification", config).save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    assert main(["export", str(tmp_path / "m"), "--to", "onnx", "--output_dir", str(tmp_path / "out")]) == 0
    out = tmp_path / "out"
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {"onnx/model.onnx", "onnx/model_quantized.onnx", "tokenizer.json", "config.json", "export.json"} <= found
    assert not any(name.endswith((".safetensors", ".bin", ".prepared")) for name in found)
    config = json.loads((out / "config.json").read_text("utf-8"))
    # Transformers.js knows model types and not our classes, and reads the labels here.
    assert (config["model_type"], config["architectures"]) == ("xlm-roberta", ["XLMRobertaForTokenClassification"])
    assert config["id2label"] == {"0": "O", "1": "B-PER", "2": "I-PER"}
    assert json.loads((out / "tokenizer_config.json").read_text("utf-8"))["model_max_length"] == 64
    places = [str(tmp_path), str(ROOT), str(Path.home()) + "/", os.path.dirname(torch.__file__)]
    for name in found - {"hf_afro_run.json"}:
        assert not [place for place in places if place.encode() in (out / name).read_bytes()], name
    report = json.loads((out / "export.json").read_text("utf-8"))
    assert (report["to"], report["output"]) == ("onnx", "logits")
    assert "onnx/model_quantized.onnx" in capsys.readouterr().out


def test_the_command_scores_every_graph_and_the_card_shows_it(tmp_path, tokenizer, capsys):
    """The score of torch is what its own predictions have, and each graph's is counted from its own."""
    write_tasks(tmp_path / "tasks", sizes={"train": 16, "dev": 4, "test": 6}, languages=["swa"])
    data = load_task("ner", str(tmp_path / "tasks" / "ner"), "swa")
    labels = {"id2label": dict(enumerate(data.labels)), "label2id": {name: at for at, name in enumerate(data.labels)}}
    model = make("ForTokenClassification", student_config(len(tokenizer), max_position_embeddings=130, **labels))
    with torch.no_grad():
        model.classifier.weight.mul_(20)
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    options = ["--to", "onnx", "--formats", "fp32,int4", "--data", f"ner={tmp_path / 'tasks' / 'ner'}"]
    assert main(["export", str(tmp_path / "m"), *options, "--output_dir", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / EXPORT_FILE).read_text("utf-8"))
    tuned = FineTuned(
        model=model,
        tokenizer=tokenizer,
        labels=data.labels,
        dev_scores=(),
        best_epoch=0,
        seconds=0.0,
        task="ner",
        max_length=128,
        eval_batch_size=1,
    )
    wanted = task_scores("ner", data.labels, data.gold(), tuned.predict(data))["entity_f1"]
    assert wanted > 0
    assert record["torch"]["score"] == record["graphs"]["fp32"]["score"] == pytest.approx(wanted)
    assert (record["metric"], list(record["graphs"])) == ("entity_f1", ["fp32", "int4"])
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    (row,) = [line for line in printed if line[:1] == [FORMATS["int4"]]]
    score = record["graphs"]["int4"]["score"]
    assert row[-2:] == [f"{100 * score:.2f}", f"{100 * (wanted - score):.2f}"]
    figures = exported_figures(tmp_path / "out")
    assert figures[FORMATS["int4"]]["entity F1"] == round(100 * score, 2)
    assert figures["torch"]["lost"] == 0


def test_a_model_of_more_labels_in_another_order_is_scored_by_their_names(tokenizer, monkeypatch):
    """As one that was trained jointly; of the four answers one is a label that the set lacks."""
    examples = [("moja", ["joy"]), ("mbili", ["joy", "fear"]), ("tatu", []), ("nne", ["fear"])]
    data = make_task_data("emotion", "swa", "made/swa", {"train": examples, "dev": examples, "test": examples})
    labels = ("surprise", "joy", "fear")
    assert data.labels == ("fear", "joy")
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: at for at, name in enumerate(labels)}}
    model = XLMRobertaForSequenceClassification(tiny_config(len(tokenizer), **names)).eval()
    logits = torch.tensor([[-1.0, 2, -1], [-1, 3, 1], [1, -1, -1], [-1, 2, -1]])
    ids = [tokenizer(text)["input_ids"] for text, _ in examples]

    def answer(input_ids, **_others):
        return SimpleNamespace(logits=logits[[ids.index(row) for row in input_ids.tolist()]])

    monkeypatch.setattr(model, "forward", answer)
    monkeypatch.setattr(steps_export, "load_sets", lambda *_settings: [data])
    score, metric = steps_export.scorer("emotion=made", None, model, tokenizer)
    # Joy: 2 right, 3 predicted, 2 correct. Fear: 1, 1, 2. Surprise: 0, 1, 0.
    assert (metric, score(model)) == ("macro_f1", pytest.approx((4 / 5 + 2 / 3 + 0) / 3))
    model.config.problem_type = "single_label_classification"
    with pytest.raises(ValueError, match="the problem_type 'single_label_classification'; expected 'multi_label_cl"):
        steps_export.scorer("emotion=made", None, model, tokenizer)
    model.config.id2label = {0: "joy", 1: "anger"}
    model.config.problem_type = None
    with pytest.raises(
        ValueError, match="made/swa has the labels fear, joy; expected some of the model's, joy, anger"
    ):
        steps_export.scorer("emotion=made", None, model, tokenizer)


@pytest.fixture
def stale_graph(tagger, monkeypatch):
    """Let every export write the graph of the tagger as it was exported, whatever the model is now."""
    graph = tagger.folder / onnx.GRAPH
    monkeypatch.setattr(onnx, "write_graph", lambda model, example, path: shutil.copy(graph, path))


def test_a_graph_that_is_not_what_torch_computes_is_refused(tagger, tmp_path, stale_graph, capsys):
    model = copy.deepcopy(tagger.model)
    with torch.no_grad():
        model.get_input_embeddings().weight.neg_()
    model.save_pretrained(tmp_path / "m")
    tagger.tokenizer.save_pretrained(tmp_path / "m")
    assert main(["export", str(tmp_path / "m"), "--to", "onnx", "--output_dir", str(tmp_path / "out")]) == 2
    assert "differs from torch by" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_numbers_that_are_not_finite_are_refused(tagger, tmp_path, stale_graph):
    model = copy.deepcopy(tagger.model)
    with torch.no_grad():
        model.base_model.encoder.layer[0].output.dense.bias[0] = torch.nan
    with pytest.raises(ValueError, match="differs from torch by nan"):
        export_onnx(model, tagger.tokenizer, tmp_path, SENTENCES["swa"][:4])


def test_the_comparison_runs_on_pairs(pair_classifier, tmp_path, monkeypatch):
    """A graph that is wrong on second texts alone is refused, not accepted for its single sentences."""
    model = copy.deepcopy(pair_classifier.model)
    with torch.no_grad():
        model.bert.embeddings.token_type_embeddings.weight[1].neg_()
    graph = pair_classifier.folder / onnx.GRAPH
    monkeypatch.setattr(onnx, "write_graph", lambda model, example, path: shutil.copy(graph, path))
    with pytest.raises(ValueError, match="differs from torch by .* on 20 sentences"):
        export_onnx(model, pair_classifier.tokenizer, tmp_path, LINES, formats=["fp32"])


def test_decisions_are_those_of_the_kind_of_problem(pair_classifier):
    model, logits = copy.deepcopy(pair_classifier.model), np.array([[1.0, 2.0, -1.0]])
    assert onnx._decisions_of(model)(logits).tolist() == [[1]]
    model.config.problem_type = "multi_label_classification"
    assert onnx._decisions_of(model)(logits).tolist() == [[True, True, False]]
    model.config.problem_type = "regression"
    assert onnx._decisions_of(model) is None
    model.config.problem_type, model.config.id2label = None, {0: "LABEL_0"}
    assert onnx._decisions_of(model) is None


def test_a_model_of_several_labels_and_one_of_a_number_are_exported(tmp_path, tokenizer):
    for problem, labels in (("multi_label_classification", 3), ("regression", 1)):
        config = tiny_config(len(tokenizer), problem_type=problem, num_labels=labels)
        model = XLMRobertaForSequenceClassification(config).eval()
        done = export_onnx(model, tokenizer, tmp_path / problem, LINES)
        assert (done.graphs["int8"].agreement is None) == (problem == "regression")
        found, _ = ran(tmp_path / problem, LINES[:3])
        assert found.shape == (3, labels)
        np.testing.assert_allclose(found, of_torch(model, tokenizer, LINES[:3]), rtol=0, atol=1e-4)


def test_what_is_not_exported_is_said_before_work_begins(tmp_path, tokenizer, model, monkeypatch):
    with pytest.raises(ValueError, match="AfroStudentForQuestionAnswering is not exported to ONNX"):
        export_onnx(make("ForQuestionAnswering", student_config(len(tokenizer))), tokenizer, tmp_path / "a", LINES)
    with pytest.raises(ValueError, match="formats has 'q4'; .*fp32, fp16, int8, int4"):
        export_onnx(model, tokenizer, tmp_path / "a", LINES, formats=["fp32", "q4"])
    with pytest.raises(ValueError, match="received 1 sentences to compare on"):
        export_onnx(model, tokenizer, tmp_path / "a", LINES[:1])
    monkeypatch.setattr(onnx, "_LARGEST", 1000)
    with pytest.raises(ValueError, match="an ONNX file holds at most 0.00; prune its vocabulary"):
        export_onnx(model, tokenizer, tmp_path / "b", LINES)
    monkeypatch.setattr(onnx, "_REQUIRED", ("onnx", "onnx_of_tomorrow"))
    with pytest.raises(ModuleNotFoundError, match=r"needs onnx_of_tomorrow; pip install 'hf_afro\[onnx\]'"):
        export_onnx(model, tokenizer, tmp_path / "c", LINES)

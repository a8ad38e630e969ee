"""What ONNX Runtime computes is what torch computes, in a folder that needs neither torch nor this library."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

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
from hf_afro.export import export_onnx, onnx_folder, onnx_graph
from hf_afro.hub import gather
from tests.conftest import tiny_config
from tests.students.conftest import student_config
from tests.students.test_modeling_afro_student import make
from tests.texts import SENTENCES
from tests.vocabulary.kinds import bert

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
pytest.importorskip("onnxscript", reason="needs the extra `onnx`")

LINES = [line for language in SENTENCES.values() for line in language][:20]
ROOT = Path(__file__).resolve().parents[2]


def ran(folder: Path, texts: list[str], graph: str = onnx_folder.GRAPH) -> tuple[np.ndarray, np.ndarray]:
    """What a graph gives for texts by the tokenizers library alone, and the mask."""
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


def pruned(tokenizer, head_class):
    """A pruned model with a head, and its tokenizer."""
    counts = hf_afro.count_tokens(SENTENCES, tokenizer)
    torch.manual_seed(0)
    model = head_class(tiny_config(len(tokenizer), num_labels=5)).eval()
    result = hf_afro.prune_vocabulary(model, tokenizer, hf_afro.select_tokens(counts, budget=450))
    return result.model, result.tokenizer


@pytest.mark.parametrize("head", ["Model", "ForMaskedLM"])
def test_a_student_is_exported_padded_and_gives_the_same(tmp_path, tokenizer, head):
    model = make(head, student_config(len(tokenizer), unpad=True)).bfloat16()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    done = export_onnx(model, tokenizer, tmp_path, LINES)
    assert model.dtype == torch.bfloat16
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert done.output == ("last_hidden_state" if head == "Model" else "logits")
    assert (done.sentences, done.fp32_difference < 1e-4) == (20, True)
    for texts in (LINES[:3], LINES[:1], LINES[7:19]):
        found, held = ran(tmp_path, texts)
        wanted = of_torch(model.float(), tokenizer, texts)
        np.testing.assert_allclose(found[held], wanted[held], rtol=0, atol=1e-4)


def pair_classifier(tokenizer):
    """A BERT for which it matters which text of a pair a token is of."""
    torch.manual_seed(0)
    settings = tiny_config(len(tokenizer), max_position_embeddings=64, type_vocab_size=2, num_labels=3).to_dict()
    special = {"pad_token_id": tokenizer.pad_token_id, "model_type": "bert", "initializer_range": 0.25}
    return BertForSequenceClassification(BertConfig(**{**settings, **special})).eval()


def test_a_graph_knows_which_text_of_a_pair_a_token_is_of(tmp_path):
    """onnx_pairs: without token_type_ids the logits of a classifier of pairs were 2.85 from torch's."""
    tokenizer = bert(lower=False)
    model = pair_classifier(tokenizer)
    done = export_onnx(model, tokenizer, tmp_path, LINES)
    assert done.inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert (done.sentences, done.pairs) == (20, 20)
    assert json.loads((tmp_path / "export.json").read_text("utf-8"))["inputs"] == list(done.inputs)
    pairs = (LINES[:12], LINES[5:17])
    batch = AutoTokenizer.from_pretrained(tmp_path)(*pairs, padding=True, truncation=True, return_tensors="pt")
    assert batch["token_type_ids"].any()
    with torch.inference_mode():
        wanted = model(**batch)[0].numpy()
        of_one_type = model(**{**batch, "token_type_ids": torch.zeros_like(batch["token_type_ids"])})[0].numpy()
    assert np.abs(wanted - of_one_type).max() > 0.5
    given = {name: values.numpy() for name, values in batch.items()}
    for graph, largest in ((onnx_folder.GRAPH, 1e-4), (onnx_folder.QUANTISED, 2 * done.int8_difference)):
        session = onnxruntime.InferenceSession(tmp_path / graph)
        assert [one.name for one in session.get_inputs()] == list(done.inputs)
        np.testing.assert_allclose(session.run(None, given)[0], wanted, rtol=0, atol=largest)


def test_the_comparison_runs_on_pairs(tmp_path, monkeypatch):
    """A graph that is wrong on second texts alone is refused, not written with the difference of single sentences."""
    tokenizer = bert(lower=False)
    model = pair_classifier(tokenizer)
    table = model.bert.embeddings.token_type_embeddings.weight

    def another(model, example, path):
        with torch.no_grad():
            table[1].neg_()
            onnx_graph.write_graph(model, example, path)
            table[1].neg_()

    monkeypatch.setattr(onnx_folder, "write_graph", another)
    with pytest.raises(ValueError, match="from torch on 20 sentences"):
        export_onnx(model, tokenizer, tmp_path, LINES, int8=False)


@pytest.mark.parametrize(
    ("kind", "types"), [(BertForSequenceClassification, 1), (XLMRobertaForSequenceClassification, 2)]
)
def test_no_types_where_the_model_has_one_or_the_tokenizer_gives_none(tokenizer, kind, types):
    splitter = bert(lower=False) if kind is BertForSequenceClassification else tokenizer
    model = kind(kind.config_class(**tiny_config(len(splitter), type_vocab_size=types).to_dict()))
    assert onnx_graph.inputs_of(model, splitter) == ("input_ids", "attention_mask")


@pytest.mark.parametrize("head_class", [XLMRobertaForTokenClassification, XLMRobertaForSequenceClassification])
def test_a_pruned_classifier_in_both_precisions(tmp_path, tokenizer, head_class):
    model, tokenizer = pruned(tokenizer, head_class)
    done = export_onnx(model, tokenizer, tmp_path, LINES)
    found, held = ran(tmp_path, LINES)
    wanted = of_torch(model, tokenizer, LINES)
    by_token = wanted.ndim == 3
    np.testing.assert_allclose(found[held] if by_token else found, wanted[held] if by_token else wanted, atol=1e-4)
    assert done.bytes[onnx_folder.QUANTISED] < 0.6 * done.bytes[onnx_folder.GRAPH]
    quantised, _ = ran(tmp_path, LINES, onnx_folder.QUANTISED)
    apart = np.abs(quantised - wanted)[held if by_token else slice(None)].max()
    assert 0 < apart < 0.1
    assert done.int8_difference == pytest.approx(apart, abs=0.02)
    assert 0.5 < done.int8_agreement <= 1


# The ten lines of the guide, in a process in which torch cannot be imported.
def test_ten_lines_without_torch_read_the_folder(tmp_path, tokenizer):
    model, tokenizer = pruned(tokenizer, XLMRobertaForTokenClassification)
    export_onnx(model, tokenizer, tmp_path / "exported", LINES)
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "laptop.md").read_text("utf-8"), re.S)
        if "onnxruntime" in block
    ]
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


def test_a_graph_that_is_not_what_torch_computes_is_refused(tmp_path, tokenizer, model, monkeypatch, capsys):
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")

    def another(model, example, path):
        with torch.no_grad():
            next(model.parameters())[9] += 1.0
            onnx_graph.write_graph(model, example, path)
            next(model.parameters())[9] -= 1.0

    monkeypatch.setattr(onnx_folder, "write_graph", another)
    assert main(["export", str(tmp_path / "m"), "--to", "onnx", "--output_dir", str(tmp_path / "out")]) == 2
    assert "from torch on" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_numbers_that_are_not_finite_are_refused(tmp_path, tokenizer, model):
    with torch.no_grad():
        model.base_model.encoder.layer[0].output.dense.bias[0] = torch.nan
    with pytest.raises(ValueError, match="is nan from torch"):
        export_onnx(model, tokenizer, tmp_path / "out", SENTENCES["swa"][:4])


def test_what_is_not_exported_is_said_before_work_begins(tmp_path, tokenizer, model, monkeypatch):
    with pytest.raises(ValueError, match="AfroStudentForQuestionAnswering is not exported to ONNX"):
        export_onnx(make("ForQuestionAnswering", student_config(len(tokenizer))), tokenizer, tmp_path / "a", LINES)
    with pytest.raises(ValueError, match="received 1 sentences to compare on"):
        export_onnx(model, tokenizer, tmp_path / "a", LINES[:1])
    monkeypatch.setattr(onnx_graph, "_LARGEST", 1000)
    with pytest.raises(ValueError, match="a file of ONNX ends at 0.00; prune its vocabulary"):
        export_onnx(model, tokenizer, tmp_path / "b", LINES)
    monkeypatch.setattr(onnx_graph, "_NEEDED", ("onnx", "onnx_of_tomorrow"))
    with pytest.raises(ModuleNotFoundError, match=r"needs onnx_of_tomorrow; pip install 'hf_afro\[onnx\]'"):
        export_onnx(model, tokenizer, tmp_path / "c", LINES)


def test_what_is_published_of_it_has_no_traces(tmp_path, tokenizer, model):
    """A pushed folder may hold graphs beside its weights; see `hf_afro.hub.gather`."""
    model.save_pretrained(tmp_path)
    export_onnx(model, tokenizer, tmp_path, LINES, int8=False)
    assert "onnx/model.onnx" in [file.path for file in gather(tmp_path).files]

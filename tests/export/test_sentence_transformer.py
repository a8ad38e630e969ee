"""An encoder loads as a SentenceTransformer and gives the mean of its states, of length one."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from hf_afro.cli.main import main
from hf_afro.export import export_sentence_transformer
from tests.students.conftest import student_config
from tests.students.test_modeling_afro_student import make
from tests.texts import SENTENCES

sentence_transformers = pytest.importorskip("sentence_transformers", reason="needs the extra `sentence`")

LINES = SENTENCES["swa"][:4]


def means(model, tokenizer) -> np.ndarray:
    batch = tokenizer(LINES, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model.base_model(**batch)[0]
    held = batch["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((states * held).sum(1) / held.sum(1)).numpy()


@pytest.mark.parametrize("size", [8, None], ids=["factorised", "plain"])
def test_a_students_vectors_are_the_means_of_its_states(tmp_path, tokenizer, size):
    student = make("ForMaskedLM", student_config(len(tokenizer), embedding_size=size, unpad=True))
    assert export_sentence_transformer(student, tokenizer, tmp_path / "out") == 32
    loaded = sentence_transformers.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    np.testing.assert_allclose(loaded.encode(LINES), means(student, tokenizer), rtol=0, atol=1e-5)
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert config["model_type"] == ("afro-student" if size else "xlm-roberta")
    assert (tmp_path / "out" / "modeling_afro_student.py").exists() == bool(size)
    pooling = json.loads((tmp_path / "out" / "1_Pooling" / "config.json").read_text("utf-8"))
    assert "mean" in json.dumps(pooling)


def test_the_command_and_what_it_refuses(tmp_path, tokenizer, model, capsys):
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    words = ["export", str(tmp_path / "m"), "--to", "sentence-transformers", "--output_dir", str(tmp_path / "out")]
    assert main([*words, "--text", str(tmp_path)]) == 2
    assert "--text is for --to onnx" in capsys.readouterr().err
    assert main(words) == 0
    assert (tmp_path / "out" / "modules.json").is_file()
    with pytest.raises(ValueError, match="pooling is 'sum'; expected one of mean, cls, max"):
        export_sentence_transformer(model, tokenizer, tmp_path / "b", pooling="sum")

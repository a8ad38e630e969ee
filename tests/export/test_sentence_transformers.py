"""An encoder becomes a SentenceTransformer, and a SentenceTransformer keeps its modules when pruned or exported."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from hf_afro.cli.main import main
from hf_afro.export import export_sentence_transformer
from hf_afro.sentence_modules import sentence_modules_of
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


PROMPTS = {"query": "Mvua kubwa ilinyesha "}


@pytest.fixture(params=["written now", "written in 2020"])
def embedder(request, tmp_path, tokenizer, model):
    """A folder with CLS pooling, a dense layer, a normalisation and prompts, in the present form and in an old one."""
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    model.base_model.save_pretrained(tmp_path / "body")
    tokenizer.save_pretrained(tmp_path / "body")
    torch.manual_seed(1)
    modules = [Transformer(str(tmp_path / "body")), Pooling(32, "cls"), Dense(32, 16), Normalize()]
    folder = tmp_path / "embedder"
    whole = sentence_transformers.SentenceTransformer(modules=modules, prompts=PROMPTS, device="cpu")
    whole.save_pretrained(str(folder), create_model_card=False)
    if request.param == "written in 2020":
        as_in_2020(folder)
    return folder


def as_in_2020(folder) -> None:
    """The encoder in a folder of its own, other names of the classes, a pickle, and nothing of what has no files."""
    paths = {"0_Transformer": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense", "3_Normalize": "Normalize"}
    (folder / "0_Transformer").mkdir()
    for path in [one for one in folder.iterdir() if one.is_file()]:
        if path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(folder / "0_Transformer" / path.name)
    settings = {"max_seq_length": 12, "do_lower_case": True}
    (folder / "0_Transformer" / "sentence_bert_config.json").write_text(json.dumps(settings), "utf-8")
    entries = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in paths.items()]
    (folder / "modules.json").write_text(json.dumps([{"idx": i, "name": str(i), **e} for i, e in enumerate(entries)]))
    dense = folder / "2_Dense" / "model.safetensors"
    torch.save(load_file(dense), dense.with_name("pytorch_model.bin"))
    dense.unlink()
    shutil.rmtree(folder / "3_Normalize")


def vectors(folder) -> list[np.ndarray]:
    """What a folder makes of texts, with a prompt and without."""
    loaded = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    assert [type(one).__name__ for one in loaded] == ["Transformer", "Pooling", "Dense", "Normalize"]
    assert loaded.prompts["query"] == PROMPTS["query"]
    return [loaded.encode(LINES), loaded.encode(LINES, prompt_name="query")]


def same(found: list[np.ndarray], wanted: list[np.ndarray]) -> bool:
    assert not np.array_equal(*wanted)
    return all(np.array_equal(*pair) for pair in zip(found, wanted, strict=True))


def test_a_sentence_transformer_pruned_in_both_ways_gives_the_same_vectors(embedder, tmp_path, capsys, caplog):
    """prune_sentence_transformer: in memory the width went from 16 to 32 and the pooling from CLS to mean."""
    wanted = vectors(embedder)
    (tmp_path / "text").mkdir()
    for language in ("swa", "yor"):
        (tmp_path / "text" / f"{language}.txt").write_text("\n".join(SENTENCES[language]) + "\n", "utf-8")
    counts = ["--output_dir", str(tmp_path / "counts")]
    assert main(["count", "--text", str(tmp_path / "text"), "--tokenizer", str(embedder), *counts]) == 0
    words = ["prune", "--model", str(embedder), "--counts", str(tmp_path / "counts"), "--no_characters"]
    for name, way in (("memory", []), ("files", ["--low_memory"])):
        out = tmp_path / name
        assert main([*words, *way, "--budget", "400", "--output_dir", str(out)]) == 0
        assert "carried: Transformer, Pooling, Dense, Normalize" in capsys.readouterr().out
        assert "the prompt" not in caplog.text
        assert len(AutoTokenizer.from_pretrained(out)) < len(AutoTokenizer.from_pretrained(tmp_path / "body"))
        assert same(vectors(out), wanted)
        assert not list(out.rglob("*.bin"))


@pytest.mark.parametrize("way", [[], ["--low_memory"]], ids=["in memory", "file by file"])
def test_a_prompt_whose_tokens_are_not_kept_is_told(way, model, tokenizer, tmp_path, caplog):
    """Every vector made with it would be another, and the text alone would show nothing."""
    folder = tmp_path / "m"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "modules.json").write_text('[{"path": "", "type": "sentence_transformers.models.Transformer"}]')
    prompts = {"prompts": {"query": SENTENCES["amh"][0], "document": SENTENCES["swa"][0], "none": ""}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "swa.txt").write_text("\n".join(SENTENCES["swa"]) + "\n", "utf-8")
    counts = ["--output_dir", str(tmp_path / "counts")]
    assert main(["count", "--text", str(tmp_path / "text"), "--tokenizer", str(folder), *counts]) == 0
    words = ["prune", "--model", str(folder), "--counts", str(tmp_path / "counts"), "--no_characters", *way]
    assert main([*words, "--budget", "300", "--output_dir", str(tmp_path / "out")]) == 0
    assert f"the prompt query, {SENTENCES['amh'][0]!r}, is now split differently" in caplog.text
    assert "the prompt document" not in caplog.text


def test_a_sentence_transformer_exported_keeps_its_modules(embedder, tmp_path, capsys):
    """export_st: it became the mean over the tokens, and nothing was said to be trained for it."""
    wanted = vectors(embedder)
    words = ["export", str(embedder), "--to", "sentence-transformers", "--output_dir", str(tmp_path / "out")]
    assert main([*words, "--pooling", "mean"]) == 2
    assert "has modules of its own: Transformer, Pooling, Dense, Normalize" in capsys.readouterr().err
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "a text becomes 16 numbers, by the modules of the model itself" in said
    assert "trained" not in said
    assert same(vectors(tmp_path / "out"), wanted)


@pytest.mark.parametrize("size", [8, None], ids=["factorised", "plain"])
def test_a_student_that_was_trained_as_a_sentence_transformer_is_exported_with_its_modules(tmp_path, tokenizer, size):
    student = make("ForMaskedLM", student_config(len(tokenizer), embedding_size=size))
    folder = tmp_path / "student"
    export_sentence_transformer(student, tokenizer, folder, pooling="cls")
    if not size:  # as training leaves one that says it is a student
        student.base_model.save_pretrained(folder)
    wanted = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(LINES)
    for form in ("sentence-transformers", "plain"):
        if form == "plain" or size:
            out = tmp_path / form
            assert main(["export", str(folder), "--to", form, "--output_dir", str(out)]) == 0
            found = sentence_transformers.SentenceTransformer(str(out), device="cpu").encode(LINES)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
            assert sentence_modules_of(out).names == ("Transformer", "Pooling", "Normalize")


def test_another_model_of_the_library_makes_no_vectors(tmp_path, tokenizer, model):
    (tmp_path / "modules.json").write_text('[{"path": "", "type": "sentence_transformers.models.Transformer"}]')
    (tmp_path / "config_sentence_transformers.json").write_text('{"model_type": "CrossEncoder"}')
    with pytest.raises(
        ValueError, match="is a CrossEncoder of sentence-transformers, which makes no vectors of texts"
    ):
        export_sentence_transformer(model, tokenizer, tmp_path / "out", modules_from=tmp_path)

"""Modules are read as modules.json lists them, and modules that cannot be copied are refused by name."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors.torch import load_file

from hf_afro.sentence_modules import encoder_of, sentence_modules_of

PRESENT = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
}


def entry(kind: str, path: str) -> dict[str, str]:
    return {"path": path, "type": PRESENT.get(kind, f"sentence_transformers.models.{kind}")}


def folder_of(folder, *entries, files=("config.json",)):
    """A folder that names modules, each with files of its own."""
    for one in entries:
        (folder / one["path"]).mkdir(parents=True, exist_ok=True)
        for name in files:
            (folder / one["path"] / name).write_text("{}", "utf-8")
    (folder / "modules.json").write_text(json.dumps(entries), "utf-8")
    return folder


def test_what_the_list_names_is_carried_whatever_its_name(tmp_path):
    modules = [
        entry("Transformer", ""),
        entry("Pooling", "pool"),
        entry("Dense", "layers/dense"),
        entry("Normalize", "n"),
    ]
    source = folder_of(tmp_path / "source", *modules)
    for name in ("config_sentence_transformers.json", "sentence_bert_config.json", "1_Pooling"):
        (source / name).write_text("{}", "utf-8")
    shutil.rmtree(source / "n")  # git keeps no empty folders
    (source / "pool" / "rust_model.ot").write_bytes(b"")
    found = sentence_modules_of(source)
    found.check(pruned=True)
    assert found.names == ("Transformer", "Pooling", "Dense", "Normalize")
    (tmp_path / "target").mkdir()
    found.carry(tmp_path / "target")
    assert {str(one.relative_to(tmp_path / "target")) for one in (tmp_path / "target").rglob("*.*")} == {
        "config_sentence_transformers.json",
        "layers/dense/config.json",
        "modules.json",
        "pool/config.json",
        "sentence_bert_config.json",
    }
    assert json.loads((tmp_path / "target" / "modules.json").read_text("utf-8")) == modules


def test_an_encoder_in_a_folder_of_its_own_comes_to_the_root(tmp_path):
    source = folder_of(tmp_path / "source", entry("Transformer", "0_Transformer"), entry("Pooling", "1_Pooling"))
    (source / "0_Transformer" / "sentence_roberta_config.json").write_text('{"max_seq_length": 16}', "utf-8")
    assert encoder_of(str(source)) == str(source / "0_Transformer")
    sentence_modules_of(source).carry(tmp_path)
    assert json.loads((tmp_path / "modules.json").read_text("utf-8"))[0]["path"] == ""
    assert json.loads((tmp_path / "sentence_roberta_config.json").read_text("utf-8")) == {"max_seq_length": 16}


def test_other_models_have_none(tmp_path):
    assert sentence_modules_of(tmp_path) is None
    assert encoder_of(str(tmp_path)) == str(tmp_path)
    assert encoder_of("intfloat/multilingual-e5-small") == "intfloat/multilingual-e5-small"


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "a/../../b", "C:\\models", "..\\b", "link", "", "."])
def test_a_module_outside_the_folder_is_refused(tmp_path, path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "link").symlink_to(tmp_path)
    (tmp_path / "m" / "modules.json").write_text(
        json.dumps([entry("Transformer", ""), entry("Pooling", path)]), "utf-8"
    )
    with pytest.raises(ValueError, match="expected a folder of its own inside the model's"):
        sentence_modules_of(tmp_path / "m")


@pytest.mark.parametrize("content", ["{", "{}", "[]", "[1]", '[{"path": ""}]', '[{"path": 1, "type": "a.B"}]'])
def test_a_damaged_list_is_refused(tmp_path, content):
    (tmp_path / "modules.json").write_text(content, "utf-8")
    with pytest.raises(ValueError, match="copy the folder again"):
        sentence_modules_of(tmp_path)


@pytest.mark.parametrize(
    "kind", ["WordWeights", "BoW", "SpladePooling", "MultiVectorMask", "LogitScore", "SparseAutoEncoder", "Router"]
)
def test_a_module_that_depends_on_the_vocabulary_is_not_pruned_along(tmp_path, kind):
    modules = sentence_modules_of(folder_of(tmp_path, entry("Transformer", ""), entry(kind, "1")))
    with pytest.raises(ValueError, match=rf"{kind} in 1: it may depend on the vocabulary"):
        modules.check(pruned=True)
    modules.check(pruned=False)


def test_logits_of_every_token_are_not_pruned_along(tmp_path):
    modules = sentence_modules_of(folder_of(tmp_path, entry("Transformer", ""), entry("Pooling", "1")))
    (tmp_path / "sentence_bert_config.json").write_text('{"transformer_task": "fill-mask"}', "utf-8")
    with pytest.raises(ValueError, match="its task is 'fill-mask', which gives one number per token"):
        modules.check(pruned=True)


@pytest.mark.parametrize(
    "entries",
    [
        [entry("StaticEmbedding", "")],
        [entry("Transformer", ""), entry("Transformer", "1")],
        [entry("Transformer", ""), {"path": "1", "type": "custom_st.Pooling"}],
    ],
)
def test_what_is_no_encoder_with_modules_of_the_library_is_refused(tmp_path, entries):
    modules = sentence_modules_of(folder_of(tmp_path, *entries))
    with pytest.raises(ValueError, match="expected a Transformer and then other modules of sentence-transformers"):
        modules.check(pruned=False)


def test_a_module_without_its_files_is_refused(tmp_path):
    modules = sentence_modules_of(folder_of(tmp_path, entry("Transformer", ""), entry("Pooling", "1")))
    shutil.rmtree(tmp_path / "1")
    with pytest.raises(ValueError, match=r"Pooling in 1: its files are missing; copy the folder again$"):
        modules.check(pruned=False)


def test_pickled_weights_become_safetensors_and_nothing_is_run(tmp_path):
    source = folder_of(tmp_path / "source", entry("Transformer", ""), entry("Dense", "2_Dense"))
    weights = {"linear.weight": torch.randn(16, 32).T, "linear.bias": torch.randn(32)}
    torch.save(weights, source / "2_Dense" / "pytorch_model.bin")
    modules = sentence_modules_of(source)
    modules.check(pruned=True)
    (tmp_path / "target").mkdir()
    modules.carry(tmp_path / "target")
    assert {one.name for one in (tmp_path / "target" / "2_Dense").iterdir()} == {"config.json", "model.safetensors"}
    found = load_file(tmp_path / "target" / "2_Dense" / "model.safetensors")
    assert all(torch.equal(found[name], one) for name, one in weights.items())
    torch.save({"linear": shutil.rmtree}, source / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(ValueError, match="holds no weights that can be read safely"):
        modules.check(pruned=True)


def embedder_of(folder, pooling=None, *, settings=None, prompts=None, extra=()):
    """A folder with an encoder, a pooling, perhaps other modules, and a normalisation."""
    modules = [entry("Transformer", ""), entry("Pooling", "1_Pooling"), *(entry(kind, kind) for kind in extra)]
    folder_of(folder, *modules, entry("Normalize", "2_Normalize"))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling or {}), "utf-8")
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings or {}), "utf-8")
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts or {}), "utf-8")
    return sentence_modules_of(folder)


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        ({"embedding_dimension": 384, "pooling_mode": "mean", "include_prompt": True}, "mean"),
        ({"pooling_mode": ["cls"]}, "cls"),
        ({"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False}, "max"),
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
        ({"word_embedding_dimension": 384}, "mean"),
    ],
)
def test_a_pooling_is_read_in_every_form(tmp_path, settings, pooling):
    assert embedder_of(tmp_path, settings).pooling == pooling


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"pooling": {"pooling_mode": ["cls", "mean"]}}, r"the pooling cls\+mean"),
        ({"pooling": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}}, r"the pooling cls\+mean"),
        ({"pooling": {"pooling_mode_weightedmean_tokens": True}}, "the pooling weightedmean"),
        ({"pooling": {"include_prompt": False}}, "the pooling mean without the prompt"),
        ({"extra": ("Dense",)}, "the module Dense"),
        ({"settings": {"do_lower_case": True}}, "do_lower_case"),
        ({"prompts": {"model_type": "CrossEncoder"}}, "a CrossEncoder"),
    ],
)
def test_vectors_that_are_more_than_a_pooling_are_refused(tmp_path, given, reason):
    modules = embedder_of(tmp_path, **given)
    with pytest.raises(ValueError, match=f"makes its vectors with {reason}, which only sentence-transformers does"):
        modules.pooling  # noqa: B018


def test_the_default_prompt_and_the_length(tmp_path):
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": "query"}
    modules = embedder_of(tmp_path, prompts=prompts, settings={"max_seq_length": 128})
    assert (modules.default_prompt, modules.max_length) == ("query: ", 128)
    prompts["default_prompt_name"] = None
    modules = embedder_of(tmp_path, prompts=prompts)
    assert (modules.default_prompt, modules.max_length) == ("", None)


@pytest.mark.parametrize("name", ["embedding_dimension", "word_embedding_dimension"])
def test_a_pooling_is_carried_to_another_width(tmp_path, name):
    (tmp_path / "target").mkdir()
    modules = embedder_of(tmp_path / "source", {name: 384, "pooling_mode": "cls"})
    modules.carry(tmp_path / "target", width=128)
    settings = json.loads((tmp_path / "target" / "1_Pooling" / "config.json").read_text("utf-8"))
    assert settings == {name: 128, "pooling_mode": "cls"}
    with pytest.raises(ValueError, match="has Dense, whose weights do not take vectors of width 128"):
        embedder_of(tmp_path / "other", extra=("Dense",)).carry(tmp_path / "target", width=128)


def test_of_a_repository_in_the_cache(tmp_path, monkeypatch, caplog):
    for name in ("constants", "_snapshot_download.constants", "file_download.constants"):
        monkeypatch.setattr(f"huggingface_hub.{name}.HF_HUB_CACHE", str(tmp_path))
    assert constants.HF_HUB_CACHE == str(tmp_path)
    repository = tmp_path / "models--you--embedder"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40, "utf-8")
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    assert sentence_modules_of("you/embedder") is None
    assert not caplog.records
    (snapshot / "config.json").write_text("{}", "utf-8")
    assert sentence_modules_of("you/embedder") is None
    assert encoder_of("you/embedder") == "you/embedder"
    (told,) = caplog.messages
    assert told.startswith("modules.json of you/embedder is not cached")
    assert told.endswith("its modules are not copied")
    folder_of(snapshot, entry("Transformer", ""), entry("Pooling", "1_Pooling"))
    found = sentence_modules_of("you/embedder")
    assert (found.folder, found.names) == (snapshot, ("Transformer", "Pooling"))
    assert encoder_of("you/embedder") == "you/embedder"


def test_of_a_repository_that_is_known_to_have_none(tmp_path, monkeypatch, caplog):
    """The cache remembers that the Hub was asked."""
    for name in ("constants", "_snapshot_download.constants", "file_download.constants"):
        monkeypatch.setattr(f"huggingface_hub.{name}.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--you--plain"
    for file, content in (
        ("refs/main", "a" * 40),
        (f"snapshots/{'a' * 40}/config.json", "{}"),
        (f".no_exist/{'a' * 40}/modules.json", ""),
    ):
        (repository / file).parent.mkdir(parents=True)
        (repository / file).write_text(content, "utf-8")
    assert sentence_modules_of("you/plain") is None
    assert not caplog.records


def answers(kind: type[HfHubHTTPError], message: str = "no") -> HfHubHTTPError:
    return kind(message, response=SimpleNamespace(headers={}, request=None))


def missing(cause: Exception) -> LocalEntryNotFoundError:
    error = LocalEntryNotFoundError("not in the cache")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("error", [answers(RemoteEntryNotFoundError), answers(RepositoryNotFoundError)])
def test_a_repository_that_has_no_list_is_another_model(monkeypatch, caplog, error):
    monkeypatch.setattr("huggingface_hub.hf_hub_download", Mock(side_effect=error))
    assert sentence_modules_of("you/other") is None
    assert not caplog.records


@pytest.mark.parametrize(
    "error",
    [
        answers(GatedRepoError, "ask for access"),
        answers(HfHubHTTPError, "ask for access"),
        missing(answers(HfHubHTTPError, "ask for access")),
        missing(FileMetadataError("ask for access")),
        PermissionError("ask for access"),
    ],
)
def test_a_list_that_cannot_be_fetched_is_not_taken_for_none(monkeypatch, error):
    monkeypatch.setattr("huggingface_hub.hf_hub_download", Mock(side_effect=error))
    with pytest.raises(
        ValueError, match=r"modules\.json of you/gated could not be fetched: ask for access; without it"
    ):
        sentence_modules_of("you/gated")


def test_without_a_connection_it_is_said_once(monkeypatch, caplog):
    error = missing(OSError("no route to host"))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", Mock(side_effect=error))
    assert [sentence_modules_of("you/far") for _ in range(2)] == [None, None]
    assert len(caplog.records) == 1

"""Contents of a push: files that are published, cleaned, skipped and refused."""

from __future__ import annotations

import json
import os
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hf_afro.hub import gather
from tests.hub.folders import CARD, counts, small_model, trained_model

TOKEN = "hf_" + "aB3" * 12


@pytest.fixture
def model(tmp_path):
    return small_model(tmp_path / "model")


def names(folder, **settings):
    return [file.path for file in gather(folder, **settings).files]


def test_a_model_goes_whole(model):
    contents = gather(model)
    assert names(model) == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    assert contents.size == sum(path.stat().st_size for path in model.iterdir())
    assert (contents.card, contents.left_out, contents.notes) == (CARD, {}, ())


def test_what_a_trainer_leaves_is_skipped(tmp_path, model):
    trained = trained_model(tmp_path / "trained", TOKEN)
    assert names(trained) == names(model)
    left_out = gather(trained).left_out
    assert set(left_out) == {path.name for path in trained.iterdir()} - set(names(model))
    assert "pickle" in left_out["training_args.bin"]


def test_pickled_weights_are_skipped_beside_safetensors_and_refused_alone(model):
    torch.save({}, model / "pytorch_model.bin")
    assert "pytorch_model.bin" in gather(model).left_out
    (model / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model.bin: is .bin, which may run code.*expected config.json"):
        gather(model)


class Trap:
    def __reduce__(self):
        return os.system, ("touch sprung",)


def object_array(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        file.write(pickle.dumps(Trap()))


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Trap()))


def object_archive(path: Path) -> None:
    object_array(path.with_name("one.npy"))
    with zipfile.ZipFile(path, "w") as file:
        file.write(path.with_name("one.npy"), "one.npy")
    path.with_name("one.npy").unlink()


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("model.pt", lambda path: torch.save({}, path), "is .pt, which may run code"),
        ("weights.H5", lambda path: path.write_bytes(b"x"), "is .H5, which may run code"),
        ("notes.model", lambda path: path.write_bytes(pickle.dumps(Trap())), "is a pickle under another name"),
        ("some.zip", archive, "holds archive/data.pkl"),
        ("array.npy", object_array, "holds Python objects"),
        ("arrays.npz", object_archive, "holds one.npy, which holds Python objects"),
        ("cut.npz", lambda path: path.write_bytes(b"PK\x05\x06" + b"\x09" * 16 + b"\0\0"), "File is not a zip|Bad"),
        ("more.safetensors", lambda path: path.write_bytes(b"\x09" * 90), "is not a complete safetensors file"),
        ("broken.json", lambda path: path.write_text("{"), "is not JSON"),
        ("latin.md", lambda path: path.write_bytes(b"caf\xe9"), "is not UTF-8"),
        ("out.txt", lambda path: path.symlink_to("/etc/hostname"), "is a link or not a regular file"),
        ("folder", lambda path: path.symlink_to("/etc"), "is a link or not a regular file"),
        ("pipe.txt", os.mkfifo, "is a link or not a regular file"),
    ],
)
def test_what_may_run_code_or_lead_elsewhere_is_refused(model, monkeypatch, name, write, message):
    monkeypatch.chdir(model.parent)
    write(model / name)
    with pytest.raises(ValueError, match=message) as caught:
        gather(model)
    assert f"{name}: " in str(caught.value)
    assert not Path("sprung").exists()


def test_shards_are_all_there(tmp_path):
    folder = small_model(tmp_path / "m", shards=3)
    assert sum(name.endswith(".safetensors") for name in names(folder)) == 3
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ValueError, match=r"lacks model-00002-of-00003.safetensors, which model.*index"):
        gather(folder)


def write_json(path: Path, **more) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}), "utf-8")


@pytest.mark.parametrize(
    "place",
    ["/home/ama/runs/pruned", "/scratch/lab/x", "{folder}/pruned", "C:\\Users\\ama\\pruned", "/nfs1/own/pruned"],
)
def test_local_paths_are_cut_out_of_json(model, place):
    place = place.format(folder=model.parent)
    write_json(model / "config.json", _name_or_path=place, built_from={"teacher": place, place: [f"from {place} on"]})
    (file,) = (one for one in gather(model).files if one.path == "config.json")
    last = place.replace("\\", "/").rpartition("/")[2]
    expected = {"teacher": last, last: [f"from {last} on"]}
    if place == "/nfs1/own/pruned":  # a path only if it stands alone
        expected = {"teacher": last, last: [f"from {place} on"]}
    assert json.loads(file.content) == {"model_type": "xlm-roberta", "seed": 0, "built_from": expected}
    assert file.size == len(file.content)
    assert place in " ".join(file.taken_out).replace("\\\\", "\\")
    assert place.encode() in (model / "config.json").read_bytes().replace(b"\\\\", b"\\"), "the folder is unchanged"


def test_names_of_the_hub_and_addresses_stay(model):
    kept = {
        "_name_or_path": "Davlan/afro-xlmr-base",
        "url": "https://x.org/home/ama/a",
        "also": "and/or/data/x",
        "s": "</s>",
    }
    write_json(model / "config.json", **kept)
    assert all(file.content is None for file in gather(model).files)


def test_the_pieces_of_a_tokenizer_are_no_paths(model):
    write_json(model / "tokenizer.json", source="/home/ama/texts/swa.txt")
    (file,) = (one for one in gather(model).files if one.path == "tokenizer.json")
    assert json.loads(file.content) == {"model": {"vocab": [["/home/piece", 0.0]]}, "source": "swa.txt"}


def test_what_looks_like_a_path_in_a_vocabulary_is_a_piece(model):
    pieces = ["/tmp/", "/home/ama/x", "C:\\Users\\ama"]
    (model / "vocab.txt").write_text("\n".join(pieces), "utf-8")
    (model / "merges.txt").write_text("/tmp /x\n", "utf-8")
    (model / "vocab.json").write_text(json.dumps({piece: n for n, piece in enumerate(pieces)}), "utf-8")
    (model / "spiece.model").write_bytes(b"\x00\x05/tmp/\x05/root/")
    files = {file.path: file for file in gather(model).files}
    for name in ("vocab.txt", "merges.txt", "vocab.json", "spiece.model"):
        assert files[name].content is None, name
    (model / "vocab.txt").write_text(f"a\n{TOKEN}\n", "utf-8")
    with pytest.raises(ValueError, match="vocab.txt: holds a token"):
        gather(model)


def test_added_tokens_are_left_as_they_are_and_settings_beside_them_are_not(model):
    kept = {
        "added_tokens_decoder": {"5": {"content": "/home/ama/x"}},
        "extra_special_tokens": ["/tmp/a/b"],
        "mask_token": "/data/mask",
    }
    (model / "tokenizer_config.json").write_text(json.dumps({**kept, "vocab_file": "/home/ama/x.model"}), "utf-8")
    (file,) = (one for one in gather(model).files if one.path == "tokenizer_config.json")
    assert json.loads(file.content) == {**kept, "vocab_file": "x.model"}


@pytest.mark.parametrize("text", ["b:\\d+x", "x:\\alpha", "a:\\n then", "see x:\\alpha\\beta", "C:\\"])
def test_a_letter_a_colon_and_a_backslash_are_no_path_of_windows(model, text):
    (model / "notes.txt").write_text(text, "utf-8")
    assert "notes.txt" in names(model)


@pytest.mark.parametrize("text", ["c:\\users\\ama", "C:\\Users\\ama\\x", "D:\\runs\\afro", "in C:\\\\Temp\\\\x"])
def test_a_path_of_windows_is_one(model, text):
    (model / "notes.txt").write_text(text, "utf-8")
    with pytest.raises(ValueError, match="notes.txt: names the local path"):
        gather(model)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("README.md", "---\nlicense: mit\n---\nmade in /home/ama/x.\n", r"local path /home/ama/x \(line 4\)"),
        ("README.md", "see file:///data/x", "local path file:///data/x"),
        ("notes.txt", "look in {folder}/texts", "local path {folder}/texts"),
        ("code.py", "open('~/corpora/x')", "local path ~/corpora/x"),
        ("README.md", "---\nlicense: [\n---\n", "its front matter is not YAML"),
        (
            "README.md",
            "---\nlicense: !!python/object/apply:os.system ['touch sprung']\n---\n",
            "its front matter is not YAML",
        ),
        ("README.md", "---\n- mit\n---\n", "its front matter is not a mapping"),
        ("README.md", "---\nlicense: mit\n", "its front matter is not a mapping"),
        ("README.md", f"my token is {TOKEN}", "holds a token"),
        ("config.json", json.dumps({"token": TOKEN}), "holds a token"),
        ("some.png", "x" * (1 << 20) + TOKEN, "holds a token"),
        ("spiece.model", "\x00input{folder}/swa.txt", "holds the local path"),
    ],
)
def test_paths_and_tokens_elsewhere_are_refused(model, monkeypatch, name, content, message):
    monkeypatch.chdir(model.parent)
    (model / name).write_text(content.replace("{folder}", str(model.parent)), "utf-8")
    with pytest.raises(ValueError, match=message.replace("{folder}", str(model.parent))) as caught:
        gather(model, token=TOKEN)
    assert TOKEN not in str(caught.value)
    assert not Path("sprung").exists()


@pytest.mark.parametrize(("text", "message"), [("/home/ama/x", "names the local path"), (TOKEN, "holds a token")])
def test_the_header_of_weights_is_looked_at(model, text, message):
    save_file({"layer": torch.zeros(2)}, model / "model.safetensors", {"source": text})
    with pytest.raises(ValueError, match=rf"model\.safetensors: {message}"):
        gather(model)


def test_a_token_that_is_not_in_use_is_found_in_a_binary_file(model):
    (model / "graph.onnx").write_bytes(b"\x00" * ((1 << 20) - 9) + TOKEN.encode() + b"\x00")
    with pytest.raises(ValueError, match=r"graph\.onnx: holds a token"):
        gather(model)


def test_all_that_is_wrong_is_told_at_once(model):
    (model / "a.pkl").write_bytes(b"")
    (model / "b.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.pkl: .*b\.pt: "):
        gather(model)


def test_a_card_from_elsewhere_takes_the_place_of_the_folders(model, tmp_path):
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "README.md").write_text("---\nlicense: mit\n---\nbetter\n", "utf-8")
    assert gather(model, card=tmp_path / "card").card.endswith("better\n")
    with pytest.raises(FileNotFoundError, match="absent does not exist; expected a card"):
        gather(model, card=tmp_path / "absent")


def test_a_card_of_any_size_is_not_read_whole(model):
    (model / "README.md").write_text("x" * ((2 << 20) + 1), "utf-8")
    with pytest.raises(ValueError, match="has more than 2,097,152 bytes"):
        gather(model)


def test_what_is_missing_is_noted(tmp_path):
    folder = small_model(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    (folder / "README.md").write_text("no front matter", "utf-8")
    assert [note.split(":")[0] for note in gather(folder).notes] == [
        "the card has no front matter",
        "there is no tokenizer",
    ]
    (folder / "README.md").unlink()
    assert gather(folder).notes[0].startswith("there is no card")


def test_a_student_without_its_code_is_noted(tmp_path):
    folder = small_model(tmp_path / "m")
    write_json(folder / "config.json", model_type="afro-student")
    (note,) = gather(folder).notes
    assert note.startswith("an afro-student loads only after `import hf_afro`; `hf-afro export m --to remote-code`")
    write_json(folder / "config.json", auto_map={"AutoModel": "modeling_afro_student.AfroStudentModel"})
    assert len(gather(folder).notes) == 1
    (folder / "modeling_afro_student.py").write_text("# code\n", "utf-8")
    assert gather(folder).notes == ()


def adapter(folder: Path, base: str) -> Path:
    small_model(folder)
    (folder / "config.json").unlink()
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}), "utf-8")
    return folder


def test_a_folder_of_adapters_or_models_names_those_in_it(tmp_path):
    for name in ("yor", "swa"):
        adapter(tmp_path / "adapters" / name, "ama/model")
    small_model(tmp_path / "adapters" / "swa" / "checkpoint-5")
    told = "adapters is no model itself and holds the adapters swa, yor; push each by itself, as in `hf-afro push"
    with pytest.raises(ValueError, match=re.escape(f"{told} {tmp_path}/adapters/swa`. Nothing was sent")):
        gather(tmp_path / "adapters")
    assert gather(tmp_path / "adapters" / "swa").files
    assert gather(tmp_path / "adapters", kind="dataset").files
    for name in ("ner-swa-1", "ner-swa-2"):
        small_model(tmp_path / "scores" / "models" / name)
    with pytest.raises(ValueError, match="holds the models models/ner-swa-1, models/ner-swa-2; push each by itself"):
        gather(tmp_path / "scores")


def test_scores_for_leaderboards_go_with_the_model_and_with_the_card(tmp_path, model):
    (model / ".eval_results").mkdir()
    (model / ".eval_results" / "old.yaml").write_text("- value: 0.5\n", "utf-8")
    assert ".eval_results/old.yaml" in names(model)
    card = small_model(tmp_path / "card")
    (card / ".eval_results").mkdir()
    (card / ".eval_results" / "new.yaml").write_text("- value: 0.6\n", "utf-8")
    assert [name for name in names(model, card=card) if name.endswith(".yaml")] == [
        ".eval_results/new.yaml",
        ".eval_results/old.yaml",
    ]
    (card / ".eval_results" / "new.yaml").write_text("source: /home/ama/scores\n", "utf-8")
    with pytest.raises(ValueError, match=r"\.eval_results/new\.yaml: "):
        gather(model, card=card)


def test_an_adapter_says_where_its_model_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "adapter_model.safetensors" in names(adapter(tmp_path / "a", "ama/model"))
    small_model(tmp_path / "pruned")
    for local in ("pruned", "./pruned", str(tmp_path / "pruned")):
        folder = adapter(tmp_path / "b", local)
        with pytest.raises(ValueError, match="base_model_name_or_path is the local folder 'pruned'; publish"):
            gather(folder)
        told = {file.path: file for file in gather(folder, base_model="ama/pruned").files}["adapter_config.json"]
        assert json.loads(told.content) == {"base_model_name_or_path": "ama/pruned"}


def test_data_needs_no_model(tmp_path):
    folder = counts(tmp_path / "counts")
    assert names(folder, kind="dataset") == ["counts.npz"]
    with pytest.raises(ValueError, match="it holds no model"):
        gather(folder)
    with pytest.raises(ValueError, match="kind is 'space'; expected model or dataset"):
        gather(folder, kind="space")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds nothing to publish"):
        gather(tmp_path / "empty", kind="dataset")
    with pytest.raises(NotADirectoryError, match="absent is not a folder"):
        gather(tmp_path / "absent")


def test_compressed_arrays_are_searched_for_local_paths_and_tokens(tmp_path):
    for number, text in enumerate((f"{tmp_path}/texts/swa.txt", TOKEN)):
        folder = tmp_path / f"counts-{number}"
        folder.mkdir()
        facts = json.dumps({"provenance": {"origin": text}}).encode()
        np.savez_compressed(folder / "counts.npz", count=np.arange(5), facts=np.frombuffer(facts, dtype=np.uint8))
        assert text.encode() not in (folder / "counts.npz").read_bytes()
        with pytest.raises(ValueError, match=r"counts.npz: holds (the local path|a token of the Hub)"):
            gather(folder, kind="dataset")

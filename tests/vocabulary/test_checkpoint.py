"""Pruning file by file gives the folder that pruning in memory saves; what cannot be pruned so is refused."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from huggingface_hub import constants
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from hf_afro.vocabulary import (
    VerificationError,
    VocabularyMap,
    checkpoint,
    count_tokens,
    foresee_pruning,
    prune_checkpoint,
    prune_vocabulary,
    select_tokens,
)
from tests.conftest import tiny_config
from tests.texts import AFRICAN
from tests.vocabulary.kinds import EXAMPLES, model_for
from tests.vocabulary.models import MODELS as OTHER_MODELS, SPECIALS, bart
from tests.vocabulary.test_pruning import MODELS

INDEX = "model.safetensors.index.json"


@pytest.fixture
def source(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "source")
    tokenizer.save_pretrained(tmp_path / "source")
    return tmp_path / "source"


def biased(model):
    for name, parameter in model.named_parameters():  # biases start at 0, which would hide a wrong row
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return model


def stored(folder):
    """All tensors of a folder's safetensors, and the files they are in."""
    tensors, places = {}, {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
        places |= dict.fromkeys(load_file(path), path.name)
    return tensors, places


def bits(tensor):
    return tensor.contiguous().flatten().view(torch.uint8)


def rewrite_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def assert_same_folder(streamed, in_memory):
    """Compare all files of two folders, byte for byte; only what was verified differs in the report."""
    assert sorted(path.name for path in streamed.iterdir()) == sorted(path.name for path in in_memory.iterdir())
    for path in streamed.iterdir():
        if path.name == "pruning_report.json":
            reports = [json.loads((folder / path.name).read_text("utf-8")) for folder in (streamed, in_memory)]
            for report in reports:
                report["verification"] = {key: report["verification"][key] for key in ("tokens", "texts_kept")}
            assert reports[0] == reports[1]
        elif path.name == "tokenizer.json":  # spaces between values may differ
            assert json.loads(path.read_text("utf-8")) == json.loads((in_memory / path.name).read_text("utf-8"))
        else:
            assert path.read_bytes() == (in_memory / path.name).read_bytes(), path.name


def prune_both_ways(model, tokenizer, keep, folder, **saving):
    model.save_pretrained(folder / "source", **saving)
    tokenizer.save_pretrained(folder / "source")
    loaded = type(model).from_pretrained(folder / "source")
    prune_vocabulary(loaded, hf.AutoTokenizer.from_pretrained(folder / "source"), keep).save_pretrained(
        folder / "in_memory"
    )
    return prune_checkpoint(folder / "source", keep, folder / "streamed")


@pytest.mark.parametrize("name", [*MODELS, *OTHER_MODELS])
def test_every_file_is_that_of_pruning_in_memory(name, tokenizer, keep, tmp_path):
    torch.manual_seed(1)
    model = biased({**MODELS, **OTHER_MODELS}[name](len(tokenizer)).eval())
    pruned = prune_both_ways(model, tokenizer, keep, tmp_path)
    assert_same_folder(tmp_path / "streamed", tmp_path / "in_memory")
    assert foresee_pruning(str(tmp_path / "source"), keep) == pruned.report


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_sizes_are_foreseen_for_every_format(weights, source, tokenizer, keep, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in source.iterdir()}
    model = hf.AutoModelForMaskedLM.from_pretrained(source)
    report = prune_vocabulary(model, tokenizer, keep, pad_to_multiple_of=64).report
    if weights != "model.safetensors":
        torch.save(model.state_dict(), source / weights)
        (source / "model.safetensors").unlink()
        before = {path: path.stat().st_mtime_ns for path in source.iterdir()}
    assert report.padding_rows > 0
    assert foresee_pruning(str(source), keep, pad_to_multiple_of=64) == report
    assert {path: path.stat().st_mtime_ns for path in source.iterdir()} == before
    other = VocabularyMap(keep.old_ids, keep.old_size, keep.old_unknown_id, "another")
    with pytest.raises(ValueError, match="the map was made for another tokenizer"):
        foresee_pruning(str(source), other)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_file_is_that_of_pruning_in_memory_for_each_kind_of_tokenizer(name, tmp_path):
    tokenizer = EXAMPLES[name].make()
    keep = select_tokens(count_tokens({"swa": AFRICAN["swa"], "yor": AFRICAN["yor"]}, tokenizer))
    prune_both_ways(model_for(name, tokenizer), tokenizer, keep, tmp_path)
    assert_same_folder(tmp_path / "streamed", tmp_path / "in_memory")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_and_spare_rows(tokenizer, keep, tmp_path, dtype):
    model = biased(hf.XLMRobertaForMaskedLM(tiny_config(len(tokenizer) + 7))).to(dtype).eval()
    pruned = prune_both_ways(model, tokenizer, keep, tmp_path)
    assert_same_folder(tmp_path / "streamed", tmp_path / "in_memory")
    assert pruned.report.spare_rows == 7


def test_shards_keep_their_layout(model, tokenizer, keep, tmp_path):
    pruned = prune_both_ways(biased(model), tokenizer, keep, tmp_path, max_shard_size="30KB")
    expected, _ = stored(tmp_path / "in_memory")
    found, places = stored(tmp_path / "streamed")
    assert set(found) == set(expected)
    assert all(torch.equal(bits(found[name]), bits(expected[name])) for name in expected)
    assert places == stored(tmp_path / "source")[1]
    assert len({*places.values()}) > 2
    index = json.loads((tmp_path / "streamed" / INDEX).read_text("utf-8"))
    assert index["weight_map"] == places
    assert index["metadata"] == {
        "total_size": sum(one.nbytes for one in found.values()),
        "total_parameters": pruned.report.new_parameters,
    }
    for path in (tmp_path / "streamed").glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            assert file.metadata() == {"format": "pt"}
    read, info = hf.AutoModelForMaskedLM.from_pretrained(tmp_path / "streamed", output_loading_info=True)
    assert not info["missing_keys"]
    assert read.get_output_embeddings().weight is read.get_input_embeddings().weight


def test_pieces_smaller_than_a_tensor_change_nothing(model, tokenizer, keep, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_afro.vocabulary.safetensors_rows._PIECE", 300)  # two rows and a half
    prune_both_ways(biased(model), tokenizer, keep, tmp_path)
    assert_same_folder(tmp_path / "streamed", tmp_path / "in_memory")


def test_as_many_tokens_as_the_model_is_wide(tokenizer, keep, tmp_path):
    config = tiny_config(len(tokenizer), hidden_size=len(keep), num_attention_heads=1)
    prune_both_ways(hf.XLMRobertaForMaskedLM(config).eval(), tokenizer, keep, tmp_path)
    assert_same_folder(tmp_path / "streamed", tmp_path / "in_memory")


def test_the_source_is_not_replaced(source, keep, tmp_path):
    keep.save(source / "vocabulary_map.json")  # as in a folder that was pruned before
    with pytest.raises(ValueError, match="output_dir is the source itself"):
        prune_checkpoint(source, keep, source)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tie_word_embeddings": False}, "are tied in one of the two models only"),
        ({"architectures": ["XLMRobertaForCausalLM"]}, "the class of the pruned model is XLMRobertaForCausalLM"),
        ({"max_position_embeddings": 70}, "its configuration says"),
    ],
)
def test_a_configuration_written_wrong_is_found(source, keep, tmp_path, monkeypatch, changes, message):
    write = checkpoint._write_configuration

    def write_wrongly(model, found, keep, folder):
        write(model, found, keep, folder)
        rewrite_json(folder / "config.json", **changes)

    monkeypatch.setattr(checkpoint, "_write_configuration", write_wrongly)
    with pytest.raises((VerificationError, ValueError), match=message):
        prune_checkpoint(source, keep, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_what_comes_back_says_what_was_done(source, keep, tmp_path):
    pruned = prune_checkpoint(source, keep, tmp_path / "out")
    assert pruned.folder == tmp_path / "out"
    assert pruned.vocabulary_map is keep
    assert pruned.verification.vocabulary_tensors == 2
    assert pruned.verification.texts_kept > 128
    assert pruned.verification.hidden_difference is None
    saved = json.loads((tmp_path / "out" / "pruning_report.json").read_text("utf-8"))
    assert saved["verification"]["tokenizer_classes"][0] == "XLMRobertaTokenizer"
    prune_checkpoint(source, keep, tmp_path / "out")  # replaces what it wrote itself


def test_generation_settings_move_with_their_tokens(source, tokenizer, keep, tmp_path):
    mask = len(tokenizer) - 1
    hf.GenerationConfig(eos_token_id=[2, mask], suppress_tokens=[-1, mask]).save_pretrained(source)
    rewrite_json(source / "config.json", mask_token_id=mask)
    prune_checkpoint(source, keep, tmp_path / "out")
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text("utf-8"))
    assert generation["eos_token_id"] == [2, len(keep) - 1]
    assert generation["suppress_tokens"] == [-1, len(keep) - 1]
    assert hf.AutoConfig.from_pretrained(tmp_path / "out").mask_token_id == len(keep) - 1


def test_what_belongs_to_the_model_goes_along_and_the_rest_is_named(source, keep, tmp_path, caplog):
    for name in ("1_Pooling", "9_Pooling", "runs"):
        (source / name).mkdir()
        (source / name / "config.json").write_text("{}", "utf-8")
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (source / "modules.json").write_text(json.dumps(modules), "utf-8")
    for name in ("LICENSE", "chat_template.jinja"):
        (source / name).write_text("[]", "utf-8")
    old = ("sentencepiece.bpe.model", "vocab.txt", "merges.txt", "added_tokens.json", "pytorch_model.bin", "README.md")
    for name in old:
        (source / name).write_text("{}", "utf-8")
    with caplog.at_level(logging.INFO, logger="hf_afro"):
        prune_checkpoint(source, keep, tmp_path / "out")
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")) == [
        "1_Pooling/config.json",
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "modules.json",
        "pruning_report.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocabulary_map.json",
    ]
    assert (tmp_path / "out" / "LICENSE").is_file()
    assert all(name in caplog.text for name in (*old, "9_Pooling", "runs"))
    assert hf.AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == "[]"


def test_old_names_and_copies_of_tied_weights_are_pruned_as_they_are(source, model, keep, tmp_path):
    """As in the first BERT checkpoints: other names, a tied weight stored twice, a table of positions."""
    tensors = load_file(source / "model.safetensors")
    embedding = tensors["roberta.embeddings.word_embeddings.weight"]
    tensors |= {"lm_head.decoder.weight": embedding.clone(), "roberta.embeddings.position_ids": torch.arange(66)[None]}
    for name in [one for one in tensors if "LayerNorm.weight" in one]:
        tensors[name.replace("weight", "gamma")] = tensors.pop(name)
    save_file(tensors, source / "model.safetensors", {"format": "pt"})
    prune_checkpoint(source, keep, tmp_path / "out")
    found, _ = stored(tmp_path / "out")
    old_ids = torch.from_numpy(keep.old_ids.copy())
    assert set(found) == set(tensors)
    assert torch.equal(found["lm_head.decoder.weight"], embedding[old_ids])
    read = hf.AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
    assert torch.equal(read.lm_head.decoder.weight, model.lm_head.decoder.weight[old_ids])
    assert torch.equal(read.roberta.embeddings.LayerNorm.weight, model.roberta.embeddings.LayerNorm.weight)


@pytest.mark.parametrize("with_prefix", [True, False])
def test_an_encoder_is_found_with_its_prefix_or_without(model, tokenizer, keep, tmp_path, with_prefix, caplog):
    saved, read_as = (model, "XLMRobertaModel") if with_prefix else (model.roberta, "XLMRobertaForMaskedLM")
    saved.save_pretrained(tmp_path / "source")
    tokenizer.save_pretrained(tmp_path / "source")
    rewrite_json(tmp_path / "source" / "config.json", architectures=[read_as])
    if with_prefix:  # the head is strange to the encoder, and its bias as long as the vocabulary
        with pytest.raises(ValueError, match=r"lm_head.bias \[518\]"):
            prune_checkpoint(tmp_path / "source", keep, tmp_path / "out")
        return
    prune_checkpoint(tmp_path / "source", keep, tmp_path / "out")
    assert caplog.text.count("lacks 5 weights of XLMRobertaForMaskedLM, such as lm_head.") == 1
    read = hf.AutoModel.from_pretrained(tmp_path / "out")
    rows = model.get_input_embeddings().weight[torch.from_numpy(keep.old_ids.copy())]
    assert torch.equal(read.get_input_embeddings().weight, rows)


def marian(size):
    settings = bart(size, max_position_embeddings=64).to_dict() | {"model_type": "marian", "pad_token_id": 1}
    return hf.MarianMTModel(hf.MarianConfig(**settings))


def nomic(size):
    config = hf.NomicBertConfig(
        vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, **SPECIALS
    )
    return hf.NomicBertForMaskedLM(config)


@pytest.mark.parametrize("make_model", [marian, nomic, *MODELS.values()])
def test_nothing_is_said_to_be_missing_that_is_never_stored(make_model, tokenizer, keep, tmp_path, caplog):
    model = make_model(len(tokenizer))
    for saved in (model, tokenizer):
        saved.save_pretrained(tmp_path / "source")
    prune_checkpoint(tmp_path / "source", keep, tmp_path / "out")
    assert "lacks" not in caplog.text
    _, info = type(model).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    name = next(one for one in load_file(tmp_path / "source" / "model.safetensors") if "0" in one)
    tensors = load_file(tmp_path / "source" / "model.safetensors")
    del tensors[name]
    save_file(tensors, tmp_path / "source" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"source lacks .*layers?.0.*; expected the weights that were saved"):
        prune_checkpoint(tmp_path / "source", keep, tmp_path / "out")


def test_a_head_that_is_stored_beside_what_it_is_tied_to_is_a_head_of_its_own(tokenizer, keep, tmp_path):
    """As in mT5's checkpoints; tensors stored with the same bytes stay tied."""
    torch.manual_seed(0)
    model = OTHER_MODELS["mt5, untied"](len(tokenizer))
    pruned = prune_both_ways(model, tokenizer, keep, tmp_path)
    assert pruned.report.old_parameters == sum(one.numel() for one in model.parameters())
    dropped = (len(tokenizer) - len(keep)) * model.config.d_model
    assert pruned.report.old_parameters - pruned.report.new_parameters == 2 * dropped
    read = type(model).from_pretrained(tmp_path / "streamed")
    assert read.lm_head.weight is not read.shared.weight


@pytest.fixture
def in_the_cache(source, tmp_path, monkeypatch):
    """The source as a download of the Hub left it, under the name of a repository."""
    cache = tmp_path / "hub"
    repository = cache / "models--afro--xlm-r"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40, "utf-8")
    (repository / "snapshots").mkdir()
    shutil.move(source, repository / "snapshots" / ("a" * 40))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(cache))
    return "afro/xlm-r"


def test_a_repository_is_read_from_the_cache(in_the_cache, keep, tmp_path):
    prune_checkpoint(in_the_cache, keep, tmp_path / "out")
    assert hf.AutoConfig.from_pretrained(tmp_path / "out").vocab_size == len(keep)


def test_a_repository_that_is_not_there_is_refused(in_the_cache, keep, tmp_path):
    with pytest.raises(ValueError, match="no checkpoint could be read from 'afro/other'"):
        prune_checkpoint("afro/other", keep, tmp_path / "out")


def without(name):
    return lambda folder: (folder / name).unlink()


def add_tensor(folder):
    tensors = load_file(folder / "model.safetensors") | {"prior": torch.zeros(518)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def drop_embedding(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["roberta.embeddings.word_embeddings.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def only_pickles(folder):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def cut_short(folder):
    with (folder / "model.safetensors").open("rb+") as file:
        file.truncate(100_000)


def fewer_rows(folder):
    tensors = load_file(folder / "model.safetensors")
    for name in ("roberta.embeddings.word_embeddings.weight", "lm_head.bias"):
        tensors[name] = tensors[name][:500].clone()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    rewrite_json(folder / "config.json", vocab_size=500)


def write_below(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("{}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (only_pickles, "has its weights in pytorch_model.bin; expected model.safetensors"),
        (without("model.safetensors"), "holds no weights"),
        (without("config.json"), "holds no model"),
        (without("tokenizer.json"), "holds no tokenizer"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "no tokenizer could be read"),
        (lambda folder: (folder / "config.json").write_text("{"), "is no configuration of a known model"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "holds a model and a PEFT adapter beside"),
        (lambda folder: write_below(folder / "adapter" / "swa" / "adapter_config.json"), "holds a PEFT adapter"),
        (lambda folder: rewrite_json(folder / "config.json", quantization_config={"bits": 8}), "is quantised"),
        (
            lambda folder: rewrite_json(folder / "config.json", architectures=["XForY"]),
            "names the architecture 'XForY'",
        ),
        (lambda folder: rewrite_json(folder / "config.json", hidden_size=64), "its configuration says"),
        (cut_short, "it is truncated"),
        (add_tensor, r"does not know: prior \[518\]"),
        (drop_embedding, "has no word embedding"),
        (fewer_rows, "ids up to 517, but the embedding .* has only 500 rows"),
    ],
)
def test_what_cannot_be_pruned_is_refused_and_nothing_written(source, keep, tmp_path, change, message):
    change(source)
    with pytest.raises(ValueError, match=message):
        prune_checkpoint(source, keep, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_an_id_in_the_configuration_that_was_dropped_is_refused(source, keep, tmp_path):
    dropped = int(np.setdiff1d(np.arange(518), keep.old_ids)[0])
    rewrite_json(source / "config.json", decoder_start_token_id=dropped)
    with pytest.raises(ValueError, match=f"decoder_start_token_id is {dropped}, a token that was not kept"):
        prune_checkpoint(source, keep, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder, shard: (folder / shard).unlink(), "lacks model-00001-of"),
        (lambda folder, shard: (folder / INDEX).write_text("[]"), "is no index of shards"),
        (lambda folder, shard: rewrite_json(folder / INDEX, weight_map={"a": "../a"}), "it names '../a'"),
        (lambda folder, shard: rewrite_json(folder / INDEX, weight_map={"x": shard}), "disagree about"),
    ],
)
def test_shards_that_are_not_whole_are_refused(model, tokenizer, keep, tmp_path, change, message):
    model.save_pretrained(tmp_path / "source", max_shard_size="30KB")
    tokenizer.save_pretrained(tmp_path / "source")
    change(tmp_path / "source", sorted(path.name for path in (tmp_path / "source").glob("*.safetensors"))[0])
    with pytest.raises(ValueError, match=message):
        prune_checkpoint(tmp_path / "source", keep, tmp_path / "out")


def test_a_map_of_another_tokenizer_is_refused(source, keep, tmp_path):
    other = VocabularyMap(keep.old_ids, keep.old_size, 3, "another")
    with pytest.raises(ValueError, match="made for another tokenizer"):
        prune_checkpoint(source, other, tmp_path / "out")


def test_a_folder_with_other_things_is_left_alone(source, keep, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(FileExistsError):
        prune_checkpoint(source, keep, tmp_path / "out")
    assert (tmp_path / "out" / "thesis.tex").exists()


@pytest.mark.parametrize("place", [-1, 60_000])
def test_a_byte_written_wrong_is_found_and_nothing_left(source, keep, tmp_path, monkeypatch, place):
    write = checkpoint.write_with_rows

    def write_badly(old, target, kept):
        written = write(old, target, kept)
        content = bytearray(target.read_bytes())
        content[place] ^= 1
        target.write_bytes(content)
        return written

    monkeypatch.setattr(checkpoint, "write_with_rows", write_badly)
    with pytest.raises(VerificationError, match=r"model.safetensors: .* is not what"):
        prune_checkpoint(source, keep, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_rows_of_other_tokens_are_found(source, keep, tmp_path, monkeypatch):
    write = checkpoint.write_with_rows

    def shift_rows(old, target, kept):
        name = "roberta.embeddings.word_embeddings.weight"
        dropped = np.setdiff1d(np.arange(518), keep.old_ids)[0]
        rows = np.sort(np.append(np.delete(keep.old_ids, 30), dropped))
        return write(old, target, kept | {name: type(kept[name])(0, rows)})

    monkeypatch.setattr(checkpoint, "write_with_rows", shift_rows)
    with pytest.raises(VerificationError, match="word_embeddings.weight is not what"):
        prune_checkpoint(source, keep, tmp_path / "out")


def test_the_model_is_never_built(source, keep, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(hf.PreTrainedModel, "from_pretrained", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    prune_checkpoint(source, keep, tmp_path / "out")

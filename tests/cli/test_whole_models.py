"""What the commands say of models they cannot take, before any work; and what prune does with odd ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers as hf
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from benchmarks.architectures import make
from hf_afro.cli.main import main
from hf_afro.pretrained import load_model


def commands(model, text, out):
    """The commands that take a model, with what they need beside it."""
    return {
        "prune": ["prune", "--model", model, "--counts", "{counts}", "--output_dir", out],
        "maft": ["maft", "--model", model, "--text", text, "--max_steps", 1, "--use_cpu", "--output_dir", out],
        "distill": [
            *("distill", "--teacher", model, "--student", "layers=1,hidden_size=16,heads=2", "--text", text),
            *("--use_cpu", "--output_dir", out),
        ],
        "evaluate": ["evaluate", "--model", model, "--task", "bits_per_byte", "--text", text, "--output_dir", out],
        "export": ["export", model, "--to", "onnx", "--output_dir", out],
    }


@pytest.fixture
def said(refused, counts_folder, text_folder, tmp_path):
    """Give every command a model and return what each says."""

    def run(model, names=("prune", "maft", "distill", "evaluate", "export")):
        every = commands(str(model), str(text_folder), tmp_path / "out")
        lines = {name: refused(*(counts_folder if w == "{counts}" else w for w in every[name])) for name in names}
        assert not (tmp_path / "out").exists()
        return lines

    return run


@pytest.fixture
def adapter(model_folder, tmp_path):
    """A folder of an adapter with the tokenizer beside it."""
    folder = tmp_path / "adapter"
    LoraConfig(target_modules=["query"], base_model_name_or_path=model_folder).save_pretrained(folder)
    save_file({"lora_A": torch.zeros(2, 32)}, folder / "adapter_model.safetensors")
    hf.AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)
    return folder


def test_every_command_knows_the_folder_of_an_adapter(said, adapter, model_folder):
    for line in said(adapter).values():
        assert (
            f"adapter holds a PEFT adapter and no model; expected a whole model. Put it on {model_folder} with" in line
        )
        assert "merge_and_unload()" in line


def test_every_command_knows_a_model_beside_its_adapter(said, adapter, model_folder):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(Path(model_folder) / name, adapter)
    for line in said(adapter).values():
        assert "adapter holds a model and a PEFT adapter beside it" in line
        assert f"into a folder of their own, such as {adapter}/adapter" in line
    with pytest.raises(ValueError, match="a PEFT adapter beside it"):
        load_model(str(adapter))


def test_a_student_may_not_be_an_adapter(refused, adapter, model_folder, text_folder, tmp_path):
    words = ["distill", "--teacher", model_folder, "--student_model", adapter, "--text", text_folder]
    assert "holds a PEFT adapter and no model" in refused(*words, "--output_dir", tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("MT5ForConditionalGeneration", "an encoder-decoder (MT5ForConditionalGeneration, model type 'mt5')"),
        ("BartForConditionalGeneration", "an encoder-decoder (BartForConditionalGeneration, model type 'bart')"),
        ("LlamaForCausalLM", "a decoder (LlamaForCausalLM, model type 'llama')"),
    ],
)
def test_models_that_write_text_are_refused_by_name(said, name, kind, tokenizer, tmp_path):
    make(name, len(tokenizer)).save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    for line in said(tmp_path / "m", ("maft", "distill", "evaluate", "export")).values():
        assert f"is {kind}; expected an encoder, such as XLM-R" in line


def test_the_code_of_a_repository_is_not_run_and_nothing_is_asked(said, tokenizer, tmp_path, monkeypatch):
    tokenizer.save_pretrained(tmp_path / "m")
    code = {"AutoConfig": "configuration.NewConfig", "AutoModel": "modeling.NewModel"}
    config = {"model_type": "new", "architectures": ["NewModel"], "auto_map": code}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config), "utf-8")
    (tmp_path / "m" / "configuration.py").write_text("raise SystemExit('ran')", "utf-8")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    for line in said(tmp_path / "m").values():
        assert "needs the code that comes with it, which hf_afro never runs" in line


@pytest.mark.parametrize(
    ("tokenizer", "says"),
    [
        (lambda: hf.CanineTokenizer(), "CanineTokenizer, which is written in Python and makes ids of characters or"),
        (lambda: hf.ByT5Tokenizer(), "ByT5Tokenizer, which is written in Python and makes ids of characters or bytes"),
    ],
)
def test_a_tokenizer_without_a_vocabulary_is_refused_by_name(refused, tokenizer, says, text_folder, tmp_path):
    tokenizer().save_pretrained(tmp_path / "m")
    words = ["count", "--text", text_folder, "--tokenizer", tmp_path / "m", "--output_dir", tmp_path / "out"]
    assert says in refused(*words)


def test_a_tokenizer_that_is_written_in_python_is_refused_by_name(refused, text_folder, tmp_path):
    """As BERTweet's, which reads a list of merges and has no other form."""
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "vocab.txt").write_text("a 1\nb 1\n", "utf-8")
    (folder / "bpe.codes").write_text("a b 1\n", "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertweetTokenizer"}), "utf-8")
    line = refused("count", "--text", text_folder, "--tokenizer", folder, "--output_dir", tmp_path / "out")
    assert "is a BertweetTokenizer, which is written in Python; no version of it is backed by the tokenizers" in line


def prune(folder, counts_folder, out, *more):
    words = ["prune", "--model", folder, "--counts", counts_folder, "--budget", 300, "--output_dir", out, *more]
    return main([str(word) for word in words])


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("BertForNextSentencePrediction", "all 25 tensors read back"),
        ("CLIPTextModelWithProjection", "all 21 tensors read back"),
        ("SiglipModel", "tensors read back"),
        ("WhisperForConditionalGeneration", "tensors read back"),
    ],
)
def test_prune_loses_no_head_and_says_how_it_was_verified(
    name, how, tokenizer, model_folder, counts_folder, tmp_path, capsys
):
    make(name, len(tokenizer)).save_pretrained(tmp_path / "m")
    hf.AutoTokenizer.from_pretrained(model_folder).save_pretrained(tmp_path / "m")
    assert prune(tmp_path / "m", counts_folder, tmp_path / "out") == 0
    assert how in capsys.readouterr().out
    before, after = (load_file(tmp_path / folder / "model.safetensors") for folder in ("m", "out"))
    assert before.keys() == after.keys()


@pytest.fixture
def with_pooler(model_folder, tmp_path):
    """As FacebookAI/xlm-roberta-base: a masked language model with the pooler stored beside it."""
    folder = shutil.copytree(model_folder, tmp_path / "m")
    file = folder / "model.safetensors"
    pooler = {"roberta.pooler.dense.weight": torch.ones(32, 32), "roberta.pooler.dense.bias": torch.ones(32)}
    save_file(load_file(file) | pooler, file, {"format": "pt"})
    return folder


def test_prune_keeps_a_pooler_that_the_class_does_not_take(with_pooler, counts_folder, tmp_path, caplog):
    with caplog.at_level("INFO", "hf_afro"):
        assert prune(with_pooler, counts_folder, tmp_path / "out") == 0
    assert "roberta.pooler.dense.bias, roberta.pooler.dense.weight; copied as stored" in caplog.text
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")["roberta.pooler.dense.bias"], torch.ones(32))


def test_where_only_memory_would_do_the_tensors_that_would_be_lost_are_named(
    refused, with_pooler, counts_folder, tmp_path
):
    words = ["prune", "--model", with_pooler, "--counts", counts_folder, "--output_dir", tmp_path / "out"]
    line = refused(*words, "--pad_to_multiple_of", 64)
    assert (
        "stores roberta.pooler.dense.bias, roberta.pooler.dense.weight, which XLMRobertaForMaskedLM does not" in line
    )
    assert "without --adapter and --pad_to_multiple_of" in line


def test_pickled_weights_are_pruned_in_memory_and_what_is_drawn_is_told(model_folder, counts_folder, tmp_path, caplog):
    folder = shutil.copytree(model_folder, tmp_path / "m")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert prune(folder, counts_folder, tmp_path / "refused", "--low_memory") == 2
    assert prune(folder, counts_folder, tmp_path / "out") == 0
    before = torch.load(folder / "pytorch_model.bin", weights_only=True)
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == before.keys() - {"lm_head.decoder.bias"}


@pytest.mark.parametrize("way", [(), ("--pad_to_multiple_of", 8)], ids=["file by file", "in memory"])
def test_a_pooler_that_is_not_stored_is_not_invented_in_silence(
    way, tokenizer, model_folder, counts_folder, tmp_path, caplog
):
    model = hf.BertModel(
        hf.BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=48,
        ),
        add_pooling_layer=False,
    )
    model.save_pretrained(tmp_path / "m")
    hf.AutoTokenizer.from_pretrained(model_folder).save_pretrained(tmp_path / "m")
    assert prune(tmp_path / "m", counts_folder, tmp_path / "out", *way) == 0
    before, after = (load_file(tmp_path / folder / "model.safetensors").keys() for folder in ("m", "out"))
    if not way:
        assert after == before
    else:
        assert after - before == {"pooler.dense.weight", "pooler.dense.bias"}
        assert "lacks pooler.dense.bias, pooler.dense.weight, drawn at random and written" in caplog.text


def test_a_damaged_file_of_settings_is_named(refused, model_folder, text_folder, counts_folder, tmp_path):
    for name in ("adapter_config.json", "tokenizer_config.json"):
        folder = shutil.copytree(model_folder, tmp_path / name)
        (folder / name).write_text("{", "utf-8")
        (folder / {"adapter_config.json": "config.json", "tokenizer_config.json": "tokenizer.json"}[name]).unlink()
        words = ["prune", "--model", folder, "--counts", counts_folder, "--output_dir", tmp_path / "out"]
        assert f"{folder / name} cannot be read: " in refused(*words)

"""`hf-afro compare` and `hf-afro inspect`: tables, files, and exit codes that scripts rely on."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file, save_file

from hf_afro.cli.main import main
from hf_afro.vocabulary import VocabularyAudit


@pytest.fixture(scope="module")
def cut_folder(model_folder, counts_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("cut") / "out"
    words = ["prune", "--model", model_folder, "--counts", counts_folder, "--budget", "300", "--output_dir", str(out)]
    assert main(words) == 0
    return out


def test_a_right_cut_ends_with_0_and_its_verdict_last(model_folder, cut_folder, text_folder, tmp_path, capsys):
    out = tmp_path / "audit"
    words = ["compare", model_folder, str(cut_folder), "--text", str(text_folder), "--max_lines", "20"]
    assert main([*words, "--output_dir", str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2].startswith("exact renumbering: 300 of 518 tokens")
    assert any(
        line.split()[:4] == ["Swahili", "(swa)", "20", "280"] or line.startswith("Swahili (swa)") for line in printed
    )
    audit = VocabularyAudit.load(out)
    assert audit.exact
    assert audit.languages["swa"].lines == 20
    page = (out / "index.html").read_text("utf-8")
    assert "exact renumbering: 300 of 518 tokens" in page
    assert "Swahili (swa)" in page
    assert "lm_head.bias" in page


def test_a_wrong_cut_ends_with_1_and_says_why(model_folder, cut_folder, tmp_path, capsys):
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (wrong / name).write_bytes((cut_folder / name).read_bytes())
    tensors = load_file(cut_folder / "model.safetensors")
    tensors["lm_head.bias"][9] = 5
    save_file(tensors, wrong / "model.safetensors", metadata={"format": "pt"})
    assert main(["compare", model_folder, str(wrong)]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "not an exact renumbering: 1 of 300 rows of lm_head.bias are not the original's"
    assert main(["compare", model_folder, str(wrong), "--output_dir", str(tmp_path / "audit")]) == 1
    record = json.loads((tmp_path / "audit" / "hf_afro_run.json").read_text("utf-8"))
    assert record["facts"]["exact"] is False


def test_what_cannot_be_compared_ends_with_2(refused, model_folder):
    assert "two models; received 1" in refused("compare", model_folder)
    assert "there is no such folder" in refused("compare", model_folder, "./nowhere")


def test_inspect_prints_scripts_and_weight(model_folder, tmp_path, capsys):
    assert main(["inspect", model_folder]) == 0
    printed = capsys.readouterr().out
    assert "518 tokens, Unigram (XLMRobertaTokenizer)" in printed
    assert "rows without a token: 0 of 518" in printed
    assert "padding id: 1 in configuration and tokenizer" in printed
    assert "vocabulary: 17,094 parameters, 68.4 kB" in printed
    assert main(["inspect", model_folder, "--output_dir", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "vocabulary_contents.json").read_text("utf-8"))["tokens"] == 518

"""`hf-afro prune`: from counts to a folder that any script loads, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer

from hf_afro.cli.main import main
from hf_afro.steps import prune as step
from hf_afro.steps.prune import shown_coverage
from hf_afro.steps.records import Record
from hf_afro.vocabulary import PruningReport, VocabularyMap

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of PEFT
BUDGET = 300


@pytest.fixture(scope="module")
def pruned_folder(model_folder, counts_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("pruned") / "out"
    words = ["prune", "--model", model_folder, "--counts", counts_folder, "--budget", BUDGET, "--output_dir", out]
    assert main([str(word) for word in words]) == 0
    return out


def test_the_folder_loads_and_holds_the_old_rows(pruned_folder, model_folder):
    keep = VocabularyMap.load(pruned_folder / "vocabulary_map.json")
    old, new = (AutoModelForMaskedLM.from_pretrained(folder) for folder in (model_folder, pruned_folder))
    assert len(keep) == len(AutoTokenizer.from_pretrained(pruned_folder)) == new.config.vocab_size == BUDGET
    rows = old.get_input_embeddings().weight[torch.from_numpy(keep.old_ids.copy())]
    assert torch.equal(new.get_input_embeddings().weight, rows)


def test_the_table_says_what_each_language_keeps(model_folder, counts_folder, tmp_path, capsys):
    words = ["prune", "--model", model_folder, "--counts", f"{counts_folder}/counts.npz", "--held_out", "sample"]
    assert main([*words, "--output_dir", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "swa" in out
    assert "100.00 %" in out
    assert "below" not in out
    assert "tensors read back" in out


def test_lists_of_pieces_to_keep_and_to_drop(pruned_folder, model_folder, counts_folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    kept = AutoTokenizer.from_pretrained(pruned_folder).get_vocab()
    dropped = sorted(piece for piece in kept if len(piece) > 3 and not piece.startswith("<"))[:2]
    added = sorted(piece for piece in tokenizer.get_vocab() if piece not in kept)[:2]
    (tmp_path / "keep.txt").write_text("\n".join(added) + "\n", encoding="utf-8")
    (tmp_path / "drop.txt").write_text("\n".join(dropped) + "\n", encoding="utf-8")
    words = ["prune", "--model", model_folder, "--counts", counts_folder, "--budget", BUDGET]
    words += ["--keep_list", tmp_path / "keep.txt", "--drop_list", tmp_path / "drop.txt"]
    assert main([str(word) for word in [*words, "--output_dir", tmp_path / "out"]]) == 0
    new = AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()
    assert set(added) <= set(new)
    assert not set(dropped) & set(new)


def test_held_out_text_judges_the_result(model_folder, counts_folder, tmp_path, capsys):
    (tmp_path / "held_out").mkdir()
    (tmp_path / "held_out" / "swa.txt").write_text("Habari za asubuhi\nJe, umelala vizuri?\n", encoding="utf-8")
    words = ["prune", "--model", model_folder, "--counts", counts_folder, "--held_out", str(tmp_path / "held_out")]
    assert main([*words, "--output_dir", str(tmp_path / "out")]) == 0
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("swa") and "2" in line][
        -1:
    ]
    assert row[:2] == ["swa", "2"]
    report = json.loads((tmp_path / "out" / "pruning_report.json").read_text("utf-8"))
    assert report["verification"]["held_out"]["swa"]["lines"] == 2
    assert "<svg" in (tmp_path / "out" / "coverage.svg").read_text("utf-8")


def test_low_memory_writes_the_same_files(pruned_folder, model_folder, counts_folder, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["prune", "--model", model_folder, "--counts", counts_folder, "--budget", BUDGET, "--output_dir", out]
    assert main([str(word) for word in [*words, "--low_memory"]]) == 0
    assert "tensors read back" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {path.name for path in pruned_folder.iterdir()}
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "vocabulary_map.json"):
        assert (out / name).read_bytes() == (pruned_folder / name).read_bytes(), name


def test_rows_of_padding(model_folder, counts_folder, tmp_path, capsys):
    words = ["prune", "--model", model_folder, "--counts", counts_folder, "--budget", "301"]
    assert main([*words, "--pad_to_multiple_of", "64", "--output_dir", str(tmp_path / "out")]) == 0
    assert "19 zero rows appended to those of the tokens" in capsys.readouterr().out
    new = AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
    assert new.config.vocab_size == 320
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out")) == 301
    assert not new.get_input_embeddings().weight[301:].any()


@pytest.fixture(scope="module")
def adapter_folder(model_folder, tmp_path_factory):
    torch.manual_seed(1)
    adapted = get_peft_model(
        AutoModelForMaskedLM.from_pretrained(model_folder),
        LoraConfig(target_modules=["query"], trainable_token_indices={"word_embeddings": [4, 5]}),
    )
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    folder = tmp_path_factory.mktemp("adapter")
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


def test_an_adapter_is_pruned_with_its_model(model_folder, adapter_folder, counts_folder, tmp_path, capsys):
    old = AutoModelForMaskedLM.from_pretrained(model_folder)
    old = PeftModel.from_pretrained(old, adapter_folder)
    (tmp_path / "keep.txt").write_text(
        "\n".join(AutoTokenizer.from_pretrained(model_folder).convert_ids_to_tokens([4, 5])), encoding="utf-8"
    )
    words = ["prune", "--model", model_folder, "--counts", counts_folder, "--keep_list", str(tmp_path / "keep.txt")]
    words += ["--adapter", str(adapter_folder), "--output_dir", str(tmp_path / "out")]
    assert main(words) == 0
    assert "adapters pruned too: default" in capsys.readouterr().out
    base = AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
    new = PeftModel.from_pretrained(base, tmp_path / "out" / "adapter")
    keep = VocabularyMap.load(tmp_path / "out" / "vocabulary_map.json")
    ids = torch.arange(len(keep))[None, :60]
    kept = torch.from_numpy(keep.old_ids.copy())
    torch.testing.assert_close(new(ids).logits, old(keep.to_old(ids)).logits[..., kept])

    again = ["prune", "--model", str(tmp_path / "out"), "--adapter", str(tmp_path / "out" / "adapter")]
    words = ["count", "--text", str(tmp_path / "text"), "--tokenizer", str(tmp_path / "out")]
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "swa.txt").write_text("Habari ya leo\n", encoding="utf-8")
    assert main([*words, "--output_dir", str(tmp_path / "counts")]) == 0
    words = [*again, "--counts", str(tmp_path / "counts"), "--keep_list", str(tmp_path / "keep.txt")]
    assert main([*words, "--output_dir", str(tmp_path / "smaller")]) == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--pad_to_multiple_of": 0}, "pad_to_multiple_of is 0; expected at least 1"),
        (
            {"--pad_to_multiple_of": 8, "--low_memory": None},
            "_of builds the model, which --low_memory refuses",
        ),
        (
            {"--adapter": "owner/adapter", "--low_memory": None},
            "--adapter builds the model, which --low_memory",
        ),
        ({"--adapter": "./nowhere"}, "--adapter ./nowhere: there is no such folder"),
        ({"--adapter": Path(__file__).parent}, "no adapter could be read from"),
        ({"--budget": 3}, "budget is 3; expected at least 5"),
        ({"--budget": 8}, "a budget of 8 does not hold the"),
        ({"--budget": 8}, "(keep_characters=False, --no_characters)"),
        ({"--scripts": "Latinish"}, "'Latinish' is not a Unicode script; did you mean 'Latin'"),
        ({"--budget": BUDGET, "--strict": None}, "the smallest budget that would do is"),
        ({"--coverage": 1.5}, "coverage is 1.5; expected at least 0 and at most 1"),
        ({"--counts": "nowhere"}, "--counts nowhere does not exist"),
        ({"--counts": __file__}, "holds no counts; --counts takes the folder that `hf-afro count` wrote"),
        ({"--keep_list": "nowhere.txt"}, "--keep_list nowhere.txt does not exist"),
        ({"--drop_list": "nowhere.txt"}, "--drop_list nowhere.txt does not exist"),
        ({"--held_out": "nowhere"}, "--held_out nowhere does not exist"),
        ({"--model": "/nowhere/at/all"}, "--model /nowhere/at/all: there is no such folder"),
        ({"--model": "no/where", "--low_memory": None}, "no checkpoint could be read from 'no/where'"),
    ],
)
def test_mistakes(refused, model_folder, counts_folder, tmp_path, changed, message):
    options = {"--model": model_folder, "--counts": counts_folder, "--output_dir": tmp_path / "out", **changed}
    words = [word for pair in options.items() for word in pair if word is not None]
    assert message in refused("prune", *words)
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_of_another_model_is_refused(refused, model_folder, counts_folder, tmp_path):
    wide = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(model_folder, hidden_size=64))
    other = get_peft_model(wide, LoraConfig(target_modules=["query"]))
    other.save_pretrained(tmp_path / "adapter")
    words = ["prune", "--model", model_folder, "--counts", counts_folder, "--adapter", tmp_path / "adapter"]
    line = refused(*words, "--output_dir", tmp_path / "out")
    assert "it does not fit XLMRobertaForMaskedLM" in line
    assert "size mismatch" in line
    assert not (tmp_path / "out").exists()


def test_a_trained_token_that_is_not_kept_is_named(refused, model_folder, adapter_folder, counts_folder, tmp_path):
    (tmp_path / "drop.txt").write_text(
        AutoTokenizer.from_pretrained(model_folder).convert_ids_to_tokens(5) + "\n", encoding="utf-8"
    )
    words = ["prune", "--model", model_folder, "--counts", counts_folder, "--drop_list", tmp_path / "drop.txt"]
    line = refused(*words, "--adapter", adapter_folder, "--output_dir", tmp_path / "out")
    assert "tokens that were trained and are not kept" in line


def test_a_budget_too_small_for_all_characters_does_without_them(model_folder, counts_folder, tmp_path):
    out = tmp_path / "out"
    fixed = ["prune", "--model", model_folder, "--counts", counts_folder, "--budget", "40", "--output_dir", str(out)]
    assert main([*fixed, "--scripts", "Latin"]) == 2
    assert main([*fixed, "--scripts", "Latin", "--no_characters"]) == 0
    keep = VocabularyMap.load(out / "vocabulary_map.json")
    assert len(keep) == 40
    assert "characters" not in keep.provenance["must_keep"]


@pytest.mark.parametrize(
    ("coverage", "floor", "shown"),
    [
        (0.9211, 0.9995, "92.11 % (below 99.95 %)"),
        (0.999499, 0.9995, "99.94 % (below 99.95 %)"),
        (1.0, None, "100.00 %"),
    ],
)
def test_coverage_is_never_shown_higher_than_it_is(coverage, floor, shown):
    assert shown_coverage(coverage, floor) == shown


def test_counts_of_another_tokenizer_are_refused(refused, model_folder, pruned_folder, counts_folder, tmp_path):
    line = refused("prune", "--model", pruned_folder, "--counts", counts_folder, "--output_dir", tmp_path / "out")
    assert "the map was made for another tokenizer" in line


def test_the_tokens_of_texts_are_kept(model_folder, counts_folder, tmp_path):
    """The smallest budget keeps few of their tokens otherwise, and the space behind a prompt is a token too."""
    texts = ["query: ", "Mwalimu aliwaambia wanafunzi"]
    (tmp_path / "prompts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    old = AutoTokenizer.from_pretrained(model_folder)
    wanted = {one for text in texts for one in old(text, add_special_tokens=False)["input_ids"]}
    base = ["prune", "--model", model_folder, "--counts", counts_folder, "--languages", "amh", "--no_characters"]
    kept = []
    for name, more in (("without", []), ("with", ["--keep_texts", str(tmp_path / "prompts.txt")])):
        assert main([*base, "--budget", "120", *more, "--output_dir", str(tmp_path / name)]) == 0
        kept.append(VocabularyMap.load(tmp_path / name))
    assert not wanted <= set(kept[0].old_ids.tolist())
    assert wanted <= set(kept[1].old_ids.tolist())
    new = AutoTokenizer.from_pretrained(tmp_path / "with")
    for text in texts:
        assert new.tokenize(text) == old.tokenize(text)
    assert kept[1].provenance["must_keep"]["texts"] == len(wanted)
    assert kept[1].provenance["keep_texts"]["texts"] == 2
    assert "keep_texts" not in kept[0].provenance
    assert "query" not in json.dumps(kept[1].provenance)


def test_a_dry_run_shows_what_would_be_written(pruned_folder, model_folder, counts_folder, tmp_path, capsys):
    words = ["prune", "--model", model_folder, "--counts", counts_folder, "--budget", str(BUDGET), "--dry_run"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    report = json.loads((pruned_folder / "pruning_report.json").read_text("utf-8"))
    sizes = (
        f"{report['old_size']:,} to {BUDGET} tokens, {report['old_parameters']:,} to {report['new_parameters']:,} "
        f"parameters, {report['old_bytes'] / 1e6:,.1f} to {report['new_bytes'] / 1e6:,.1f} MB"
    )
    assert sizes in printed
    curve = report["selection"]["curve"]
    lines = [line.split() for line in printed.splitlines()]
    last = lines[next(number for number, line in enumerate(lines) if line[:1] == ["the"]) - 1]
    lowest = min(curve["coverage"].values(), key=lambda shares: shares[-1])[-1]
    assert (last[0], last[2]) == (str(BUDGET), shown_coverage(lowest, None).split()[0])
    assert f"of every language: {report['selection']['smallest_budget']} tokens" in printed
    assert lines[-1] == "dry run: nothing was written".split()
    assert main([*words, "--output_dir", str(tmp_path / "out")]) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spare", "padding", "new", "sizes"),
    [(10, 4, 60, ["4.4", "6.4"]), (0, 0, 100, ["–", "10.0"]), (10, 0, 100, ["4.0", "10.0"])],
)
def test_the_curve_counts_a_row_of_the_embedding_as_what_it_weighs(spare, padding, new, sizes):
    """Of 0.1 MB a row; unused rows that go and zero rows that come are rows too."""
    curve = {"budgets": [40, new], "coverage": {"swa": [0.5, 1.0]}}
    keep = VocabularyMap(np.arange(new), 100, None, "f", {"curve": curve})
    old_bytes, new_bytes = (100 + spare) * 100_000, (new + padding) * 100_000
    report = PruningReport(
        *("bert", 100, new, spare, padding, (), ()), old_bytes // 4, new_bytes // 4, old_bytes, new_bytes, {}
    )
    rows = [line.split() for line in step._curve_table(keep, report).splitlines()]
    found = {row[0]: row[1] for row in rows}
    assert [found["40"], found[str(new)]] == sizes


def test_each_language_gets_a_model_of_its_own(model_folder, counts_folder, tmp_path, capsys):
    """Of the fewest tokens that its coverage needs, and the same as one pruned alone with this budget."""
    words = ["prune", "--model", model_folder, "--counts", counts_folder, "--languages", "sw", "yo", "am"]
    assert main([*words, "--each", "--output_dir", str(tmp_path / "models")]) == 0
    printed = capsys.readouterr().out.splitlines()
    table = {line.split()[0]: line.split() for line in printed}
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["amh", "hf_afro_run.json", "swa", "yor"]
    for code in ("amh", "swa", "yor"):
        folder = tmp_path / "models" / code
        keep = VocabularyMap.load(folder)
        assert keep.provenance["languages"] == [code]
        assert keep.provenance["smallest_budget"] == len(keep)
        assert keep.provenance["coverage"][code]["reaches_floor"]
        model = AutoModelForMaskedLM.from_pretrained(folder)
        assert len(AutoTokenizer.from_pretrained(folder)) == model.config.vocab_size == len(keep)
        assert table[code][1:3] == [f"{len(keep):,}", f"{model.num_parameters():,}"]
        assert Record.load(folder).is_whole(folder)
    alone = ["prune", "--model", model_folder, "--counts", counts_folder, "--languages", "swa"]
    size = len(VocabularyMap.load(tmp_path / "models" / "swa"))
    assert main([*alone, "--budget", str(size), "--output_dir", str(tmp_path / "alone")]) == 0
    for path in sorted((tmp_path / "alone").iterdir()):
        if path.name != "hf_afro_run.json":
            assert path.read_bytes() == (tmp_path / "models" / "swa" / path.name).read_bytes(), path.name
    capsys.readouterr()
    assert main([*words, "--each", "--dry_run"]) == 0
    foreseen = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert all(foreseen[code] == table[code] for code in ("amh", "swa", "yor"))


def test_models_of_each_language_are_resumed(model_folder, counts_folder, tmp_path, monkeypatch, refused):
    """After a failure in the second language the first is not pruned again, and other settings are refused."""
    words = ["prune", "--model", model_folder, "--counts", counts_folder, "--languages", "swa", "yor", "--each"]
    words += ["--budget", str(BUDGET), "--output_dir", str(tmp_path / "models")]
    prune, pruned = step.prune_model, []

    def fails_once(model, keep, folder, **settings):
        pruned.append(keep.provenance["languages"][0])
        if pruned == ["swa", "yor"]:
            raise OSError("the disk went away")
        return prune(model, keep, folder, **settings)

    monkeypatch.setattr(step, "prune_model", fails_once)
    assert main(words) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models.unfinished"]
    assert "its settings differ in budget (then 300, now 250)" in refused(*words, "--budget", "250")
    assert main(words) == 0
    assert pruned == ["swa", "yor", "yor"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models"]
    assert {len(VocabularyMap.load(tmp_path / "models" / code)) for code in ("swa", "yor")} <= {
        *range(100, BUDGET + 1)
    }


def test_languages_that_were_not_counted_are_refused(refused, model_folder, counts_folder, tmp_path):
    words = ["prune", "--model", model_folder, "--counts", counts_folder, "--output_dir", tmp_path / "out"]
    assert "no counts of 'lug'; counted were" in refused(*words, "--languages", "lug")
    assert "no counts of 'lug'; counted were" in refused(*words, "--languages", "lug", "--each")


def test_counts_of_parts_are_added_up(text_folder, model_folder, tmp_path):
    for name, part in (("all", slice(None)), ("a", slice(0, None, 2)), ("b", slice(1, None, 2))):
        (tmp_path / name).mkdir()
        for file in text_folder.iterdir():
            lines = file.read_text("utf-8").split("\n")[part]
            (tmp_path / name / file.name).write_text("\n".join(lines), "utf-8")
        words = ["--tokenizer", model_folder, "--output_dir", str(tmp_path / f"counts-{name}")]
        assert main(["count", "--text", str(tmp_path / name), *words]) == 0
    parts = [str(tmp_path / "counts-a"), str(tmp_path / "counts-b")]
    maps = []
    for counts in ([str(tmp_path / "counts-all")], parts, parts[::-1]):
        out = tmp_path / f"out{len(maps)}"
        words = ["prune", "--model", model_folder, "--budget", BUDGET, "--output_dir", out, "--counts", *counts]
        assert main([str(word) for word in words]) == 0
        maps.append(VocabularyMap.load(out / "vocabulary_map.json").old_ids.tolist())
    assert maps[0] == maps[1] == maps[2]


def test_a_part_named_twice_is_refused(refused, model_folder, counts_folder, tmp_path):
    counts = [counts_folder, f"{counts_folder}/counts.npz"]
    line = refused("prune", "--model", model_folder, "--output_dir", tmp_path / "out", "--counts", *counts)
    assert "counts.npz is named twice" in line

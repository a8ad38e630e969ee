"""`hf-afro count`: what it writes equals what the library counts, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hf_afro.cli.main import main
from hf_afro.steps.count import shown_unknown
from hf_afro.vocabulary import TokenCounts, count_tokens
from tests.texts import SENTENCES


def test_counts_are_those_of_the_library(counts_folder, model_folder, tokenizer):
    saved = TokenCounts.load(f"{counts_folder}/counts.npz")
    direct = count_tokens(SENTENCES, tokenizer)
    assert saved.languages == direct.languages
    assert np.array_equal(saved.counts, direct.counts)
    assert set(saved.provenance["corpora"]) == set(SENTENCES)
    # Names, not paths of this machine: counts are published.
    assert {code: one["origin"] for code, one in saved.provenance["corpora"].items()} == {
        code: f"{code}.txt" for code in SENTENCES
    }
    assert saved.provenance["tokenizer"] == Path(model_folder).name


def test_only_the_languages_asked_for_and_a_table(text_folder, model_folder, tmp_path, capsys):
    out = str(tmp_path / "counts")
    code = main(
        ["count", "--text", str(text_folder), "--tokenizer", model_folder, "--languages", "sw", "--output_dir", out]
    )
    assert code == 0
    counts = TokenCounts.load(f"{out}/counts.npz")
    assert counts.languages == ("swa",)
    header, row, summary, last = capsys.readouterr().out.splitlines()
    assert header.split() == ["language", "lines", "tokens", "distinct", "unknown"]
    assert row.replace(",", "").split() == [
        "swa",
        "64",
        str(counts.total["swa"]),
        str(np.count_nonzero(counts.counts)),
        "0.00",
        "%",
    ]
    assert summary.endswith(" tokens occur")
    assert last == f"written to {out}"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--text": "nowhere"}, "--text nowhere does not exist"),
        ({"--languages": "swaa"}, "unknown language 'swaa'; did you mean swa"),
        ({"--languages": "swa,zul"}, "has no text for zul"),
        ({"--tokenizer": "/nowhere/at/all"}, "--tokenizer /nowhere/at/all: there is no such folder"),
    ],
)
def test_mistakes(refused, text_folder, model_folder, tmp_path, changed, message):
    out = tmp_path / "counts"
    options = {"--text": text_folder, "--tokenizer": model_folder, "--output_dir": out, **changed}
    assert message in refused("count", *[word for pair in options.items() for word in pair])
    assert not out.exists()


def test_lines_that_are_not_utf8_are_skipped_where_that_is_asked_for(text_folder, model_folder, tmp_path):
    (text_folder / "hau.txt").write_bytes(b"Sannu da zuwa.\ncaf\xe9\n")
    out = str(tmp_path / "counts")
    words = ["count", "--text", str(text_folder), "--tokenizer", model_folder, "--errors", "skip", "--output_dir", out]
    assert main(words) == 0
    assert TokenCounts.load(f"{out}/counts.npz").sizes["hau"].lines == 1


def test_the_cache_gives_the_same_counts(text_folder, model_folder, tmp_path, caplog):
    words = ["count", "--text", str(text_folder), "--tokenizer", model_folder]
    cache = ["--cache_dir", str(tmp_path / "cache")]
    read = []
    for name, options in (("without", []), ("first", cache), ("second", cache)):
        assert main([*words, *options, "--output_dir", str(tmp_path / name)]) == 0
        read.append(TokenCounts.load(tmp_path / name / "counts.npz"))
    assert read[0].fingerprint == read[1].fingerprint == read[2].fingerprint
    assert read[0].sizes == read[1].sizes == read[2].sizes
    number = len(read[0].languages)
    assert f"{number} of {number} languages are in the cache" in caplog.text


@pytest.mark.parametrize(
    ("share", "shown"), [(0.0, "0.00 %"), (1e-7, "0.01 %"), (0.9423, "94.23 %"), (1.0, "100.00 %")]
)
def test_a_share_of_unknown_tokens_is_never_shown_as_none(share, shown):
    assert shown_unknown(share) == shown


def test_what_is_unknown_is_shown_by_every_command(text_folder, model_folder, tmp_path, capsys, caplog):
    """Of text in a script that the tokenizer lacks nothing is covered, however much of it the budget would allow."""
    letters = [chr(code) for code in range(0x7CA, 0x7EB)]
    lines = [" ".join(letters[number % 33] + letters[word] * 2 for word in range(12)) for number in range(33)]
    (text_folder / "nqo.txt").write_text("\n".join(lines), "utf-8")
    counts, pruned, adapted = (str(tmp_path / name) for name in ("counts", "pruned", "adapted"))
    given = ["--text", str(text_folder), "--languages", "nqo,swa"]
    assert main(["count", *given, "--tokenizer", model_folder, "--output_dir", counts]) == 0
    share = TokenCounts.load(f"{counts}/counts.npz").unknown_share["nqo"]
    assert share > 0.4
    rows = [capsys.readouterr().out]
    assert main(["prune", "--model", model_folder, "--counts", counts, "--output_dir", pruned]) == 0
    rows.append(capsys.readouterr().out)
    training = ["--max_steps", "1", "--max_length", "32", "--per_device_train_batch_size", "4", "--use_cpu", "true"]
    assert main(["maft", "--model", pruned, *given, *training, "--output_dir", adapted]) == 0
    rows.append(capsys.readouterr().out)
    for out in rows:
        (row,) = (line for line in out.splitlines() if line.startswith("nqo"))
        assert " %" in row
    assert shown_unknown(share) in rows[0]
    assert shown_unknown(share) in rows[1]
    assert sum("share of unknown tokens: nqo" in record.getMessage() for record in caplog.records) == 3
    assert json.loads((tmp_path / "adapted" / "metrics.json").read_text())["unknown_share"]["swa"] == 0.0

"""The published formats with their quirks: what is repaired and counted, kept, and refused with its line."""

from __future__ import annotations

import csv
import re

import pytest

from benchmarks.malformed_inputs import CASES, read
from hf_afro.evaluation.data.conll import Repairs, read_conll
from hf_afro.evaluation.data.published import read_tsv
from hf_afro.evaluation.data.tables import TableForm, read_rows


def write(path, text: str):
    path.write_bytes(text.encode())
    return path


def conll(tmp_path, text: str):
    repairs = Repairs()
    return read_conll(write(tmp_path / "train.txt", text), repairs), dict(repairs)


def tsv(tmp_path, text: str):
    repairs = Repairs()
    return read_tsv(write(tmp_path / "train.tsv", text), repairs), dict(repairs)


def test_tokens_and_tags_of_a_clean_file_are_as_written(tmp_path):
    read, repairs = conll(tmp_path, "Eshe B-PER\nBello I-PER\naliondoka O\n\nKano B-LOC\n")
    assert read == [(["Eshe", "Bello", "aliondoka"], ["B-PER", "I-PER", "O"]), (["Kano"], ["B-LOC"])]
    assert repairs == {}


def test_white_space_lines_end_a_sentence_and_are_counted(tmp_path):
    read, repairs = conll(tmp_path, "Kano O\n \t\nLagos O\r\n\r\nDakar O\n\u00a0\n")
    assert [tokens for tokens, _ in read] == [["Kano"], ["Lagos"], ["Dakar"]]
    assert repairs == {
        "white-space lines taken as the end of a sentence": 2,
        "files with CRLF line endings": 1,
    }


@pytest.mark.parametrize("after", ["\n", "", " \t\n"], ids=["a blank line", "no blank line", "white space"])
@pytest.mark.parametrize("before", ["\n", ""], ids=["a blank line before", "none before"])
@pytest.mark.parametrize("mark", ["-DOCSTART- O", "-DOCSTART-"])
def test_a_line_that_starts_a_document_is_no_word_and_ends_a_sentence(tmp_path, mark, before, after):
    first, second = f"{mark}\n{after}Kano B-LOC\n", f"{before}{mark}\n{after}Lagos B-LOC\n"
    read, repairs = conll(tmp_path, first + second)
    assert read == [(["Kano"], ["B-LOC"]), (["Lagos"], ["B-LOC"])]
    assert repairs["document start lines left out"] == 2
    assert set(repairs) <= {
        "document start lines left out",
        "white-space lines taken as the end of a sentence",
    }


def test_spans_that_start_with_i_are_repaired(tmp_path):
    read, repairs = conll(tmp_path, "a I-PER\nb I-PER\nc I-LOC\nd O\ne I-LOC\n\nf I-PER\n")
    assert read[0][1] == ["B-PER", "I-PER", "B-LOC", "O", "B-LOC"]
    assert read[1][1] == ["B-PER"]
    assert repairs == {"spans starting with I- changed to B-": 4}


def test_lines_without_a_token_are_dropped_and_spans_beside_them_stay_apart(tmp_path):
    read, repairs = conll(tmp_path, "a B-PER\n O\nb I-PER\n\n B-LOC\nc I-LOC\n\n O\n")
    assert read == [(["a", "b"], ["B-PER", "B-PER"]), (["c"], ["B-LOC"])]
    assert repairs == {
        "lines without a token dropped": 3,
        "spans starting with I- changed to B-": 2,
        "sentences without a token dropped": 1,
    }


def test_a_byte_order_mark_is_no_part_of_the_first_token(tmp_path):
    read, repairs = conll(tmp_path, "\ufeffJii O\n")
    assert read == [(["Jii"], ["O"])]
    assert repairs == {"byte order marks dropped": 1}


def test_text_is_not_normalised(tmp_path):
    decomposed = "o\u0323jo\u0301"
    assert conll(tmp_path, f"{decomposed} O\n\u200bHon O\n")[0][0][0] == [decomposed, "\u200bHon"]


@pytest.mark.parametrize("line", ["Kano", "Kano PER", "Kano B-", "Kano b-LOC"])
def test_a_line_without_a_tag_is_named(tmp_path, line):
    with pytest.raises(ValueError, match=r"train.txt, line 2: received .* expected 'token tag'"):
        conll(tmp_path, f"Lagos O\n{line}\n")


def test_what_is_not_utf8_is_named_with_its_line(tmp_path):
    (tmp_path / "train.txt").write_bytes(b"Lagos O\nKan\xff O\n")
    with pytest.raises(ValueError, match="train.txt, line 2: not UTF-8"):
        read_conll(tmp_path / "train.txt", Repairs())


def test_masakhanews_has_quotes_with_line_feeds_inside_and_odd_separators(tmp_path):
    text = 'category\theadline\ttext\turl\nsports\tMpira\t"a ""b""\nc\u2028d\ufeff\x85"\thttp\npolitics\tH\tT\tu\n'
    assert tsv(tmp_path, text)[0] == [('Mpira\na "b"\nc\u2028d\ufeff\x85', "sports"), ("H\nT", "politics")]


def test_masakhanews_few_shot_files_have_no_url(tmp_path):
    assert tsv(tmp_path, "category\theadline\ttext\nsports\tH\tT\n")[0] == [("H\nT", "sports")]


def test_an_article_longer_than_the_csv_modules_limit(tmp_path):
    limit = csv.field_size_limit()
    article = "a" * (limit + 1)
    assert tsv(tmp_path, f"category\theadline\ttext\nsports\t\t{article}\n")[0] == [(article, "sports")]
    assert csv.field_size_limit() == limit


def test_antc_is_quoted_and_afrisenti_is_not(tmp_path):
    assert tsv(tmp_path, 'text\tlabel\n"""Na"" b"\tsanté / x\n')[0] == [('"Na" b', "santé / x")]
    assert tsv(tmp_path, 'tweet\tlabel\n"@user na\tneutral\nb "\tpositive\n')[0] == [
        ('"@user na', "neutral"),
        ('b "', "positive"),
    ]


def test_rows_without_text_are_dropped_and_counted(tmp_path):
    read, repairs = tsv(tmp_path, "tweet\tlabel\n \tneutral\na\tpositive\n")
    assert read == [("a", "positive")]
    assert repairs == {"rows without text dropped": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("words\tclass\na\tb\n", "starts with .*'words', 'class'.*expected the header"),
        ("tweet\tlabel\na\tb\tc\n", "line 2: 3 columns; expected 2"),
        ("tweet\tlabel\na\tpositive\nb\t\n", "line 3: no label"),
        ('text\tlabel\n"a\tb\n', "double the quotes inside quotes"),
        ("text\tlabel\na\tb\nc\n", "line 3: 1 column; expected 2"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        tsv(tmp_path, text)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_clear_error_or_a_counted_repair(case, tmp_path):
    if case.error:
        with pytest.raises((ValueError, FileNotFoundError), match=re.escape(case.error)) as raised:
            read(case, tmp_path)
        # The message begins with the file, except where labels of splits are compared.
        assert str(raised.value).startswith(str(tmp_path)) or str(raised.value).startswith((tmp_path.name, "own"))
        return
    texts, repairs = read(case, tmp_path)
    assert texts == case.examples
    assert repairs == ({case.repair: case.count} if case.repair else {})


def test_there_are_twenty_and_more():
    assert len({case.name for case in CASES}) == len(CASES) >= 20


def test_the_limit_of_a_cell_is_put_back_before_the_first_row_is_seen(tmp_path):
    path = tmp_path / "set.csv"
    path.write_text("text,label\n" + 'one,"positive"\n' * 2, encoding="utf-8")
    before = csv.field_size_limit()
    rows = read_rows(path, TableForm(format="csv"), Repairs())
    next(rows)  # and no more, as where a row is refused and the error is kept
    assert csv.field_size_limit() == before


def test_a_csv_may_end_its_lines_as_its_standard_says(tmp_path):
    (tmp_path / "set.csv").write_bytes(b"text,label\r\nMvua kubwa leo.,rain\r\n")
    repairs = Repairs()
    assert list(read_rows(tmp_path / "set.csv", TableForm(format="csv"), repairs)) == [
        (f"{tmp_path}/set.csv, line 2", {"text": "Mvua kubwa leo.", "label": "rain"})
    ]
    assert repairs == {}

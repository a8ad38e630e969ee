"""Files of labelled examples that are not as they should be, and what becomes of each: an error or a counted repair.

    python -m benchmarks.malformed_inputs

`tests/evaluation/test_malformed.py` holds every line of the table: what an error says, or which repair is
counted and what examples are left.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hf_afro.evaluation.data.loading import load_task

CONLL = b"Eshe B-PER\nyupo O\n\nKano B-LOC\n"
TWEETS = b"tweet\tlabel\nvizuri\tpositive\nvibaya\tnegative\n"
NEWS = b"category\theadline\ttext\nsports\tMpira\tGoli\nhealth\tDawa\tHospitali\n"
LINES = b'{"text": "vizuri", "label": "good"}\n{"text": "vibaya", "label": "bad"}\n'
TABLE = b"text,label\nvizuri,good\nvibaya,bad\n"
PAIRS = b"premise\thypothesis\tlabel\na\tb\t0\nc\td\t2\n"

_GOOD = {"conll": CONLL, "tweets": TWEETS, "news": NEWS, "jsonl": LINES, "csv": TABLE, "pairs": PAIRS}
_TASK = {"conll": "ner", "tweets": "sentiment", "news": "topic", "jsonl": "texts", "csv": "texts", "pairs": "nli"}
_DESCRIBED = ("jsonl", "csv")


@dataclass(frozen=True)
class Case:
    """One file that is not as it should be.

    Attributes:
        name: What is wrong with it.
        form: What the file should be: `conll`, `tweets` (TSV without quotes), `news` (TSV with quotes), `jsonl`,
            `csv` or `pairs`.
        content: Its bytes; None for a file that is not there.
        error: A part of the message; empty where the file is read.
        repair: The repair that is counted; empty where there is none to count.
        count: How often.
        examples: The texts, or words, that are read.
        split: The split whose file it is.
    """

    name: str
    form: str
    content: bytes | None
    error: str = ""
    repair: str = ""
    count: int = 1
    examples: tuple[str, ...] = ()
    split: str = "test"


_BOTH = ("Eshe yupo", "Kano")
_TWEET = ("vizuri", "vibaya")
_SPAN = "spans starting with I- changed to B-"

CASES = (
    Case("byte order mark, CoNLL", "conll", b"\xef\xbb\xbf" + CONLL, "", "byte order marks dropped", 1, _BOTH),
    Case("byte order mark, TSV", "tweets", b"\xef\xbb\xbf" + TWEETS, "", "byte order marks dropped", 1, _TWEET),
    Case("CR LF, CoNLL", "conll", CONLL.replace(b"\n", b"\r\n"), "", "files with CRLF line endings", 1, _BOTH),
    Case("CR LF, TSV", "tweets", TWEETS.replace(b"\n", b"\r\n"), "", "files with CRLF line endings", 1, _TWEET),
    Case("CR alone", "conll", CONLL.replace(b"\n", b"\r"), "end in bare carriage returns"),
    Case("missing tag", "conll", b"Eshe B-PER\nyupo\n", "line 2: received 'yupo'; expected 'token tag' with a tag"),
    Case("tag not in BIO", "conll", b"Eshe PER\n", "line 1: received 'Eshe PER'; expected 'token tag'"),
    Case("tag in lower case", "conll", b"Eshe b-per\n", "expected 'token tag' with a tag such as O, B-PER"),
    Case("tag without a type", "conll", b"Eshe B-\n", "expected 'token tag' with a tag such as O, B-PER"),
    Case("I- after O", "conll", b"na O\nEshe I-PER\n", "", _SPAN, 1, ("na Eshe",)),
    Case("I- after another type", "conll", b"Kano B-LOC\nEshe I-PER\n", "", _SPAN, 1, ("Kano Eshe",)),
    Case("empty token", "conll", b" O\nEshe B-PER\n", "", "lines without a token dropped", 1, ("Eshe",)),
    Case(
        "line of white space",
        "conll",
        b"Eshe B-PER\n \t\nKano B-LOC\n",
        "",
        "white-space lines taken as the end of a sentence",
        1,
        ("Eshe", "Kano"),
    ),
    Case("more columns than two", "conll", b"Eshe NNP B-PER\n", "not 3 columns; name the two to read"),
    Case("tabs and spaces mixed", "conll", b"Eshe\tB-PER\nyupo O\n", "", "", 0, ("Eshe yupo",)),
    Case(
        "start of a document",
        "conll",
        b"-DOCSTART- O\n\nEshe B-PER\n",
        "",
        "document start lines left out",
        1,
        ("Eshe",),
    ),
    Case("trailing spaces", "conll", b"Eshe B-PER  \nyupo O\t\n", "", "", 0, ("Eshe yupo",)),
    Case(
        "unicode line separators",
        "conll",
        "Es\u2028he B-PER\nyu\x85po O\n".encode(),
        "",
        "",
        0,
        ("Es\u2028he yu\x85po",),
    ),
    Case("no line feeds", "conll", b"a" * 5000 + b" O\n", "a token of 5000 characters"),
    Case("NUL byte", "conll", b"Es\0he B-PER\n", "line 1: contains a NUL byte"),
    Case("Latin-1", "conll", "Kano B-LOC\nélève O\n".encode("latin-1"), "line 2: not UTF-8"),
    Case("UTF-16", "conll", CONLL.decode().encode("utf-16"), "is UTF-16"),
    Case("empty file", "conll", b"", "is empty"),
    Case("line feeds alone", "conll", b"\n\n\n", "is empty"),
    Case("missing split", "conll", None, "has no dev.txt or validation.txt", split="dev"),
    Case("type that train has not", "conll", b"Eshe B-PRE\n", "test has the labels PRE, which train lacks"),
    Case("header alone", "tweets", b"tweet\tlabel\n", "has no examples in test"),
    Case("no header", "tweets", b"vizuri\tpositive\n", "expected the header"),
    Case("wrong column", "tweets", b"tweet\tclass\nvizuri\tpositive\n", "expected the header"),
    Case("wrong separator", "tweets", TWEETS.replace(b"\t", b","), "expected the header"),
    Case("separators mixed", "tweets", b"tweet\tlabel\nvizuri,positive\n", "line 2: 1 column; expected 2"),
    Case("a column too many", "tweets", b"tweet\tlabel\nvizuri\tsana\tpositive\n", "line 2: 3 columns; expected 2"),
    Case(
        "column named twice",
        "tweets",
        b"tweet\tlabel\tlabel\na\tpositive\tnegative\n",
        "the column 'label' appears twice",
    ),
    Case(
        "header repeated",
        "tweets",
        TWEETS + TWEETS,
        "",
        "repeated header rows left out",
        1,
        (*_TWEET, *_TWEET),
    ),
    Case(
        "spaces around names",
        "tweets",
        b"tweet \t label\nvizuri\tpositive\n",
        "",
        "column names with spaces around them",
        1,
        ("vizuri",),
    ),
    Case(
        "spaces around a label",
        "tweets",
        b"tweet\tlabel\na\t positive \n",
        "",
        "labels with spaces around them",
        1,
        ("a",),
    ),
    Case("no label", "tweets", b"tweet\tlabel\nvizuri\t\n", "line 2: no label"),
    Case("no text", "tweets", b"tweet\tlabel\n \tpositive\nb\tnegative\n", "", "rows without text dropped", 1, ("b",)),
    Case(
        "label in another case", "tweets", b"tweet\tlabel\na\tPositive\n", "test has the labels Positive, which train"
    ),
    Case("label in two cases", "tweets", TWEETS + b"c\tPositive\n", "differ only in case", split="train"),
    Case("one label alone", "tweets", b"tweet\tlabel\nvizuri\tpositive\n", "which train lacks", split="train"),
    Case("quote where none counts", "tweets", b'tweet\tlabel\n"vizuri\tpositive\n', "", "", 0, ('"vizuri',)),
    Case("quote never closed", "news", b'category\theadline\ttext\nsports\t"Mpira\tGoli\n', "unexpected end of data"),
    Case(
        "stray quotes over rows",
        "news",
        b'category\theadline\ttext\nsports\t"Mpira\tGoli\nhealth\tDawa"\tHospitali\n',
        "line feeds and tabs, so a quote is missing or stray",
    ),
    Case(
        "text after a quote",
        "news",
        b'category\theadline\ttext\nsports\t"Mpira" leo\tGoli\n',
        "expected after '\"'; double the quotes inside quotes",
    ),
    Case(
        "huge line",
        "news",
        NEWS + b"sports\t\t" + b"a " * 500_000 + b"\n",
        "",
        "",
        0,
        ("Mpira\nGoli", "Dawa\nHospitali", "a " * 500_000),
    ),
    Case("broken line of JSON", "jsonl", LINES + b'{"text": "a", "label"\n', "line 3: invalid JSON"),
    Case("JSON that is no object", "jsonl", b'["vizuri", "good"]\n', "line 1: received"),
    Case(
        "JSON without a column",
        "jsonl",
        b'{"tweet": "vizuri", "label": "good"}\n',
        "line 1: has the columns tweet, label; expected text",
    ),
    Case("JSON text that is a number", "jsonl", b'{"text": 5, "label": "good"}\n', "'text' is 5, of type int"),
    Case("JSON label that is null", "jsonl", b'{"text": "a", "label": null}\n', "line 1: no label"),
    Case("JSON label that is 1.0", "jsonl", b'{"text": "a", "label": 1.0}\n', "the label is 1.0, of type float"),
    Case("labels as numbers", "jsonl", b'{"text": "a", "label": 1}\n', "test has the labels 1, which train lacks"),
    Case(
        "semicolons for commas", "csv", TABLE.replace(b",", b";"), "has the columns text;label; expected text, label"
    ),
    Case("cell with a comma", "csv", b"text,label\nndiyo, sana,good\n", "line 2: 3 columns; expected 2"),
    Case(
        "pair without a text",
        "pairs",
        PAIRS + b"e\t\t1\n",
        "",
        "pairs with a missing text dropped",
        1,
        ("a|b", "c|d"),
    ),
    Case("label out of range", "pairs", PAIRS + b"e\tf\t7\n", "no name for the label '7'"),
)


def read(case: Case, folder: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    """Write the file of a case beside two good ones, and read the set.

    Returns:
        The texts of its split, and the repairs that are counted.
    """
    described = case.form in _DESCRIBED
    suffix = f".{case.form}" if described else ".txt" if case.form == "conll" else ".tsv"
    home = folder / "swa"
    home.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        content = case.content if split == case.split else _GOOD[case.form]
        if content is not None:
            (home / f"{split}{suffix}").write_bytes(content)
    source = folder
    if described:
        source = folder / "set.yaml"
        files = "\n".join(f'  {split}: "{{language}}/{split}{suffix}"' for split in ("train", "dev", "test"))
        source.write_text(f"name: own\ntask: texts\nfiles:\n{files}\n", "utf-8")
    data = load_task(_TASK[case.form], source, "swa")
    texts = data.texts(case.split)
    joined = [
        "|".join(text) if isinstance(text, tuple) else " ".join(text) if isinstance(text, list) else text
        for text in texts
    ]
    return tuple(joined), {name: count for name, count in data.repairs.items() if "train" not in name}


def main() -> None:
    print(f"{'what is wrong':32}{'form':8}what becomes of it")
    for case in CASES:
        folder = Path(tempfile.mkdtemp())
        try:
            texts, repairs = read(case, folder)
            told = (
                f"{len(texts)} read; {'; '.join(f'{what}: {count}' for what, count in repairs.items()) or 'as it is'}"
            )
        except (ValueError, FileNotFoundError) as error:
            told = f"refused: {str(error).replace(f'{folder}/', '')}"
        finally:
            shutil.rmtree(folder)
        print(f"{case.name:32}{case.form:8}{told[:160]}")


if __name__ == "__main__":
    main()

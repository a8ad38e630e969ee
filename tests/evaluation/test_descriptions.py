"""Sets described in YAML: every format and kind of task, and the errors for wrong descriptions."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hf_afro.evaluation.data.descriptions import describe, described_files, read_description
from hf_afro.evaluation.data.loading import languages_of, load_described, load_task

FILES = 'files: {train: "{language}.a", dev: "{language}.a", test: "{language}.a"}\n'


def described(tmp_path, content, yaml: str, language: str = "swa", suffix: str = "a"):
    """A set whose three splits are one file."""
    if isinstance(content, str):
        (tmp_path / f"{language}.{suffix}").write_text(dedent(content), "utf-8")
    path = tmp_path / "set.yaml"
    path.write_text(dedent(yaml) + FILES.replace(".a", f".{suffix}"), "utf-8")
    description = read_description(path)
    return load_described(description, language, tmp_path)


def own(data) -> dict[str, int]:
    return {what: count for what, count in data.repairs.items() if "train" not in what}


def test_columns_of_conll_are_named_by_place_and_types_by_a_map(tmp_path):
    content = """\
        -DOCSTART- -X- O O

        # id = 1
        Eshe NNP B-NP I-PERSON
        Bello NNP I-NP I-PERSON
        Kano NNP I-NP B-PERSON
        leo RB O I-MISC
    """
    data = described(
        tmp_path,
        content,
        """\
        name: council
        task: ner
        format: conll
        scheme: iob1
        comment: "#"
        columns: {tokens: 0, tags: 3}
        labels: {PERSON: PER, MISC: O}
        """,
    )
    assert data.dataset == "council/swa"
    assert data.texts() == [["Eshe", "Bello", "Kano", "leo"]]
    assert [data.labels[tag] for tag in data.gold()[0]] == ["B-PER", "I-PER", "B-PER", "O"]
    assert own(data) == {"comment lines left out": 3, "document start lines left out": 3}


def test_bioes_and_a_separator(tmp_path):
    content = "New York\tS-LOC\nEshe\tB-PER\nA.\tI-PER\nBello\tE-PER\nleo\tO\nDayo\tE-PER\n"
    data = described(tmp_path, content, "name: a\ntask: ner\nformat: conll\nscheme: bioes\nseparator: tab\n")
    assert data.texts()[0][0] == "New York"
    assert [data.labels[tag] for tag in data.gold()[0]] == ["B-LOC", "B-PER", "I-PER", "I-PER", "O", "B-PER"]
    assert own(data) == {"spans starting with I- changed to B-": 3}


def test_tags_that_are_no_spans(tmp_path):
    data = described(tmp_path, "na CCONJ\nKano PROPN\n, PUNCT\n, PUNCT\n", "name: a\ntask: pos\nformat: conll\n")
    # The most frequent tag is label 0, which words without a token get.
    assert data.labels == ("PUNCT", "CCONJ", "PROPN")
    assert data.gold() == [[1, 2, 0, 0]]


def test_csv_with_names_for_columns_and_labels(tmp_path):
    data = described(
        tmp_path,
        'id;kichwa;mwili;aina\n1;Mpira;"Goli; mbili";0\n2;;Dawa;1\n',
        """\
        name: habari
        task: topic
        format: csv
        separator: semicolon
        columns: {text: [kichwa, mwili], label: aina}
        labels: [sports, health]
        """,
    )
    assert data.texts() == ["Mpira\nGoli; mbili", "Dawa"]
    assert [data.labels[label] for label in data.gold()] == ["sports", "health"]


def test_a_table_without_a_header(tmp_path):
    yaml = "name: a\ntask: sentiment\nheader: [label, text]\nquoted: false\n"
    data = described(tmp_path, 'good\t"nzuri\nbad\tmbaya\n', yaml, suffix="tsv")
    assert data.texts() == ['"nzuri', "mbaya"]


def test_pairs_in_lines_of_json(tmp_path):
    rows = [{"premise": "a", "hypothesis": "b", "gold": "yes"}, {"premise": "c", "hypothesis": "d", "gold": "no"}]
    data = described(
        tmp_path,
        "\n".join(json.dumps(row) for row in rows),
        "name: a\ntask: pairs\ncolumns: {text: premise, text_pair: hypothesis, label: gold}\n",
        suffix="jsonl",
    )
    assert data.texts() == [("a", "b"), ("c", "d")]
    assert data.sentences() == ["a", "b", "c", "d"]
    assert data.labels == ("no", "yes")
    assert data.splits["test"].column_names == ["text", "text_pair", "label"]


def test_parquet_with_names_of_labels(tmp_path):
    features = Features({"words": List(Value("string")), "ner": List(ClassLabel(names=["O", "B-PER", "I-PER"]))})
    Dataset.from_dict({"words": [["Eshe", "yupo"], ["na"]], "ner": [[1, 0], [0]]}, features).to_parquet(
        tmp_path / "swa.parquet"
    )
    yaml = "name: a\ntask: ner\ncolumns: {tokens: words, tags: ner}\n"
    data = described(tmp_path, None, yaml, suffix="parquet")
    assert data.texts() == [["Eshe", "yupo"], ["na"]]
    assert data.gold() == [[1, 0], [0]]


def test_a_secret_label_is_no_label(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["a", "b"])})
    Dataset.from_dict({"text": ["x", "y"], "label": [0, -1]}, features).to_parquet(tmp_path / "swa.parquet")
    with pytest.raises(ValueError, match="swa.parquet, row 2: no label"):
        described(tmp_path, None, "name: a\ntask: topic\n", suffix="parquet")
    (tmp_path / "swa.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        described(tmp_path, None, "name: a\ntask: topic\n", suffix="parquet")


def test_words_and_tags_in_cells(tmp_path):
    yaml = "name: a\ntask: spans\ncolumns: {tokens: words, tags: tags}\n"
    data = described(tmp_path, "words\ttags\nEshe yupo\tB-PER O\n", yaml, suffix="tsv")
    assert data.texts() == [["Eshe", "yupo"]]
    with pytest.raises(ValueError, match="line 2: 2 words and 1 tags"):
        described(tmp_path, "words\ttags\nEshe yupo\tB-PER\n", yaml, suffix="tsv")
    with pytest.raises(ValueError, match="line 2: the tag '1' is not in the scheme iob2"):
        described(tmp_path, "words\ttags\nEshe yupo\t1 0\n", yaml, suffix="tsv")


def test_the_hub_is_read_by_patterns(monkeypatch, tmp_path):
    rows = Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]})
    asked = []

    def load(repository, **settings):
        asked.append({"repository": repository, **settings})
        return dict.fromkeys(settings["data_files"], rows)

    monkeypatch.setattr("datasets.load_dataset", load)
    facts = {
        "name": "own",
        "task": "texts",
        "repository": "me/own",
        "revision": "abc",
        "languages": {"sw": "swahili"},
        "files": {split: f"{{language}}/{split}-*.parquet" for split in ("train", "dev", "test")},
    }
    data = load_described(describe(facts), "swh")
    files = {split: f"swahili/{split}-*.parquet" for split in ("train", "dev", "test")}
    assert asked == [{"repository": "me/own", "data_files": files, "revision": "abc"}]
    assert data.files == dict.fromkeys(files, "me/own@abc")
    with pytest.raises(ValueError, match="own has no yor; its languages are swa"):
        load_described(describe(facts), "yor")


@pytest.mark.parametrize(
    ("there", "asked", "taken"),
    [
        (("gaz_Latn",), "gaz_Latn", "gaz_Latn"),
        (("gaz_Latn",), "orm", "gaz_Latn"),
        (("gaz_Latn", "orm"), "gaz_Latn", "gaz_Latn"),
        (("gaz_Latn", "orm"), "om", "orm"),
        (("gaz",), "orm", "gaz"),
        (("om",), "gaz_Latn", "om"),
        (("bem_Latn",), "bem", "bem_Latn"),
    ],
)
def test_the_language_stands_in_file_names_in_any_of_its_codes(tmp_path, there, asked, taken):
    for name in there:
        (tmp_path / f"{name}.tsv").write_text(f"text\tlabel\n{name}\tx\nb\ty\n", "utf-8")
    facts = {"name": "a", "task": "texts", "files": dict.fromkeys(("train", "dev", "test"), "{language}.tsv")}
    data = load_described(describe(facts), asked, tmp_path)
    assert data.texts()[0] == taken
    assert data.files["test"] == f"{taken}.tsv"
    # With `languages:` nothing else is tried.
    for languages in ({asked: "no"}, ["om_ET"] if "bem" not in asked else ["bem_ZM"]):
        with pytest.raises(FileNotFoundError, match="does not exist; expected the test split there"):
            load_described(describe({**facts, "languages": languages}), asked, tmp_path)


@pytest.mark.parametrize(
    ("there", "asked", "taken"),
    [
        (("sw-KE",), "swa", "sw-KE"),
        (("sw-KE",), "sw-KE", "sw-KE"),
        (("Swahili", "sw"), "swa", "sw"),
        (("Swahili", "sw"), "Swahili", "Swahili"),
        (("old", "swc"), "swa", "swc"),  # `old` is the code of another language
    ],
)
def test_files_may_be_named_by_codes_that_are_not_tried_in_turn(tmp_path, there, asked, taken):
    for name in there:
        (tmp_path / f"{name}.tsv").write_text(f"text\tlabel\n{name}\tx\nb\ty\n", "utf-8")
    facts = {"name": "a", "task": "texts", "files": dict.fromkeys(("train", "dev", "test"), "{language}.tsv")}
    assert load_described(describe(facts), asked, tmp_path).files["test"] == f"{taken}.tsv"


def test_the_data_files_of_a_description_are_those_of_all_its_languages(tmp_path):
    for name in ("swa/swa-train.tsv", "swa/swa-test.tsv", "yor/yor-test.tsv", "yor/swa-test.tsv", "swa/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files = "".join(f"  {split}: '{{language}}/{{language}}-{split}.tsv'\n" for split in ("train", "dev", "test"))
    path = tmp_path / "set[1].yaml"
    path.write_text(f"name: a\ntask: texts\nfiles:\n{files}", "utf-8")
    found = [file.relative_to(tmp_path).as_posix() for file in described_files(path)]
    assert found == ["swa/swa-train.tsv", "swa/swa-test.tsv", "yor/yor-test.tsv"]
    path.write_text(f"name: a\ntask: texts\nrepository: me/own\nfiles:\n{files}", "utf-8")
    assert described_files(path) == described_files(tmp_path / "swa") == []


def test_a_language_that_is_trained_on_is_read_by_the_name_that_has_all_splits(tmp_path):
    """As in a set that has its test split under the tag too."""
    for name, splits in (("gaz_Latn", ["test"]), ("orm", ["train", "dev", "test"])):
        (tmp_path / name).mkdir()
        for split in splits:
            (tmp_path / name / f"{split}.tsv").write_text(f"text\tlabel\n{name}\tx\nb\ty\n", "utf-8")
    files = {split: f"{{language}}/{split}.tsv" for split in ("train", "dev", "test")}
    description = describe({"name": "a", "task": "texts", "files": files})
    assert load_described(description, "gaz_Latn", tmp_path).texts()[0] == "orm"
    assert load_described(description, "gaz_Latn", tmp_path, trained=False).files == {"test": "gaz_Latn/test.tsv"}
    (tmp_path / "orm" / "dev.tsv").unlink()
    with pytest.raises(FileNotFoundError, match="gaz_Latn/train.tsv does not exist; expected the train split there"):
        load_described(description, "gaz_Latn", tmp_path)


def test_the_hub_is_asked_for_any_of_the_codes(monkeypatch):
    rows = Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]})
    asked = []

    def load(repository, data_files, revision):
        asked.append(data_files["test"])
        if not data_files["test"].startswith("gaz_Latn"):
            raise FileNotFoundError(data_files["test"])
        return dict.fromkeys(data_files, rows)

    monkeypatch.setattr("datasets.load_dataset", load)
    files = {split: f"{{language}}/{split}.parquet" for split in ("train", "dev", "test")}
    description = describe({"name": "a", "task": "texts", "repository": "me/own", "files": files})
    assert load_described(description, "om").language == "orm"
    assert asked == ["om/test.parquet", "orm/test.parquet", "gaz_Latn/test.parquet"]
    assert set(load_described(description, "om", trained=False).splits) == {"test"}
    with pytest.raises(FileNotFoundError, match="yo/test.parquet"):
        load_described(description, "yor")


def test_a_described_language_that_is_measured_on_alone_needs_its_test_split(tmp_path):
    (tmp_path / "tir-test.tsv").write_text("text\tlabel\na\tx\n", "utf-8")
    files = {split: f"{{language}}-{split}.tsv" for split in ("train", "dev", "test")}
    description = describe({"name": "a", "task": "texts", "files": files})
    with pytest.raises(
        FileNotFoundError, match="tir-train.tsv does not exist; expected the train split there. A language"
    ):
        load_described(description, "tir", tmp_path)
    assert set(load_described(description, "tir", tmp_path, trained=False).splits) == {"test"}


def test_load_task_takes_a_description(tmp_path):
    described(tmp_path, "na CCONJ\nKano PROPN\n", "name: a\ntask: pos\nformat: conll\n")
    assert load_task("pos", tmp_path / "set.yaml", "swa").dataset == "a/swa"
    with pytest.raises(ValueError, match="describes a set for pos; expected one for ner"):
        load_task("ner", tmp_path / "set.yaml", "swa")
    with pytest.raises(
        FileNotFoundError, match="yor.a does not exist, nor do yor_Latn.a, yo.a; expected the test split there"
    ):
        load_task("pos", tmp_path / "set.yaml", "yor")


def test_labels_that_only_test_has_are_counted_if_that_is_said(tmp_path):
    for split, label in (("train", "x"), ("dev", "x"), ("test", "z")):
        (tmp_path / f"{split}.tsv").write_text(f"text\tlabel\na\t{label}\nb\ty\n", "utf-8")
    facts = {"name": "a", "task": "texts", "files": {split: f"{split}.tsv" for split in ("train", "dev", "test")}}
    with pytest.raises(ValueError, match="test has the labels z, which train lacks"):
        load_described(describe(facts), "swa", tmp_path)
    data = load_described(describe({**facts, "unseen_labels": True}), "swa", tmp_path)
    assert data.labels == ("x", "y", "z")
    assert data.repairs["test labels that train lacks"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tsk": "ner"}, "unknown key 'tsk'; did you mean 'task'"),
        ({"task": "nre"}, "unknown task 'nre'; did you mean 'ner'"),
        ({"task": None}, "no task; a description needs name, task and files"),
        ({"files": {"train": "a.txt", "dev": "a.txt"}}, "`files:` lacks test"),
        ({"files": {"train": "a", "dev": "a", "test": "a", "valid": "a"}}, "unknown split 'valid'"),
        ({"files": "a.txt"}, "files is 'a.txt'; expected one file name per split"),
        ({"files": dict.fromkeys(("train", "dev", "test"), "a.xls")}, "is unknown; set `format:` to conll, tsv"),
        ({"scheme": "bilou"}, "scheme is 'bilou'; expected iob2, iob1 or bioes for ner"),
        ({"scheme": "none"}, "scheme is 'none'; expected iob2"),
        ({"task": "topic"}, "conll has one label per word"),
        ({"columns": {"token": 0}}, "unknown column 'token'; did you mean 'tokens'"),
        ({"columns": {"tokens": 0, "tags": "x"}}, "expected names, or numbers for tokens and tags"),
        ({"columns": ["tokens"]}, "columns is .'tokens'.; expected a mapping such as"),
        ({"labels": {False: "O"}}, "which YAML reads as booleans"),
        ({"labels": "O"}, "labels is 'O'; expected a mapping such as"),
        ({"languages": "swa"}, "languages is 'swa'; expected a list of codes"),
        ({"languages": ["xqz"]}, "unknown language 'xqz'"),
        ({"languages": ["gaz_Latn", "orm"]}, "'gaz_Latn' and 'orm' are one language, Oromo"),
        ({"quoted": "yes"}, "quoted is 'yes'; expected true or false"),
        ({"separator": 9}, "separator is 9; expected text"),
    ],
)
def test_a_wrong_description_is_named(changes, message):
    facts = {"name": "a", "task": "ner", "files": dict.fromkeys(("train", "dev", "test"), "a.txt")}
    with pytest.raises(ValueError, match=message):
        describe({**facts, **changes})


def test_a_label_that_the_map_has_not(tmp_path):
    yaml = "name: a\ntask: texts\nlabels: {good: positive, bad: negative}\n"
    with pytest.raises(ValueError, match="line 3: no name for the label 'god'; .* did you mean 'good'"):
        described(tmp_path, "text\tlabel\na\tgood\nb\tgod\n", yaml, suffix="tsv")


def test_what_is_no_description(tmp_path):
    path = tmp_path / "set.yaml"
    path.write_text("- a\n", "utf-8")
    with pytest.raises(ValueError, match="holds no description"):
        read_description(path)
    path.write_text("a: [\n", "utf-8")
    with pytest.raises(ValueError, match="cannot be read as YAML"):
        read_description(path)
    path.write_text("a: !!python/object/apply:os.getcwd []\n", "utf-8")
    with pytest.raises(ValueError, match="cannot be read as YAML"):
        read_description(path)


def test_the_languages_of_a_folder_and_of_a_description(tmp_path):
    (tmp_path / "sw").mkdir()
    assert languages_of("pos", tmp_path) == ("swa",)
    path = tmp_path / "set.yaml"
    path.write_text(f"name: a\ntask: pos\nformat: conll\nlanguages: [yo, swa]\n{FILES}", "utf-8")
    assert languages_of("pos", path) == ("yor", "swa")
    path.write_text(f"name: a\ntask: pos\nformat: conll\n{FILES}", "utf-8")
    with pytest.raises(ValueError, match="names no `languages:`"):
        languages_of("pos", path)
    with pytest.raises(FileNotFoundError):
        languages_of("pos", tmp_path / "none.yaml")


def test_several_labels_in_a_cell_a_list_or_columns_of_their_own(tmp_path):
    facts = {"name": "own", "task": "multi_label"}
    tables = {
        "csv": ('text,label\nNzuri,"joy, pride"\nLeo,\nMbaya,anger\n', {}),
        "jsonl": (
            '{"text": "Nzuri", "label": ["joy", "pride"]}\n{"text": "Leo", "label": []}\n'
            '{"text": "Mbaya", "label": ["anger"]}\n',
            {},
        ),
        "tsv": (
            "text\tJ\tpride\tanger\nNzuri\t1\t1\t0\nLeo\t0\t0\t0\nMbaya\t0\t0\t1\n",
            {
                "columns": {"labels": ["J", "pride", "anger"]},
                "labels": {"J": "joy", "pride": "pride", "anger": "anger"},
            },
        ),
    }
    for suffix, (text, more) in tables.items():
        for split in ("train", "dev", "test"):
            (tmp_path / f"{split}.{suffix}").write_text(text, "utf-8")
        files = {split: f"{split}.{suffix}" for split in ("train", "dev", "test")}
        data = load_described(describe({**facts, "files": files, **more}), "swa", tmp_path)
        assert data.labels == ("anger", "joy", "pride")
        assert data.gold() == [[1, 2], [], [0]]
    with pytest.raises(ValueError, match="the column of labels is .'J', 1.; expected a name, or a list of names"):
        describe({**facts, "files": files, "columns": {"labels": ["J", 1]}})


def test_a_number_and_spans_of_characters(tmp_path):
    row = {"text": "Amina yuko Kano", "anger": 2, "entities": [{"start": 11, "end": 15, "label": "LOC"}]}
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    files = {split: f"{split}.jsonl" for split in ("train", "dev", "test")}
    number = describe({"name": "own", "task": "regression", "files": files, "columns": {"label": "anger"}})
    assert load_described(number, "swa", tmp_path).gold() == [2.0]
    spans = describe({"name": "own", "task": "spans", "files": files, "columns": {"spans": "entities"}})
    data = load_described(spans, "swa", tmp_path)
    assert (data.texts(), data.labels) == ([["Amina", "yuko", "Kano"]], ("O", "B-LOC", "I-LOC"))
    assert data.gold() == [[0, 0, 1]]

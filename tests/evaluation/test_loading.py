"""Tasks by place: folders in every published form, the sample, the Hub, and real sets read independently."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks.task_counts import FOLDERS, count
from hf_afro.evaluation.data.loading import check_splits, languages_of, load_task

CONLL = "Eshe B-PER\nyupo O\n\nKano B-LOC\n"
TWEETS = "tweet\tlabel\nvizuri\tpositive\nvibaya\tnegative\n"
NEWS = "category\theadline\ttext\nsports\tMpira\tGoli\nhealth\tDawa\tHospitali\n"


def fill(folder, suffix: str, text: str, splits=("train", "dev", "test")):
    folder.mkdir(parents=True)
    for split in splits:
        (folder / f"{split}{suffix}").write_text(text, "utf-8")


def test_a_language_is_found_under_any_of_its_codes(tmp_path):
    fill(tmp_path / "ner" / "sw", ".txt", CONLL)
    data = load_task("ner", tmp_path / "ner", "swh")
    assert (data.task, data.language, data.dataset) == ("ner", "swa", "ner/swa")
    assert data.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert data.repairs == {"dev examples also in train": 2, "test examples also in train": 2}


def test_fifty_examples_a_label_stand_in_for_a_train_split_that_was_never_published(tmp_path):
    fill(tmp_path / "swa", ".tsv", NEWS, ("dev", "test", "train.fewshot50"))
    assert load_task("topic", tmp_path, "swa").files["train"] == "train.fewshot50.tsv"
    (tmp_path / "swa" / "train.tsv").write_text(NEWS, "utf-8")
    assert load_task("topic", tmp_path, "swa").files["train"] == "train.tsv"


@pytest.mark.parametrize(
    ("task", "language", "error", "message"),
    [
        ("ners", "swa", ValueError, r"unknown task 'ners'; did you mean 'ner'\? Expected one of ner, topic"),
        ("sentiment", "xqz", ValueError, "unknown language 'xqz'"),
        ("sentiment", "yor", ValueError, "has no folder for yor with a split in it; its languages are: swa"),
        ("ner", "swa", FileNotFoundError, "has no train.txt or train.fewshot50.txt. A language without it can only"),
    ],
)
def test_what_is_not_there_is_named(tmp_path, task, language, error, message):
    fill(tmp_path / "swa", ".tsv", TWEETS)
    with pytest.raises(error, match=message):
        load_task(task, tmp_path, language)


def test_a_folder_that_does_not_exist_and_a_language_that_is_there_twice(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        load_task("ner", tmp_path / "none", "swa")
    fill(tmp_path / "swa", ".tsv", TWEETS)
    fill(tmp_path / "swh", ".tsv", TWEETS)
    with pytest.raises(ValueError, match="are both 'swa'; keep one"):
        load_task("sentiment", tmp_path, "swa")


def test_languages_beyond_the_table_are_found_and_other_folders_told(tmp_path, caplog):
    for name in ("swa", "bem", "kik_Latn"):
        fill(tmp_path / name, ".tsv", TWEETS)
    for name in ("cache", "old", ".git", "__pycache__"):  # `old` is the code of Mochi, and holds no split
        (tmp_path / name).mkdir()
    fill(tmp_path / "ner", ".txt", CONLL)  # a task, and the code of Yahadian
    assert languages_of("sentiment", tmp_path) == ("bem", "kik", "swa")
    (told,) = (record.getMessage() for record in caplog.records)
    assert "left out cache, ner, old; the folder of a language is named by its code" in told
    data = load_task("sentiment", tmp_path, "bem")
    assert (data.language, data.dataset) == ("bem", f"{tmp_path.name}/bem")
    assert load_task("sentiment", tmp_path, "ki").language == "kik"
    with pytest.raises(ValueError, match="has no folder for old with a split in it; its languages are: bem, kik, swa"):
        load_task("sentiment", tmp_path, "old")


WITH_ID = 'ID\ttweet\tlabel\ntig_1\t"ጽቡቕ\tpositive\ntig_2\t \tneutral\ntig_3\tሕማቕ\tnegative\n'


def test_a_language_that_is_measured_on_alone_needs_its_test_split(tmp_path):
    """AfriSenti has no train split in Tigrinya and Oromo, and an ID in front of the tweet."""
    fill(tmp_path / "tir", ".tsv", WITH_ID, ("test",))
    with pytest.raises(FileNotFoundError, match=r"tir has no train.tsv or .* those to train on with `transfer`"):
        load_task("sentiment", tmp_path, "tir")
    data = load_task("sentiment", tmp_path, "tir", trained=False)
    assert {split: len(rows) for split, rows in data.splits.items()} == {"test": 2}
    assert (data.texts(), data.labels, data.files) == (['"ጽቡቕ', "ሕማቕ"], ("negative", "positive"), {"test": "test.tsv"})
    # As published: a train split with only a header.
    (tmp_path / "tir" / "train.tsv").write_text("tweet\tlabel", "utf-8")
    assert load_task("sentiment", tmp_path, "tir", trained=False).fingerprint == data.fingerprint
    (tmp_path / "tir" / "dev.tsv").write_text(WITH_ID, "utf-8")
    with pytest.raises(ValueError, match="tir has no examples in train; .* only measured needs test alone: see"):
        load_task("sentiment", tmp_path, "tir")
    (tmp_path / "tir" / "test.tsv").unlink()
    with pytest.raises(FileNotFoundError, match="tir has no test.tsv"):
        load_task("sentiment", tmp_path, "tir", trained=False)


def test_what_else_a_language_has_is_read_and_may_have_other_labels(tmp_path):
    """MasakhaNEWS has few Amharic training examples, and not of every topic."""
    fill(tmp_path / "amh", ".tsv", NEWS, ("dev", "test"))
    (tmp_path / "amh" / "train.fewshot50.tsv").write_text(
        "category\theadline\ttext\nhealth\ta\tb\nart\tc\td\n", "utf-8"
    )
    with pytest.raises(ValueError, match="dev has the labels sports, which train lacks"):
        load_task("topic", tmp_path, "amh")
    data = load_task("topic", tmp_path, "amh", trained=False)
    assert sorted(data.splits) == ["dev", "test", "train"]
    assert data.labels == ("art", "health", "sports")
    fill(tmp_path / "orm", ".tsv", NEWS)
    (whole, measured) = (load_task("topic", tmp_path, "orm", trained=trained) for trained in (True, False))
    assert measured.fingerprint == whole.fingerprint


def test_pairs_that_are_measured_on_alone_need_no_english(tmp_path):
    fill(tmp_path / "yor", ".tsv", "premise\thypothesis\tlabel\na\tb\t0\n", ("test",))
    assert load_task("nli", tmp_path, "yor", trained=False).labels == ("entailment",)


@pytest.mark.parametrize(
    ("task", "suffix", "text", "numbers"),
    [
        ("sentiment", ".tsv", WITH_ID, [0, 2]),
        ("ner", ".txt", "Eshe B-PER\n\n B-LOC\n\nyupo O\nKano B-LOC\n", [0, 2]),
        ("ner", ".txt", CONLL, [0, 1]),
    ],
)
def test_an_example_keeps_its_number_in_the_file(tmp_path, task, suffix, text, numbers):
    fill(tmp_path / "swa", suffix, text)
    data = load_task(task, tmp_path, "swa")
    assert list(data.numbers_of()) == numbers
    one = data.limited(test=1, seed=3)
    (place,) = (data.texts().index(text) for text in one.texts())
    assert list(one.numbers_of()) == [numbers[place]]


def test_parts_of_speech_may_have_a_tag_that_train_has_not(tmp_path):
    fill(tmp_path / "swa", ".txt", "na CCONJ\nKano PROPN\n\n")
    (tmp_path / "swa" / "test.txt").write_text("na CCONJ\n@ SYM\n", "utf-8")
    data = load_task("pos", tmp_path, "swa")
    assert data.labels == ("CCONJ", "PROPN", "SYM")
    assert data.repairs["test labels that train lacks"] == 1


def test_afrixnli_has_numbers_or_names_and_no_train_of_its_own(tmp_path):
    fill(tmp_path / "eng", ".tsv", "premise\thypothesis\tlabel\na\tb\t0\nc\td\tneutral\n")
    fill(tmp_path / "yor", ".tsv", "premise\thypothesis\tlabel\ne\tf\t1\n", ("dev", "test"))
    data = load_task("nli", tmp_path, "yor")
    assert data.labels == ("entailment", "neutral")
    assert data.gold() == [1]
    assert data.files["train"] == "eng/train.tsv"
    with pytest.raises(ValueError, match="expected the header"):
        load_task("topic", tmp_path, "eng")
    (tmp_path / "eng" / "train.tsv").unlink()
    with pytest.raises(FileNotFoundError, match="yor has no train.tsv"):
        load_task("nli", tmp_path, "yor")


def test_sib200_has_folders_by_script(tmp_path):
    table = 'index_id\tcategory\ttext\n1\tsports\t"a ""b"""\n2\ttravel\tc\n'
    for name in ("swh_Latn", "zho_Hans", "zho_Hant"):
        fill(tmp_path / name, ".tsv", table)
    assert load_task("topic", tmp_path, "swa").texts() == ['a "b"', "c"]
    assert load_task("topic", tmp_path, "zho").language == "zho"


def test_the_sample_is_a_place(tmp_path, monkeypatch):
    data = load_task("topic", "sample", "sw")
    assert (data.dataset, data.language, len(data.splits["test"])) == ("hf_afro-sample/swa", "swa", 120)
    assert data.fingerprint == load_task("topic", "sample", "swa").fingerprint
    assert set(languages_of("topic", "sample")) >= {"swa", "yor"}
    with pytest.raises(ValueError, match="the sample has no pos; it has ner, topic, sentiment"):
        load_task("pos", "sample", "swa")
    with pytest.raises(ValueError, match="no templates for zul"):
        load_task("ner", "sample", "zul")
    # A folder of that name is meant by ./sample.
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "sample" / "yor", ".tsv", TWEETS)
    assert languages_of("sentiment", "./sample") == ("yor",)


def test_the_hub_is_a_place():
    assert "yor" in languages_of("ner", "hub")
    assert "zul" in languages_of("topic", "hub:sib200")
    with pytest.raises(ValueError, match="masakhanews has no zul"):
        load_task("topic", "hub", "zul")
    with pytest.raises(ValueError, match="no set 'sib200' for ner on the Hub"):
        load_task("ner", "hub:sib200", "swa")


def test_a_folder_of_tasks_is_a_place(tmp_path):
    fill(tmp_path / "sentiment" / "swa", ".tsv", TWEETS)
    fill(tmp_path / "topic" / "masakhanews" / "yor", ".tsv", NEWS)
    assert languages_of("sentiment", tmp_path) == ("swa",)
    assert load_task("sentiment", tmp_path, "swa").dataset == "sentiment/swa"
    assert languages_of("topic", tmp_path) == ("yor",)
    assert load_task("topic", tmp_path, "yor").dataset == "masakhanews/yor"
    fill(tmp_path / "topic" / "own" / "yor", ".tsv", NEWS)
    with pytest.raises(ValueError, match="topic has the sets: masakhanews, own; choose one"):
        load_task("topic", tmp_path, "yor")
    with pytest.raises(ValueError, match="has no folder for swa"):
        load_task("ner", tmp_path, "swa")


SPAN = "spans starting with I- changed to B-"
REAL = [
    ("ner", "ner/masakhaner1", "swa", (2109, 300, 604), {}),
    ("ner", "ner/masakhaner1", "luo", (644, 92, 186), {"byte order marks dropped": 1}),
    ("ner", "ner/masakhaner1", "pcm", (2124, 306, 600), {SPAN: 5}),
    ("ner", "ner/masakhaner2", "kin", (7825, 1118, 2235), {SPAN: 16}),
    ("ner", "ner/masakhaner2", "yor", (6876, 983, 1964), {SPAN: 2}),
    ("topic", "topic/masakhanews", "amh", (200, 188, 376), {}),
    ("topic", "topic/masakhanews", "eng", (300, 472, 948), {}),
    ("topic", "topic/masakhanews", "yor", (1433, 206, 411), {}),
    ("topic", "topic/antc", "lin", (1536, 220, 440), {}),
    ("sentiment", "sentiment/afrisenti", "yor", (8522, 2090, 4515), {}),
    ("sentiment", "sentiment/afrisenti", "pcm", (5121, 1281, 4154), {"test examples also in train": 926}),
]


@pytest.mark.parametrize(("task", "folder", "language", "sizes", "repairs"), REAL)
def test_the_real_sets_have_their_published_sizes(shared_data, task, folder, language, sizes, repairs):
    data = load_task(task, shared_data / folder, language)
    assert tuple(len(data.splits[split]) for split in ("train", "dev", "test")) == sizes
    # The examples that splits share are a property of the sets; only the published number is checked here.
    told = {name: count for name, count in data.repairs.items() if "also in train" not in name or name in repairs}
    assert told == repairs


def test_the_real_test_split_of_a_language_is_enough_to_measure_on_it(shared_data, tmp_path):
    (tmp_path / "amh").mkdir()
    real = shared_data / "topic" / "masakhanews" / "amh" / "test.tsv"
    (tmp_path / "amh" / "test.tsv").write_bytes(real.read_bytes())
    data = load_task("topic", tmp_path, "amh", trained=False)
    assert {split: len(rows) for split, rows in data.splits.items()} == {"test": 376}
    assert data.labels == ("business", "health", "politics", "sports")
    sample = data.limited(test=10)
    assert [data.texts()[number] for number in sample.numbers_of()] == sample.texts()


# Sets whose files differ in size from the published numbers, by split; few-shot training files aside.
NOT_AS_PRINTED = {
    "masakhaner1/hau": "train +9, dev +4, test +7",
    "masakhaner1/ibo": "train +2, dev +1",
    "masakhaner1/kin": "train +6, dev +1, test +1",
    "masakhaner1/luo": "test +1",
    "masakhaner1/pcm": "train +24, dev +6",
    "masakhaner1/swa": "train +5, test +2",
    "masakhaner1/yor": "train +47, dev +2, test +37",
    "masakhaner2/yor": "train -1",
    **{f"masakhanews/{code}": "train is fifty a label" for code in ("amh", "eng", "fra", "hau", "swa")},
}


@pytest.mark.parametrize("name", FOLDERS)
def test_all_real_sets_have_the_sizes_in_print_but_for_those_that_are_named(shared_data, name):
    task, folder = FOLDERS[name]
    for row in count(name, task, shared_data / folder):
        assert row.verdict == NOT_AS_PRINTED.get(row.dataset, "as printed"), row


@pytest.mark.parametrize("folder", ["masakhaner1", "masakhaner2"])
def test_sentences_and_spans_agree_with_an_independent_reading(shared_data, folder):
    for home in sorted((shared_data / "ner" / folder).iterdir())[-2:]:
        data = load_task("ner", home.parent, home.name)
        for split, rows in data.splits.items():
            text = (home / f"{split}.txt").read_bytes().decode("utf-8-sig")
            blocks = [block for block in re.split(r"\n[^\S\n]*\n+", text) if block.strip()]
            assert len(rows) == len(blocks)
            tokens = [line.rsplit(" ", 1)[0] for line in text.split("\n") if line.strip()]
            assert [token for sentence in rows["tokens"][:] for token in sentence] == tokens
            tags = [line.rsplit(" ", 1)[-1].rstrip() for line in text.split("\n")]
            pairs = zip(["", *tags], tags, strict=False)
            spans = sum(tag[:1] == "B" or (tag[:1] == "I" and before[2:] != tag[2:]) for before, tag in pairs)
            assert sum(data.labels[tag].startswith("B-") for own in rows["tags"] for tag in own) == spans


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def test_brighter_is_read_from_its_repository_or_any_folder_in_it(tmp_path):
    track = tmp_path / "SemEval2025-Task11" / "task-dataset" / "semeval-2025-task11-dataset" / "track_a"
    for split in ("train", "dev", "test"):
        write(
            track / split / "hau.csv",
            "id,text,anger,disgust,fear,joy,sadness,surprise\n"
            'x_1,"Na yi farin ciki, da mamaki",0,0,0,1,0,1\nx_2,Yau Litinin,0,0,0,0,0,0\n'
            'x_3,"Ina ""fushi""",1,0,0,0,0,0\n',
        )
        write(
            track / split / "afr.csv",
            "id,text,anger,disgust,fear,joy,sadness\na_1,Ek is bly,0,0,0,1,0\na_2,Nee,1,0,0,0,0\n",
        )
        write(track / split / "ptmz.csv", "id,text,anger,disgust,fear,joy,sadness,surprise\nm_1,Que bom,0,0,0,1,0,0\n")
    for place in (tmp_path / "SemEval2025-Task11", track.parent, track):
        assert languages_of("emotion", place) == ("afr", "hau", "por")
        data = load_task("emotion", place, "ha")
        assert (data.dataset, data.labels) == ("brighter/hau", ("anger", "joy", "surprise"))
        assert data.gold() == [[1, 2], [], [0]]
        assert data.texts()[2] == 'Ina "fushi"'
    afrikaans = load_task("emotion", track, "afr")
    assert afrikaans.gold() == [[1], [0]]
    assert afrikaans.repairs["rows without the column 'surprise'"] == 6
    assert load_task("emotion", track, "pt").gold() == [[0]]
    check_splits("emotion", track, "hau")
    with pytest.raises(FileNotFoundError, match=re.escape("test/yor.csv does not exist")):
        check_splits("emotion", track, "yor")
    # Intensities of the other track are no labels.
    write(track / "test" / "yor.csv", "id,text,anger,joy\ny_1,Inu mi dun,0,3\n")
    with pytest.raises(ValueError, match="'joy' is '3'; expected 0 or 1"):
        load_task("emotion", track, "yor", trained=False)


def test_semrel_has_both_sentences_in_one_cell(tmp_path):
    own = tmp_path / "relatedness" / "copy" / "Track A" / "kin"
    for split in ("train", "dev_with_labels", "test_with_labels"):
        write(
            own / f"kin_{split}.csv",
            'PairID,Text,Score\nk_1,"Imvura iragwa.\nImvura nyinshi.",0.75\nk_2,"Ishuri\nIsoko",0\n',
        )
    write(own / "kin_test.csv", 'PairID,Text\nk_1,"Imvura iragwa.\nImvura nyinshi."\n')
    data = load_task("relatedness", tmp_path, "kin")
    assert languages_of("relatedness", tmp_path) == ("kin",)
    assert data.dataset == "semrel/kin"
    assert data.texts() == [("Imvura iragwa.", "Imvura nyinshi."), ("Ishuri", "Isoko")]
    assert data.gold() == [0.75, 0.0]
    write(own / "kin_test_with_labels.csv", 'PairID,Text,Score\nk_1,"a\nb\nc",0.75\n')
    with pytest.raises(ValueError, match="'Text' holds 3 lines; expected the two texts of a pair"):
        load_task("relatedness", tmp_path, "kin")
    write(own / "kin_test_with_labels.csv", 'PairID,Text,Score\nk_1,"a\nb",high\n')
    with pytest.raises(ValueError, match="the number is 'high'; expected one such as 0.5"):
        load_task("relatedness", tmp_path, "kin")


def test_injongo_has_intents_and_slots_in_the_same_files(tmp_path):
    rows = [
        {
            "intent": "alarm",
            "text": "weka kengele saa 3:30 usiku.",
            "spans": [{"start_byte": 13, "limit_byte": 27, "label": "TIME"}],
        },
        # Offsets are in characters, whatever they are called; the span leaves out the prefix of a word.
        {"intent": "balance", "text": "በአባይ ባንክ", "spans": [{"start_byte": 1, "limit_byte": 8, "label": "BANK_NAME"}]},
        {"intent": "alarm", "text": "seti kengele", "spans": []},
    ]
    for split in ("train", "dev", "test"):
        write(
            tmp_path / "data" / "cleaned-dataset" / "swa" / f"{split}.jsonl",
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        )
    intents = load_task("intent", tmp_path, "sw")
    assert (intents.dataset, intents.labels, intents.gold()) == ("injongo/swa", ("alarm", "balance"), [0, 1, 0])
    slots = load_task("slots", tmp_path / "data" / "cleaned-dataset", "sw")
    assert slots.texts()[:2] == [["weka", "kengele", "saa", "3:30", "usiku", "."], ["በአባይ", "ባንክ"]]
    named = [[slots.labels[tag] for tag in tags] for tags in slots.gold()]
    assert named == [
        ["O", "O", "B-TIME", "I-TIME", "I-TIME", "O"],
        ["B-BANK_NAME", "I-BANK_NAME"],
        ["O", "O"],
    ]
    assert slots.repairs["spans widened to whole words"] == 3


def test_afrihate_is_a_folder_of_tables(tmp_path):
    for split in ("train", "dev", "test"):
        write(
            tmp_path / "afrihate" / "yor" / f"{split}.tsv",
            "id\ttweet\tlabel\n1\tẸ kú iṣẹ́\tNormal\n2\tkọ\tAbuse\n3\trárá\tHate\n",
        )
    data = load_task("hate", tmp_path / "afrihate", "yor")
    assert (data.dataset, data.labels, data.gold()) == ("afrihate/yor", ("Abuse", "Hate", "Normal"), [2, 0, 1])

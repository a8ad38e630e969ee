"""The sample tasks: templates become tagged sentences; formats, splits, determinism, and something to learn."""

from __future__ import annotations

import csv
import io
import random
import string
from collections import Counter

import pytest
import regex

from hf_afro.languages import find_language
from hf_afro.sample import DEFAULT_SIZES, task_languages, write_tasks
from hf_afro.sample.tasks import ENTITIES, Sentence, _templates, fill, pick
from tests.sample.bag_of_words import commonest_tags, entities, f1, naive_bayes

LANGUAGES = task_languages()
TOPICS = {"business", "health", "politics", "sports"}
SENTIMENTS = {"negative", "neutral", "positive"}
TASKS = ("ner", "topic", "sentiment")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return write_tasks(tmp_path_factory.mktemp("tasks"))


def read_ner(folder, language, split) -> list[list[tuple[str, str]]]:
    blocks = (
        (folder / "ner" / language / f"{split}.txt").read_text(encoding="utf-8").removesuffix("\n\n").split("\n\n")
    )
    return [[tuple(line.split(" ")) for line in block.split("\n")] for block in blocks]


def read_topic(folder, language, split) -> list[dict[str, str]]:
    text = (folder / "topic" / language / f"{split}.tsv").read_text(encoding="utf-8")
    assert text.startswith("category\theadline\ttext\turl\n")
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


def read_sentiment(folder, language, split) -> list[tuple[str, str]]:
    header, *lines = (folder / "sentiment" / language / f"{split}.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "tweet\tlabel"
    return [tuple(line.split("\t")) for line in lines]


def sentences_of(folder, task, language, split) -> list[str]:
    """The filled sentences of a split; a topic's headline and text are taken apart again, without the full stop."""
    if task == "ner":
        return [" ".join(token for token, _ in sentence) for sentence in read_ner(folder, language, split)]
    if task == "sentiment":
        return [text for text, _ in read_sentiment(folder, language, split)]
    rows = read_topic(folder, language, split)
    return [part.rstrip(".።") for row in rows for part in [row["headline"], *regex.split(r"(?<=[.።]) ", row["text"])]]


def bytes_of(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_enough_languages_have_templates():
    assert set(LANGUAGES) >= {"amh", "eng", "hau", "ibo", "swa", "yor"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_templates_use_their_slots_and_are_distinct(language):
    templates = _templates(language)
    slots = templates["slots"]
    lists = [lines for task in TASKS for lines in templates[task].values()]
    assert all(len(set(lines)) == len(lines) >= 8 for lines in lists)
    used = {
        slot
        for lines in [*lists, *slots.values()]
        for line in lines
        for _, slot, _, _ in string.Formatter().parse(line)
    }
    assert used - {None} == set(slots)
    assert {ENTITIES[slot] for slot in slots if slot in ENTITIES} == {"PER", "ORG", "LOC", "DATE"}
    assert all(
        len(set(values)) == len(values) for slot, values in slots.items() if slot not in ("person", "man", "woman")
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_templates_are_in_the_language_s_script(language):
    text = " ".join(line for task in TASKS for lines in _templates(language)[task].values() for line in lines)
    letters = regex.findall(r"\p{L}", regex.sub(r"\{.*?\}", "", text))
    script = regex.compile(rf"\p{{Script={find_language(language).scripts[0]}}}")
    assert sum(bool(script.match(letter)) for letter in letters) > 0.95 * len(letters)


@pytest.mark.parametrize("language", LANGUAGES)
def test_entities_come_in_their_form(tasks, language):
    for split, size in DEFAULT_SIZES.items():
        sentences = read_ner(tasks, language, split)
        assert len(sentences) == size
        for sentence in sentences:
            tags = [tag for token, tag in sentence if token]
            assert len(tags) == len(sentence) >= 4
            assert all(regex.fullmatch(r"O|[BI]-(PER|ORG|LOC|DATE)", tag) for tag in tags)
            for before, tag in zip(["O", *tags], tags, strict=False):
                assert not tag.startswith("I-") or before[1:] == tag[1:]
        kinds = Counter(kind for *_, kind in entities(sentences))
        assert min(kinds[kind] for kind in ("PER", "ORG", "LOC", "DATE")) >= size // 5


@pytest.mark.parametrize("language", LANGUAGES)
def test_topics_come_in_their_form(tasks, language):
    urls = []
    for split, size in DEFAULT_SIZES.items():
        rows = read_topic(tasks, language, split)
        assert Counter(row["category"] for row in rows) == dict.fromkeys(TOPICS, size // 4)
        assert all(list(row) == ["category", "headline", "text", "url"] and all(row.values()) for row in rows)
        urls += [row["url"] for row in rows]
    assert len(set(urls)) == sum(DEFAULT_SIZES.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentiments_come_in_their_form(tasks, language):
    for split, size in DEFAULT_SIZES.items():
        rows = read_sentiment(tasks, language, split)
        assert Counter(label for _, label in rows) == dict.fromkeys(SENTIMENTS, size // 3)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sentence_is_there_twice(tasks, task, language):
    sentences = [sentence for split in DEFAULT_SIZES for sentence in sentences_of(tasks, task, language, split)]
    assert len(sentences) >= sum(DEFAULT_SIZES.values())
    assert [sentence for sentence, n in Counter(sentences).items() if n > 1] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_third_of_the_test_split_has_names_that_training_lacks(tasks, language):
    known = {token for split in ("train", "dev") for row in read_ner(tasks, language, split) for token, _ in row}
    test = read_ner(tasks, language, "test")
    new = [any(tag != "O" and token not in known for token, tag in sentence) for sentence in test]
    assert sum(new[::3]) > 0.75 * len(new[::3])
    # A prefix can make a new token of a name that is known; but for those there is none.
    assert sum(new) - sum(new[::3]) < 0.1 * len(new)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_held_out_names_are_in_the_test_split_only(tasks, task, language):
    seen = "\n".join(text for split in ("train", "dev") for text in sentences_of(tasks, task, language, split))
    test = "\n".join(sentences_of(tasks, task, language, "test"))
    places = _templates(language)["slots"]["place"][-4:]
    assert [place for place in places if place in seen] == []
    assert sum(place in test for place in places) >= 3


def test_the_same_seed_gives_the_same_bytes(tasks, tmp_path):
    assert bytes_of(write_tasks(tmp_path / "again")) == bytes_of(tasks)


def test_another_seed_gives_other_sentences(tasks, tmp_path):
    again, other = bytes_of(tasks), bytes_of(write_tasks(tmp_path, seed=1))
    assert other.keys() == again.keys()
    assert all(other[name] != again[name] for name in other)


def test_a_language_does_not_depend_on_the_others(tasks, tmp_path):
    alone = bytes_of(write_tasks(tmp_path, languages=["yo"]))
    assert alone == {name: raw for name, raw in bytes_of(tasks).items() if name.split("/")[1] == "yor"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_bag_of_words_beats_the_majority(tasks, language):
    train = [(f"{row['headline']} {row['text']}", row["category"]) for row in read_topic(tasks, language, "train")]
    test = [(f"{row['headline']} {row['text']}", row["category"]) for row in read_topic(tasks, language, "test")]
    assert_learnable(train, test, chance=1 / 4)
    assert_learnable(read_sentiment(tasks, language, "train"), read_sentiment(tasks, language, "test"), chance=1 / 3)


def assert_learnable(train, test, chance):
    """The labels are balanced, so the majority is right as often as chance; naive Bayes must do far better."""
    texts, labels = zip(*test, strict=True)
    found = naive_bayes(train, list(texts))
    right = sum(a == b for a, b in zip(found, labels, strict=True)) / len(labels)
    assert max(Counter(labels).values()) / len(labels) == pytest.approx(chance)
    assert right > chance + 0.4


@pytest.mark.parametrize("language", LANGUAGES)
def test_entities_can_be_learned_but_not_by_heart(tasks, language):
    test = read_ner(tasks, language, "test")
    score = f1(entities(test), entities(commonest_tags(read_ner(tasks, language, "train"), test)))
    assert 0.4 < score < 0.95


@pytest.mark.parametrize("seed", range(1, 4))
def test_the_default_sizes_can_be_had_with_any_seed(tmp_path, seed):
    assert len(bytes_of(write_tasks(tmp_path, seed=seed))) == len(LANGUAGES) * len(TASKS) * len(DEFAULT_SIZES)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="no templates for zul; expected some of amh, eng"):
        write_tasks(tmp_path, languages=["swa", "zul"])
    with pytest.raises(ValueError, match="the size of 'dev' is 0; expected at least 1"):
        write_tasks(tmp_path, sizes={"train": 4, "dev": 0})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="smaller sizes"):
        write_tasks(tmp_path, sizes={"test": 5000}, languages=["eng"])


SLOTS = {
    "given": ["Asha"],
    "person": ["{given} Kimaro"],
    "place": ["Dar es Salaam"],
    "date": ["12 March"],
    "thing": ["posta"],
    "organisation": ["Shirika la Maji"],
}


def filled(template: str) -> Sentence:
    return fill(template, SLOTS, random.Random(0), held_out=False)


def test_names_are_tagged_in_iob2():
    assert filled("{person} went to {place}, on {date}.").tagged() == [
        ("Asha", "B-PER"),
        ("Kimaro", "I-PER"),
        ("went", "O"),
        ("to", "O"),
        ("Dar", "B-LOC"),
        ("es", "I-LOC"),
        ("Salaam", "I-LOC"),
        (",", "O"),
        ("on", "O"),
        ("12", "B-DATE"),
        ("March", "I-DATE"),
        (".", "O"),
    ]


def test_names_side_by_side_stay_two():
    assert [tag for _, tag in filled("{person} {person}").tagged()] == ["B-PER", "I-PER", "B-PER", "I-PER"]


def test_a_prefix_belongs_to_the_name():
    slots = {"place": ["ሐዋሳ"]}
    assert fill("ከ{place} መጡ።", slots, random.Random(0), held_out=False).tagged() == [
        ("ከሐዋሳ", "B-LOC"),
        ("መጡ", "O"),
        ("።", "O"),
    ]


def test_words_with_marks_and_apostrophes_stay_whole():
    tokens = [token for token, _ in Sentence("'Yan wasa sun ba da'awa, ọ́fíìsì ẹ̀yẹ n'ụlọ márùn-ún!").tagged()]
    assert tokens == ["'Yan", "wasa", "sun", "ba", "da'awa", ",", "ọ́fíìsì", "ẹ̀yẹ", "n'ụlọ", "márùn-ún", "!"]


def test_only_the_sentence_begins_with_a_capital():
    assert filled("{thing} iko karibu na {thing}.").text == "Posta iko karibu na posta."
    assert filled("{thing} iko {place}.").tagged()[0] == ("Posta", "O")


def test_an_unknown_slot_names_the_template_and_the_slots():
    with pytest.raises(
        ValueError, match=r"unknown slot 'town' in the template 'in \{town\}'; expected one of given, person, place"
    ):
        filled("in {town}")


@pytest.mark.parametrize(("count", "seen", "kept"), [(8, 6, 2), (4, 3, 1), (3, 3, 3), (1, 1, 1)])
def test_the_last_quarter_is_held_out(count, seen, kept):
    values = [str(n) for n in range(count)]
    generator = random.Random(0)
    assert {pick(values, generator, False) for _ in range(200)} == set(values[:seen])
    assert {pick(values, generator, True) for _ in range(200)} == set(values[-kept:])

"""Decontamination: evaluation sentences are found in running text, and similar lines are kept."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from hf_afro.corpora.cleaning_report import CONTAINS, EVALUATION, OVERLAP, READ, Tally
from hf_afro.corpora.decontamination import (
    EvaluationSentences,
    Leak,
    comparable,
    decontaminate,
    excluded_sentences,
)
from hf_afro.corpora.reading import read_corpora


@pytest.mark.parametrize(
    ("tokenised", "plain"),
    [
        ("Rais Magufuli , jana , alisema : `` Ndiyo ''", "Rais Magufuli, jana, alisema: “Ndiyo”"),
        ("Àwọn ọmọdé ń gbá bọ́ọ̀lù .", "Àwọn o\u0323mo\u0323dé ń gbá bó\u0323ò\u0323lù."),
        ("የኢትዮጵያ መንግሥት ትናንት አስታወቀ ።", "የኢትዮጵያ መንግሥት ትናንት አስታወቀ።"),
        ("Ng ' ombe 10 , 000 ( 25 % )", "NG'OMBE 10,000 (25%)"),
        ("قال المعلم ، أمس", "\ufeffقال المعلم، أمس\u200f"),
    ],
)
def test_tokenised_and_running_text_are_one_sentence(tokenised, plain):
    assert plain in EvaluationSentences.of([tokenised])
    assert tokenised in EvaluationSentences.of({"any": [plain]})


@pytest.mark.parametrize(
    ("sentence", "line"),
    [
        ("Ọkọ̀ náà dé .", "Ọkọ náà dé."),
        ("Watu 25 walifika .", "Watu 26 walifika."),
        ("Rais alisema .", "Rais alisema jana."),
    ],
)
def test_other_sentences_stay(sentence, line):
    assert line not in EvaluationSentences.of([sentence])


def test_sentences_without_text_match_nothing():
    sentences = EvaluationSentences.of(["...", "", "Ndiyo ."])
    assert len(sentences) == 1
    assert "" not in sentences
    assert "---" not in sentences
    assert 3 not in sentences


def test_pools_of_all_languages_are_one():
    sentences = EvaluationSentences.of({"swa": ["Habari za asubuhi ."], "yor": iter(["Ẹ káàárọ̀ ."])})
    assert len(sentences) == 2
    assert "habari za asubuhi!" in sentences
    with pytest.raises(TypeError, match="put it into a list"):
        EvaluationSentences.of({"swa": "Habari"})


def test_comparing_forms_twice_changes_nothing():
    for text in ("ΐ Ǆ ß İ", "Àwọn ọmọdé"):
        assert comparable(comparable(text)) == comparable(text)


def test_lines_are_dropped_and_counted():
    tally = Tally()
    lines = ["Rais, alisema.", "", "Rais alisema jana."]
    assert list(decontaminate(lines, EvaluationSentences.of(["Rais alisema"]), tally)) == ["", "Rais alisema jana."]
    assert tally.lines == {READ: 3, EVALUATION: 1}


LONG = "Rais Magufuli alisema jana kuwa serikali itajenga shule mpya kumi , 000 ."  # 12 words
SHORT = "Rais alisema ' jana ' jioni sana"  # 6 words


@pytest.mark.parametrize(
    ("line", "leak"),
    [
        (LONG, EVALUATION),
        ("RAIS MAGUFULI alisema, jana, kuwa SERIKALI itajenga barabara", None),  # 7 words of it
        ("Kumbe Rais Magufuli alisema: jana kuwa serikali itajenga shule pia", OVERLAP),  # 8 words
        ("Kuwa serikali itajenga shule mpya kumi,000 leo", None),  # 7, although a comma separates two of them
        ("Kuwa jana kuwa serikali itajenga shule mpya kumi,000 leo", OVERLAP),
        ("Rais Magufuli alisema jana kwamba kuwa serikali itajenga shule mpya kumi", None),  # not consecutive
        ("Leo rais alisema jana jioni sana tena", None),
        ("Leo RAIS alisema 'jana' jioni sana, tena", None),  # only five consecutive words
        ("Leo rais alisema «jana» jioni sana", None),
    ],
)
def test_eight_words_in_a_row_give_a_line_away(line, leak):
    found = EvaluationSentences.of({"ner/swa": [LONG]}).find([line])
    assert found == [leak and Leak(leak, ("ner/swa",))]


@pytest.mark.parametrize(
    ("sentence", "line", "reason"),
    [
        (SHORT, f"Kumbe {SHORT.upper()} tena", None),  # 5 words: 'jana' is one
        ("Rais alisema jana jioni sana", "Kumbe, «Rais alisema jana jioni sana»!", CONTAINS),
        ("Rais alisema jana jioni sana", "Kumbe rais alisema jana jioni, kisha sana", None),
        ("Rais alisema jana jioni", "Kumbe rais alisema jana jioni", None),  # too few words
        ("Rais alisema jana jioni", "RAIS alisema jana JIONI!", EVALUATION),
        ("a b c d e f g", "x a b c d e f g", None),  # too few letters
        ("aa bb cc dd ee ff gg", "x aa bb cc dd ee ff gg", CONTAINS),
        ("a b c d e f g h", "x a b c d e f g h", OVERLAP),
        ("aa bb cc dd ee ff gg hh ii", "x aa bb cc dd ee ff gg hh ii", CONTAINS),
        ("aa bb cc dd ee ff gg hh ii", "x aa bb cc dd ee ff gg", None),
        ("N'ụzọ dị iche iche taa", "Ha n'ụzọ dị icheiche taa.", CONTAINS),  # different spaces
        ("N'ụzọ dị iche iche taa", "Ha n'ụzọ dị icheiche taala", None),
        ("Ụzọ dị iche iche taa", "Haụzọ dị iche iche taa", None),
        ("Imetayarishwa na Neema , Redio , Dodoma", "Imetayarishwa na Neema, Redio, DodomaWatu wote leo", CONTAINS),
        ("Imetayarishwa na Neema , Redio , Dodoma", "Watu wote leoImetayarishwa na Neema, Redio, Dodoma", CONTAINS),
    ],
)
def test_sentences_are_found_within_lines(sentence, line, reason):
    if sentence is SHORT:
        reason = CONTAINS
    assert [leak and leak.reason for leak in EvaluationSentences.of([sentence]).find([line])] == [reason]


def test_a_run_of_words_does_not_go_from_line_to_line():
    words = LONG.split()
    sentences = EvaluationSentences.of([LONG])
    assert sentences.find([" ".join(words[:6]), " ".join(words[6:])]) == [None, None]
    assert sentences.find([]) == []
    assert EvaluationSentences.of([]).find([LONG]) == [None]


def test_every_set_that_has_a_sentence_is_named():
    sentences = EvaluationSentences.of({"b": [LONG], "a": [LONG, SHORT], "c": ["Habari"]}, {"d": ["Rais Magufuli"]})
    assert sentences.find([LONG, f"x {SHORT}", f"Ndiyo: {LONG}", "rais magufuli", "Rais Magufuli alisema"]) == [
        Leak(EVALUATION, ("a", "b")),
        Leak(CONTAINS, ("a",)),
        Leak(CONTAINS, ("a", "b")),
        Leak(EVALUATION, ("d",)),
        None,
    ]


def test_sets_are_added():
    one, other = {"a": [LONG], "e": []}, {"b": [LONG, SHORT], "c": ["Habari yako"]}
    lines = [LONG, f"x {LONG}", f"x {SHORT}", "habari yako", "kwaheri"]
    assert EvaluationSentences.of(one).and_of(other).find(lines) == EvaluationSentences.of({**one, **other}).find(
        lines
    )
    assert EvaluationSentences.of(one).and_of({}).find(lines) == EvaluationSentences.of(one).find(lines)
    assert EvaluationSentences.of([]).and_of(other).find(lines) == EvaluationSentences.of(other).find(lines)


def test_it_travels_to_other_processes():
    sentences = EvaluationSentences.of({"a": [LONG], "b": [SHORT]})
    assert pickle.dumps(sentences) == pickle.dumps(EvaluationSentences.of({"a": [LONG], "b": [SHORT]}))
    assert pickle.loads(pickle.dumps(sentences)).find([f"x {LONG}"]) == sentences.find([f"x {LONG}"])


def test_words_drawn_at_random_are_judged_as_by_a_plain_search():
    """Words are few, so that runs are shared often and at all positions."""
    generator = np.random.default_rng(0)

    def draw(count):
        return [" ".join(generator.choice(["a", "b", "aba"], generator.integers(1, 14))) for _ in range(count)]

    def eight(line):
        words = line.split()
        return {tuple(words[at : at + 8]) for at in range(len(words) - 7)}

    def stretches(line):
        words = line.split()
        return {"".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}

    sentences, lines = draw(12), draw(400)
    whole = {"".join(one.split()) for one in sentences}
    held = {"".join(one.split()) for one in sentences if len(one.split()) >= 5 and len("".join(one.split())) >= 10}
    runs = set().union(*map(eight, sentences))
    found = EvaluationSentences.of(sentences).find(lines)
    for line, leak in zip(lines, found, strict=True):
        reasons = [
            *([EVALUATION] if "".join(line.split()) in whole else []),
            *([CONTAINS] if held & stretches(line) else []),
            *([OVERLAP] if runs & eight(line) else []),
            None,
        ]
        assert (leak and leak.reason) == reasons[0]
    assert {leak and leak.reason for leak in found} == {EVALUATION, CONTAINS, OVERLAP, None}


def test_test_sentences_are_found_in_real_text(shared_data):
    """Of the 1,877 distinct Swahili test sentences of MasakhaNER 2.0, 1,704 stand in the news text unlabelled."""
    sentences = EvaluationSentences.of(conll_sentences(shared_data / "ner/masakhaner2/swa/test.txt"))
    source = read_corpora(shared_data / "corpora", ["swa"])["swa"]
    tally = Tally()
    left = {comparable(line) for line in decontaminate(source, sentences, tally)}
    assert len(sentences) == 1877
    assert len(sentences.equal.keys() & {comparable(line) for line in source}) == 1704
    assert tally.lines[EVALUATION] == 1779
    assert not sentences.equal.keys() & left


def conll_sentences(path):
    tokens = []
    for line in [*path.read_text(encoding="utf-8-sig").split("\n"), ""]:
        if line.strip():
            tokens.append(line.rsplit(" ", 1)[0])
        elif tokens:
            yield " ".join(tokens)
            tokens = []


def test_excluded_sentences_are_read_from_a_file_or_a_folder(tmp_path):
    (tmp_path / "swa").mkdir()
    (tmp_path / "swa" / "test.txt").write_text("Moja mbili .\n\nTatu nne .\n", "utf-8")
    (tmp_path / "README.md").write_text("not text", "utf-8")
    found = {name: list(lines) for name, lines in excluded_sentences(tmp_path).items()}
    assert found == {"swa/test.txt": ["Moja mbili .", "Tatu nne ."]}
    assert list(excluded_sentences(tmp_path / "swa" / "test.txt")) == ["test.txt"]


def test_files_that_hold_no_sentences_to_exclude_are_refused(tmp_path):
    (tmp_path / "tagged.txt").write_text("Rais B-PER\n", "utf-8")
    with pytest.raises(ValueError, match=r"tagged.txt, line 1 is a token with its tag; expected one sentence"):
        EvaluationSentences.of(excluded_sentences(tmp_path))
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; expected a file or folder of sentences"):
        excluded_sentences(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no sentences to exclude; expected files that end in .txt"):
        excluded_sentences(tmp_path / "empty")

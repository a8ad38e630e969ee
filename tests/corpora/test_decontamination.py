"""Evaluation sentences are found in running text, and nothing that only looks like them."""

from __future__ import annotations

from collections import Counter

import pytest

from hf_afro.corpora.cleaning import EVALUATION, READ
from hf_afro.corpora.decontamination import EvaluationSentences, comparable, decontaminate
from hf_afro.corpora.sources import read_corpora


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
    counts: Counter[str] = Counter()
    lines = ["Rais, alisema.", "", "Rais alisema jana."]
    assert list(decontaminate(lines, EvaluationSentences.of(["Rais alisema"]), counts)) == ["", "Rais alisema jana."]
    assert counts == {READ: 3, EVALUATION: 1}


def test_test_sentences_are_found_in_real_text(shared_data):
    """Of the 1,877 distinct Swahili test sentences of MasakhaNER 2.0, 1,704 stand in the news text unlabelled."""
    sentences = EvaluationSentences.of(conll_sentences(shared_data / "ner/masakhaner2/swa/test.txt"))
    source = read_corpora(shared_data / "corpora", ["swa"])["swa"]
    counts: Counter[str] = Counter()
    left = {comparable(line) for line in decontaminate(source, sentences, counts)}
    assert len(sentences) == 1877
    assert len(sentences.keys & {comparable(line) for line in source}) == 1704
    assert counts == {READ: 53_229, EVALUATION: 1779}
    assert not sentences.keys & left


def conll_sentences(path):
    tokens = []
    for line in [*path.read_text(encoding="utf-8-sig").split("\n"), ""]:
        if line.strip():
            tokens.append(line.rsplit(" ", 1)[0])
        elif tokens:
            yield " ".join(tokens)
            tokens = []

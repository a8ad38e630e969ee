"""Language identification: planted foreign lines are found, by small classifiers that stand in for GlotLID."""

from __future__ import annotations

import pickle
import sys
from types import SimpleNamespace

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from hf_afro.corpora import (
    DatatroveIdentifier,
    FastTextIdentifier,
    LanguageCheck,
    LineRules,
    Tally,
    clean,
    prepare_corpora,
    read_corpora,
)
from hf_afro.corpora.cleaning_report import (
    OTHER_LANGUAGE,
    READ,
    TOO_SHORT,
    UNCERTAIN_LANGUAGE,
    cleaning_page,
    most_found,
)
from hf_afro.corpora.language_identification import identifier_named, language_of
from tests.texts import SENTENCES

TAGS = {"swa": "swh_Latn", "yor": "yor_Latn", "hau": "hau_Latn", "amh": "amh_Ethi", "eng": "eng_Latn"}
LINE = "maneno sita au zaidi ya hayo"


class NGrams:
    """A classifier by character n-grams, trained on the first five sentences of each language."""

    def __init__(self) -> None:
        pairs = [(line, tag) for code, tag in TAGS.items() for line in SENTENCES[code][:5]]
        vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3))
        self.pipeline = make_pipeline(vectors, LogisticRegression(C=100)).fit(*zip(*pairs, strict=True))

    def __call__(self, lines):
        shares = self.pipeline.predict_proba(lines)
        return list(zip(self.pipeline.classes_[shares.argmax(1)], shares.max(1), strict=True))


def always(label, probability):
    return lambda lines: [(label, probability)] * len(lines)


def as_written(lines):
    """A classifier of lines that name their language: "swh_Latn 0.9 ..."."""
    return [(label, float(share)) for label, share, *_ in map(str.split, lines)]


@pytest.fixture
def folder(tmp_path):
    """Swahili with three English lines, a Hausa one and a short one; Yoruba alone."""
    texts = tmp_path / "texts"
    texts.mkdir()
    planted = [*SENTENCES["eng"][5:8], SENTENCES["hau"][6], "Habari yako"]
    (texts / "swa.txt").write_text("\n".join([*SENTENCES["swa"][5:], *planted]), "utf-8")
    (texts / "yor.txt").write_text("\n".join(SENTENCES["yor"][5:]), "utf-8")
    return texts


def test_planted_lines_are_found_and_counted_by_their_language(folder):
    check = LanguageCheck(NGrams(), threshold=0.0)
    prepared = prepare_corpora(read_corpora(folder), held_out_lines=0, language_check=check)
    assert prepared.train == {"swa": SENTENCES["swa"][5:], "yor": SENTENCES["yor"][5:]}
    report = prepared.report
    assert report.dropped == {"swa": {OTHER_LANGUAGE: 4, TOO_SHORT: 1}, "yor": {}}
    assert report.found == {"swa": {"eng": 3, "hau": 1}}
    assert report.words["swa"][OTHER_LANGUAGE] == sum(
        len(line.split()) for line in [*SENTENCES["eng"][5:8], SENTENCES["hau"][6]]
    )
    assert report.settings["language_id"] == "NGrams"
    assert report.settings["language_id_threshold"] == 0.0
    page = cleaning_page(report)
    assert "| swa | 4 | eng 3, hau 1 |" in page
    assert report.merge(report).found == {"swa": {"eng": 6, "hau": 2}}


def test_nothing_is_identified_or_recorded_unless_asked(folder):
    report = prepare_corpora(read_corpora(folder), held_out_lines=0).report
    assert report.kept == {"swa": 7, "yor": 3}
    assert report.found == {}
    assert "language_id" not in report.settings


@pytest.mark.parametrize(
    ("label", "probability", "reason"),
    [
        ("__label__swh_Latn", 0.5, None),
        ("sw", 1.00001, None),
        ("swh_Arab", 0.9, None),
        ("swh_Latn", 0.49, UNCERTAIN_LANGUAGE),
        ("eng_Latn", 0.49, UNCERTAIN_LANGUAGE),
        ("swh_Latn", float("nan"), UNCERTAIN_LANGUAGE),
        ("eng_Latn", 0.5, OTHER_LANGUAGE),
        ("zxx_Zxxx", 0.9, OTHER_LANGUAGE),
    ],
)
def test_the_reason_to_drop_a_line(label, probability, reason):
    check = LanguageCheck(always(label, probability), threshold=0.5)
    (verdict,) = LineRules(language_check=check).judge([LINE], "sw")
    assert verdict.reason == reason
    assert verdict.found == (language_of(label) if reason == OTHER_LANGUAGE else None)


@pytest.mark.parametrize(
    ("language", "label"),
    [
        ("orm", "gaz_Latn"),
        ("orm", "hae_Latn"),
        ("mlg", "plt_Latn"),
        ("mlg", "tdx_Latn"),
        ("zho", "cmn_Hani"),
        ("ara", "arb_Arab"),
        ("ful", "fuv_Latn"),
        ("ful", "fub_Latn"),
        ("twi", "aka_Latn"),
        ("afr", "__label__af"),
    ],
)
def test_a_macrolanguage_is_its_members(language, label):
    assert LanguageCheck(always(label, 1.0)).judge([LINE], language)[0][0] is None


@pytest.mark.parametrize(("language", "label"), [("ary", "arb_Arab"), ("zul", "xho_Latn"), ("twi", "fat_Latn")])
def test_relatives_are_other_languages(language, label):
    assert LanguageCheck(always(label, 1.0)).judge([LINE], language)[0][0] == OTHER_LANGUAGE


def test_labels_become_codes():
    labels = ["__label__swh_Latn", "sw", "zh-Hans", "CMN_Hani", "zxx_Zxxx", "und", "__label__hau_Arab"]
    assert [*map(language_of, labels)] == ["swa", "swa", "zho", "zho", "zxx", "und", "hau"]


def test_only_lines_that_the_other_rules_keep_are_identified():
    asked = []

    def identify(lines):
        asked.append(lines)
        return [("swh_Latn", 1.0)] * len(lines)

    tally = Tally()
    lines = ["", "Habari yako", LINE, "1 2 3 4 5 6"]
    assert list(clean(lines, tally, language="swa", language_check=LanguageCheck(identify))) == [LINE]
    assert asked == [[LINE]]
    assert list(clean(["", "12"], Tally(), language="swa", language_check=LanguageCheck(identify))) == []
    assert asked == [[LINE]]


def test_a_line_is_judged_by_itself():
    rules = LineRules(min_tokens=3, language_check=LanguageCheck(as_written))
    lines = ["swh_Latn 0.9 a", "", "eng_Latn 0.8 b", "short", "swh_Latn 0.2 c", "eng_Latn 0.1 d"] * 5
    assert rules.judge(lines, "swa") == [verdict for line in lines for verdict in rules.judge([line], "swa")]
    reasons = [verdict.reason for verdict in rules.judge(lines[:6], "swa")]
    assert reasons == [None, "empty", OTHER_LANGUAGE, TOO_SHORT, UNCERTAIN_LANGUAGE, UNCERTAIN_LANGUAGE]


def test_the_rarest_languages_are_added_up():
    tally = Tally()
    lines = [
        f"{label} 1.0 {LINE}"
        for label, times in zip("abcdefg", (1, 2, 9, 4, 5, 6, 7), strict=True)
        for _ in range(times)
    ]
    assert list(clean(lines, tally, language="swa", language_check=LanguageCheck(as_written))) == []
    assert tally.lines == {READ: 34, OTHER_LANGUAGE: 34}
    report = SimpleNamespace(found={"swa": tally.found, "yor": {"eng": 1}})
    assert most_found(report) == {"swa": {"c": 9, "g": 7, "f": 6, "e": 5, "d": 4, "others": 3}, "yor": {"eng": 1}}


def test_what_is_impossible_is_refused(folder):
    with pytest.raises(ValueError, match=r"threshold is a probability, 0 to 1; received 65"):
        LanguageCheck(always("sw", 1.0), threshold=65)
    with pytest.raises(ValueError, match="returned 1 results for 2 lines; expected one pair"):
        LanguageCheck(lambda lines: [("sw", 1.0)]).judge([LINE, LINE], "swa")
    with pytest.raises(ValueError, match="unknown language ''"):
        LineRules(language_check=LanguageCheck(always("sw", 1.0))).judge([LINE])
    with pytest.raises(ValueError, match=r"nothing is left of .*yor.txt after cleaning: .*another language"):
        prepare_corpora(read_corpora(folder, ["yor"]), language_check=LanguageCheck(always("eng_Latn", 1.0)))


def test_a_classifier_that_does_not_know_a_language_is_refused(folder):
    identify = NGrams()
    identify.labels = ["__label__yor_Latn", "__label__eng_Latn"]
    with pytest.raises(ValueError, match="NGrams does not know swa, so all lines would be dropped; use a classifier"):
        prepare_corpora(read_corpora(folder), language_check=LanguageCheck(identify))


class LID:
    """A model with the interface of `datatrove.utils.lid.LID`, which reads the text of a document alone."""

    def predict(self, doc):
        return ("swh_Latn" if doc.text == LINE else "eng_Latn", 0.75), {"swh_Latn": 0.75}


def test_models_and_filters_of_datatrove():
    language_filter = SimpleNamespace(model=LID(), languages=["fra"], language_threshold=0.99)
    for given in (LID(), language_filter):
        identify = DatatroveIdentifier(given)
        assert identify([LINE, "Something else"]) == [("swh_Latn", 0.75), ("eng_Latn", 0.75)]
        assert LanguageCheck(identify).settings == {"language_id": "LID", "language_id_threshold": 0.5}


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "fasttext", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'hf_afro\[language_id\]'"):
        FastTextIdentifier(str(tmp_path / "a.bin"))
    monkeypatch.setitem(sys.modules, "datatrove", None)
    monkeypatch.setitem(sys.modules, "datatrove.utils", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'hf_afro\[cluster,language_id\]'"):
        identifier_named("datatrove:glotlid")


@pytest.fixture(scope="session")
def fasttext_model(tmp_path_factory):
    """A fastText model with GlotLID's labels, trained on the first five sentences of each language."""
    fasttext = pytest.importorskip("fasttext", reason="needs fasttext, of the extra `language_id`")
    folder = tmp_path_factory.mktemp("fasttext")
    lines = [f"__label__{tag} {line}\n" for code, tag in TAGS.items() for line in SENTENCES[code][:5]]
    # So many copies, since fastText fails ("Encountered NaN") where training ends before its first report.
    (folder / "train.txt").write_text("".join(lines * 200), "utf-8")
    model = fasttext.train_supervised(
        str(folder / "train.txt"), minn=2, maxn=4, dim=16, lr=0.5, epoch=20, thread=1, bucket=10_000, verbose=0
    )
    model.save_model(str(folder / "model.bin"))
    return str(folder / "model.bin")


def test_a_fasttext_model_is_the_users_file(fasttext_model, folder):
    identify = FastTextIdentifier(fasttext_model)
    assert identify.name == "model.bin"
    assert {language_of(label) for label in identify.labels} == set(TAGS)
    (label, probability), other = identify([SENTENCES["swa"][5], "a line\nof two and \ud800"])
    assert label == "__label__swh_Latn"
    assert 0.2 < probability <= 1.001
    assert other[0].startswith("__label__")
    assert pickle.loads(pickle.dumps(identify)) == identify
    prepared = prepare_corpora(read_corpora(folder), held_out_lines=0, language_check=LanguageCheck(identify, 0.0))
    assert prepared.report.found == {"swa": {"eng": 3, "hau": 1}}
    assert prepared.train["yor"] == SENTENCES["yor"][5:]
    (folder / "kin.txt").write_text(LINE, "utf-8")
    with pytest.raises(ValueError, match=r"model.bin does not know kin"):
        prepare_corpora(read_corpora(folder), language_check=LanguageCheck(identify))


def test_a_file_that_is_no_fasttext_model_is_refused(fasttext_model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone.bin does not exist; expected a fastText model"):
        FastTextIdentifier(str(tmp_path / "gone.bin"))
    (tmp_path / "other.bin").write_bytes(b"not a model at all")
    with pytest.raises(ValueError, match=r"other.bin is no fastText model .*expected one such as GlotLID's"):
        FastTextIdentifier(str(tmp_path / "other.bin"))


def test_datatroves_own_class_reads_the_same(fasttext_model):
    lid = pytest.importorskip("datatrove.utils.lid", reason="needs datatrove, of the extra `cluster`")
    import fasttext

    glotlid = lid.GlotLID(k=1)
    glotlid._model = fasttext.load_model(fasttext_model)  # instead of a download
    lines = [SENTENCES[code][6] for code in TAGS]
    try:
        found = DatatroveIdentifier(glotlid)(lines)
    except ValueError as error:  # of numpy 2 in fasttext's own `predict` of one line
        pytest.skip(f"this build of fasttext does not work with the installed numpy: {error}")
    expected = FastTextIdentifier(fasttext_model)(lines)
    assert [(f"__label__{label}", pytest.approx(share, abs=1e-6)) for label, share in found] == expected

"""The table of languages: every code finds its language, no code finds two."""

from __future__ import annotations

import contextlib
import itertools
import string

import pytest
import regex

from hf_afro import languages
from hf_afro.languages import LANGUAGES, find_language, find_languages, languages_in, same_language, script_names

AFROXLMR = set("afr amh hau ibo kin mlg nya orm pcm run sna som sot swa xho yor zul ara eng fra".split())


@pytest.mark.parametrize(
    ("code", "iso639_3"),
    [
        ("swa", "swa"),
        ("sw", "swa"),
        ("swh", "swa"),
        ("swh_Latn", "swa"),
        ("swa_Latn", "swa"),
        ("SW-ke", "swa"),
        ("Swahili", "swa"),
        (" yor ", "yor"),
        ("gaz_Latn", "orm"),
        ("gax", "orm"),
        ("plt", "mlg"),
        ("arb_Arab", "ara"),
        ("hau_Latn", "hau"),
        ("hau_Arab", "hau"),
        ("hau_NG", "hau"),
        ("cmn_hans", "zho"),
        ("zh-Hant-TW", "zho"),
        ("jpn_Jpan", "jpn"),
        ("nqo_Nkoo", "nqo"),
        ("pt-MZ", "por"),
        ("fr-002", "fra"),
    ],
)
def test_every_form_of_a_code_finds_the_language(code, iso639_3):
    assert find_language(code) is LANGUAGES[iso639_3]


def test_no_code_stands_for_two_languages():
    owners: dict[str, str] = {}
    for language in LANGUAGES.values():
        own = {language.iso639_3, language.iso639_1, language.tag, *language.aliases, language.name}
        for code in filter(None, own):
            assert owners.setdefault(code.lower(), language.iso639_3) == language.iso639_3
            assert find_language(code) is language


def test_codes_have_the_shape_of_their_standard():
    for key, language in LANGUAGES.items():
        assert key == language.iso639_3
        assert regex.fullmatch(r"[a-z]{3}", key)
        assert language.iso639_1 is None or regex.fullmatch(r"[a-z]{2}", language.iso639_1)
        assert regex.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", language.tag)


def test_scripts_are_names_that_regex_knows():
    for language in LANGUAGES.values():
        assert language.scripts
        for script in language.scripts:
            regex.compile(rf"\p{{Script_Extensions={script}}}")  # raises on an unknown name
    assert regex.fullmatch(rf"\p{{Script={LANGUAGES['amh'].scripts[0]}}}+", "ሰላም")
    assert regex.fullmatch(rf"\p{{Script={LANGUAGES['nqo'].scripts[0]}}}+", "ߒߞߏ")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("yoruva", r"did you mean yor \(Yoruba\)"),
        ("swaa_Latn", r"did you mean swa \(Swahili\)"),
        ("LICENSE", r"unknown language 'LICENSE'; expected an ISO 639-3"),
        ("data", r"unknown language 'data'; expected"),
        ("xqz", r"unknown language 'xqz'; expected"),
        ("mul", r"unknown language 'mul'; expected"),
        ("zzzzzz", r"unknown language 'zzzzzz'; expected"),
        ("", r"unknown language ''; expected"),
        ("hau_Cyrl", r"Hausa, but 'cyrl' .* expected Latn, Arab, or 'hau' alone"),
    ],
)
def test_an_unknown_code_is_refused_and_the_nearest_named(code, message):
    with pytest.raises(ValueError, match=message):
        find_language(code)


@pytest.mark.parametrize(
    ("code", "iso639_3", "iso639_1", "tag", "name", "scripts"),
    [
        ("bem", "bem", None, "bem_Latn", "Bemba", ("Latin",)),
        ("bem-ZM", "bem", None, "bem_Latn", "Bemba", ("Latin",)),
        ("gaa", "gaa", None, "gaa_Latn", "Ga", ("Latin",)),
        ("ki", "kik", "ki", "kik_Latn", "Kikuyu", ("Latin",)),
        ("KIK", "kik", "ki", "kik_Latn", "Kikuyu", ("Latin",)),
        ("deu", "deu", "de", "deu_Latn", "German", ("Latin",)),
        ("ger", "deu", "de", "deu_Latn", "German", ("Latin",)),
        ("byn", "byn", None, "byn_Ethi", "Blin", ("Ethiopic",)),
        ("vai", "vai", None, "vai_Vaii", "Vai", ("Vai",)),
        ("fat", "fat", None, "fat", "Fanti", ()),  # its own code, and no script that is told of it
        ("knc_Arab", "knc", None, "knc_Arab", "Central Kanuri", ("Arabic",)),
        ("qaa", "qaa", None, "qaa", "qaa", ()),  # for private use
    ],
)
def test_any_code_of_the_standard_is_a_language(code, iso639_3, iso639_1, tag, name, scripts):
    found = find_language(code)
    assert (found.iso639_3, found.iso639_1, found.tag, found.name, found.scripts) == (
        iso639_3,
        iso639_1,
        tag,
        name,
        scripts,
    )
    assert found.sets == ()
    assert find_language(found.iso639_3).iso639_3 == iso639_3


def test_the_key_of_a_language_is_that_language(monkeypatch):
    """Of every code of two and three letters that is taken."""
    monkeypatch.setattr(languages, "_suggestion", lambda wanted: "")  # takes long
    codes = ["".join(letters) for size in (2, 3) for letters in itertools.product(string.ascii_lowercase, repeat=size)]
    keys = {}
    for code in codes:
        with contextlib.suppress(ValueError):
            keys[code] = find_language(code).iso639_3
    assert len(keys) > 7000
    assert {code: key for code, key in keys.items() if find_language(key).iso639_3 != key} == {}


@pytest.mark.parametrize(("short", "long", "key"), [("tl", "tgl", "fil"), ("mo", "mol", "ron"), ("sh", "hbs", "srp")])
def test_two_and_three_letters_are_one_language(short, long, key):
    assert find_language(short) == find_language(long) == find_language(key)
    assert find_language(key).iso639_3 == key


def test_a_variety_of_a_language_of_the_table_is_taken_as_that_and_it_is_said(caplog):
    languages._of_the_standard.cache_clear()
    assert find_language("swc") is find_language("swc_Latn") is LANGUAGES["swa"]
    assert [record.getMessage() for record in caplog.records] == ["'swc' is taken as swa (Swahili)"]


def test_a_script_behind_a_code_outside_the_table_has_to_exist():
    with pytest.raises(
        ValueError, match="'bem_Xyzw' is Bemba, but 'xyzw' is neither a region nor an ISO 15924 script"
    ):
        find_language("bem_Xyzw")


def test_two_codes_of_one_language_are_refused_by_name():
    assert find_languages(["sw", "gaz_Latn", "bem"]) == {"swa": "sw", "orm": "gaz_Latn", "bem": "bem"}
    with pytest.raises(ValueError, match=r"'gaz_Latn' and 'orm' are one language, Oromo \(orm\)"):
        find_languages(["gaz_Latn", "swa", "orm"])


@pytest.mark.parametrize(
    "name", ["Nko", "nko", "N'Ko", "N\u2019Ko", "NKo", "N-KO", "Nkoo", "NKOO"], ids=lambda name: name.encode().hex()
)
def test_every_spelling_of_a_script_is_taken(name):
    assert script_names([name]) == ("Nko",)


def test_scripts_have_their_unicode_names_once():
    assert script_names(["latn", "Ethi", "Ge'ez", "mende kikakui", "LATIN"]) == ("Ethiopic", "Latin", "Mende_Kikakui")
    assert script_names(["Jpan"]) == ("Han", "Hiragana", "Katakana")
    assert script_names([]) == ()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Etiopic", "'Etiopic' is not a Unicode script; did you mean 'Ethiopic'"),
        ("Klingon", "'Klingon' is not a Unicode script; expected a name such as 'Latin'"),
        ("", "'' is not a Unicode script"),
    ],
)
def test_what_is_no_script_is_refused_and_the_nearest_named(name, message):
    with pytest.raises(ValueError, match=message):
        script_names(["Latin", name])


def test_names_and_codes_of_scripts_are_those_of_unicode():
    """The regex package knows both from Unicode; scripts that are newer than its version are left out."""
    known, everything = 0, "".join(map(chr, range(0x20000)))
    for name, code in languages._CODE_OF.items():
        try:
            by_name, by_code = (regex.compile(rf"\p{{Script={own}}}+") for own in (name, code))
        except regex.error:
            continue
        known += 1
        letters = by_name.search(everything).group()
        assert by_code.fullmatch(letters), name
        assert script_names([name]) == script_names([code]) == (name,)
    assert known > 150


def test_sets():
    assert set(languages_in("afroxlmr")) == AFROXLMR
    assert len(languages_in("masakhaner1")) == 10
    assert len(languages_in("masakhaner2")) == len(languages_in("masakhapos")) == 20
    assert len(languages_in("masakhanews")) == 16
    assert len(languages_in("afrisenti")) == 14
    for name in {name for language in LANGUAGES.values() for name in language.sets}:
        members = languages_in(name)
        assert len(set(members)) == len(members)
        assert all(name in LANGUAGES[code].sets for code in members)


def test_an_unknown_set_is_refused():
    with pytest.raises(ValueError, match="unknown set of languages 'masakhaner3'; expected one of .*masakhaner2"):
        languages_in("masakhaner3")


def test_the_languages_of_the_shared_text_are_known(shared_data):
    for path in sorted((shared_data / "corpora").glob("*.txt")):
        assert find_language(path.stem).iso639_3 == path.stem


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("orm", "hae", True),
        ("knc", "kau", True),
        ("din", "dik", True),
        ("dik", "dip", False),
        ("zul", "xho", False),
    ],
)
def test_a_macrolanguage_is_the_same_as_its_members(one, other, same):
    assert same_language(one, other) is same

"""The table of languages: every code finds its language, no code finds two."""

from __future__ import annotations

import pytest
import regex

from hf_afro.languages import LANGUAGES, find_language, languages_in

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
        ("swq", r"did you mean swa \(Swahili\)"),
        ("zzzzzz", r"unknown language 'zzzzzz'; expected"),
        ("", r"unknown language ''; expected"),
        ("hau_Cyrl", r"Hausa, but 'cyrl' .* expected Latn, Arab, or 'hau' alone"),
    ],
)
def test_an_unknown_code_is_refused_and_the_nearest_named(code, message):
    with pytest.raises(ValueError, match=message):
        find_language(code)


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

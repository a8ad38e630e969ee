"""The one table of languages: their codes, names, scripts and the sets they belong to.

The key is ISO 639-3, with the macrolanguage where the African evaluation sets use it (`swa`, not `swh`). Everything
that takes a language goes through `find_language`, so `sw`, `swh`, `swh_Latn` and `Swahili` are the same everywhere.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """One language of the table.

    Attributes:
        iso639_3: The key, three letters.
        iso639_1: The two-letter code, or None where the standard gives none.
        tag: The tag of FLORES-200 or, where that set lacks the language, of GlotLID: ``swh_Latn``.
        aliases: Other codes in use for it: the individual language of a macrolanguage, a bibliographic code.
        name: The English name.
        scripts: Unicode Script names as the `regex` package knows them, the main one first.
        sets: The model's languages and evaluation sets it belongs to.
    """

    iso639_3: str
    iso639_1: str | None
    tag: str
    aliases: tuple[str, ...]
    name: str
    scripts: tuple[str, ...]
    sets: tuple[str, ...]


_SETS: dict[str, str] = {
    # Alabi et al. 2022, the 17 African languages and 3 high-resource ones of AfroXLMR, and their news topics (ANTC)
    "afroxlmr": "afr amh hau ibo kin mlg nya orm pcm run sna som sot swa xho yor zul ara eng fra",
    "antc": "lin mlg pcm som zul",
    # Adelani et al. 2021
    "masakhaner1": "amh hau ibo kin lug luo pcm swa wol yor",
    # Adelani et al. 2022
    "masakhaner2": "bam bbj ewe fon hau ibo kin lug luo mos nya pcm sna swa tsn twi wol xho yor zul",
    # Adelani et al. 2023
    "masakhanews": "amh eng fra hau ibo lin lug orm pcm run sna som swa tir xho yor",
    # Muhammad et al. 2023; por is the Portuguese of Mozambique
    "afrisenti": "amh arq ary hau ibo kin orm pcm por swa tir tso twi yor",
    # Dione et al. 2023
    "masakhapos": "bam bbj ewe fon hau ibo kin lug luo mos nya pcm sna swa tsn twi wol xho yor zul",
    # Adelani et al. 2024a, those of its 205 languages that are in this table
    "sib200": "afr amh ara ary bam ben ell eng ewe fon fra ful hau hin hye ibo jpn kab kat kin kor lin lug luo mlg "
    "mos nqo nso nya orm por run rus sna som sot ssw swa tam tha tir tsn tso twi tzm wol xho yor zho zul",
    # Adelani et al. 2024b, with English and French
    "afrixnli": "amh eng ewe fra hau ibo kin lin lug orm sna sot swa twi wol xho yor zul",
}

# ISO 15924 codes that may follow a language code, by Unicode Script name.
_SCRIPT_CODES: dict[str, tuple[str, ...]] = {
    "Adlam": ("adlm",),
    "Arabic": ("arab",),
    "Armenian": ("armn",),
    "Bengali": ("beng",),
    "Cyrillic": ("cyrl",),
    "Devanagari": ("deva",),
    "Ethiopic": ("ethi",),
    "Georgian": ("geor",),
    "Greek": ("grek",),
    "Han": ("hani", "hans", "hant"),
    "Hangul": ("hang", "kore"),
    "Hiragana": ("hira", "jpan"),
    "Katakana": ("kana", "jpan"),
    "Latin": ("latn",),
    "Nko": ("nkoo",),
    "Tamil": ("taml",),
    "Thai": ("thai",),
    "Tifinagh": ("tfng",),
}

_LATIN = ("Latin",)
_ETHIOPIC = ("Ethiopic",)
_ARABIC = ("Arabic",)
_LATIN_AND_AJAMI = ("Latin", "Arabic")

# ISO 639-3, ISO 639-1, tag, aliases, name, scripts
_ROWS: tuple[tuple[str, str | None, str, str, str, tuple[str, ...]], ...] = (
    ("aar", "aa", "aar_Latn", "", "Afar", _LATIN),
    ("afr", "af", "afr_Latn", "", "Afrikaans", _LATIN),
    ("amh", "am", "amh_Ethi", "", "Amharic", _ETHIOPIC),
    ("ara", "ar", "arb_Arab", "arb", "Arabic", _ARABIC),
    ("arq", None, "arq_Arab", "", "Algerian Arabic", _ARABIC),
    ("ary", None, "ary_Arab", "", "Moroccan Arabic", _ARABIC),
    ("bam", "bm", "bam_Latn", "", "Bambara", ("Latin", "Nko")),
    ("bbj", None, "bbj_Latn", "", "Ghomala", _LATIN),
    ("ben", "bn", "ben_Beng", "", "Bengali", ("Bengali",)),
    ("ell", "el", "ell_Grek", "gre", "Greek", ("Greek",)),
    ("eng", "en", "eng_Latn", "", "English", _LATIN),
    ("ewe", "ee", "ewe_Latn", "", "Ewe", _LATIN),
    ("fon", None, "fon_Latn", "", "Fon", _LATIN),
    ("fra", "fr", "fra_Latn", "fre", "French", _LATIN),
    ("ful", "ff", "fuv_Latn", "fuv", "Fulah", ("Latin", "Adlam", "Arabic")),
    ("hau", "ha", "hau_Latn", "", "Hausa", _LATIN_AND_AJAMI),
    ("hin", "hi", "hin_Deva", "", "Hindi", ("Devanagari",)),
    ("hye", "hy", "hye_Armn", "arm", "Armenian", ("Armenian",)),
    ("ibo", "ig", "ibo_Latn", "", "Igbo", _LATIN),
    ("jpn", "ja", "jpn_Jpan", "", "Japanese", ("Han", "Hiragana", "Katakana")),
    ("kab", None, "kab_Latn", "", "Kabyle", ("Latin", "Tifinagh")),
    ("kat", "ka", "kat_Geor", "geo", "Georgian", ("Georgian",)),
    ("kin", "rw", "kin_Latn", "", "Kinyarwanda", _LATIN),
    ("kor", "ko", "kor_Hang", "", "Korean", ("Hangul",)),
    ("lin", "ln", "lin_Latn", "", "Lingala", _LATIN),
    ("lug", "lg", "lug_Latn", "", "Luganda", _LATIN),
    ("luo", None, "luo_Latn", "", "Luo", _LATIN),
    ("mlg", "mg", "plt_Latn", "plt", "Malagasy", _LATIN),
    ("mos", None, "mos_Latn", "", "Mossi", _LATIN),
    ("nbl", "nr", "nbl_Latn", "", "South Ndebele", _LATIN),
    ("nqo", None, "nqo_Nkoo", "", "N'Ko", ("Nko",)),
    ("nso", None, "nso_Latn", "", "Northern Sotho", _LATIN),
    ("nya", "ny", "nya_Latn", "", "Chichewa", _LATIN),
    ("orm", "om", "gaz_Latn", "gaz gax", "Oromo", _LATIN),
    ("pcm", None, "pcm_Latn", "", "Nigerian Pidgin", _LATIN),
    ("por", "pt", "por_Latn", "", "Portuguese", _LATIN),
    ("run", "rn", "run_Latn", "", "Rundi", _LATIN),
    ("rus", "ru", "rus_Cyrl", "", "Russian", ("Cyrillic",)),
    ("sna", "sn", "sna_Latn", "", "Shona", _LATIN),
    ("som", "so", "som_Latn", "", "Somali", _LATIN),
    ("sot", "st", "sot_Latn", "", "Southern Sotho", _LATIN),
    ("ssw", "ss", "ssw_Latn", "", "Swati", _LATIN),
    ("swa", "sw", "swh_Latn", "swh", "Swahili", _LATIN),
    ("tam", "ta", "tam_Taml", "", "Tamil", ("Tamil",)),
    ("tha", "th", "tha_Thai", "", "Thai", ("Thai",)),
    ("tir", "ti", "tir_Ethi", "", "Tigrinya", _ETHIOPIC),
    ("tsn", "tn", "tsn_Latn", "", "Tswana", _LATIN),
    ("tso", "ts", "tso_Latn", "", "Tsonga", _LATIN),
    ("twi", "tw", "twi_Latn", "", "Twi", _LATIN),
    ("tzm", None, "tzm_Tfng", "", "Central Atlas Tamazight", ("Tifinagh", "Latin")),
    ("ven", "ve", "ven_Latn", "", "Venda", _LATIN),
    ("wol", "wo", "wol_Latn", "", "Wolof", _LATIN_AND_AJAMI),
    ("xho", "xh", "xho_Latn", "", "Xhosa", _LATIN),
    ("yor", "yo", "yor_Latn", "", "Yoruba", _LATIN),
    ("zho", "zh", "zho_Hans", "cmn chi", "Chinese", ("Han",)),
    ("zul", "zu", "zul_Latn", "", "Zulu", _LATIN),
)


def _sets_of(iso639_3: str) -> tuple[str, ...]:
    return tuple(name for name, members in _SETS.items() if iso639_3 in members.split())


LANGUAGES: dict[str, Language] = {
    row[0]: Language(row[0], row[1], row[2], tuple(row[3].split()), row[4], row[5], _sets_of(row[0])) for row in _ROWS
}


def _keys_of(language: Language) -> tuple[str, ...]:
    """Every lower-case string that names a language by itself, without a script or a region behind it."""
    codes = (language.iso639_3, language.iso639_1, language.tag.split("_")[0], *language.aliases, language.name)
    return tuple(dict.fromkeys(code.lower() for code in codes if code))


_INDEX: dict[str, Language] = {key: language for language in LANGUAGES.values() for key in _keys_of(language)}


def find_language(code: str) -> Language:
    """Return the language that a code, tag, alias or English name stands for.

    Case does not matter, `-` and `_` are the same, and a script the language is written in or a region may follow:
    ``sw``, ``SWA``, ``swh_Latn``, ``sw-KE`` and ``Swahili`` are all Swahili.

    Args:
        code: ISO 639-3, ISO 639-1, a FLORES or GlotLID tag, an alias or the English name.

    Returns:
        The record of the language.

    Raises:
        ValueError: If nothing in the table answers to the code, the message naming the nearest; or if the script
            behind the code is not one the language is written in.

    Example:
        >>> find_language("gaz_Latn").iso639_3
        'orm'
    """
    wanted = code.strip().replace("-", "_").lower()
    if wanted in _INDEX:
        return _INDEX[wanted]
    head, *subtags = wanted.split("_")
    if head not in _INDEX:
        raise ValueError(
            f"unknown language {code!r}; {_suggestion(head)}"
            "expected an ISO 639-3 or 639-1 code, or a tag such as 'swh_Latn'."
        )
    language = _INDEX[head]
    scripts = [script for name in language.scripts for script in _SCRIPT_CODES[name]]
    for subtag in subtags:
        if subtag not in scripts and not _is_region(subtag):
            raise ValueError(
                f"{code!r} is {language.name}, but {subtag!r} is neither a region nor a script it is written in here; "
                f"expected {', '.join(script.capitalize() for script in scripts)}, or {language.iso639_3!r} alone."
            )
    return language


def _is_region(subtag: str) -> bool:
    """Tell an ISO 3166 or UN M.49 region, the two forms that BCP 47 allows, by its shape."""
    return (len(subtag) == 2 and subtag.isalpha()) or (len(subtag) == 3 and subtag.isdigit())


def _suggestion(wanted: str) -> str:
    nearest = difflib.get_close_matches(wanted, _INDEX, n=3, cutoff=0.5)
    # Two of three may spell the same language: name each once.
    languages = dict.fromkeys(_INDEX[key] for key in nearest)
    if not languages:
        return ""
    return f"did you mean {' or '.join(f'{found.iso639_3} ({found.name})' for found in languages)}? "


def languages_in(set_name: str) -> tuple[str, ...]:
    """Return the ISO 639-3 codes of a set, always in the same order.

    Args:
        set_name: One of ``afroxlmr``, ``antc``, ``masakhaner1``, ``masakhaner2``, ``masakhanews``, ``afrisenti``,
            ``masakhapos``, ``sib200`` and ``afrixnli``.

    Raises:
        ValueError: If there is no such set; the message lists those there are.
    """
    if set_name not in _SETS:
        raise ValueError(f"unknown set of languages {set_name!r}; expected one of {', '.join(_SETS)}.")
    return tuple(_SETS[set_name].split())

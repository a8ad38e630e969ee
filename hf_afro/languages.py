"""Languages and scripts by code or name: a table for models and evaluation sets, and any other ISO 639-3 code.

The key is ISO 639-3, with the macrolanguage if the African evaluation sets use it (`swa`, not `swh`). All of hf_afro
resolves languages with `find_language`, so that `sw`, `swh`, `swh_Latn` and `Swahili` are the same everywhere. Names
and scripts of languages outside the table come from the package langcodes.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Language:
    """One language.

    Attributes:
        iso639_3: The key, three letters.
        iso639_1: The two-letter code; None if the standard has none.
        tag: The tag of FLORES-200 or, if that set lacks the language, of GlotLID: ``swh_Latn``. Outside the table, the
            code with its script, or the code alone if the script is not known.
        aliases: Other codes in use: the individual language of a macrolanguage, a bibliographic code.
        name: The English name.
        scripts: Unicode Script names as in the `regex` package, the main one first; empty if they are not known.
        sets: Evaluation sets and model languages (`afroxlmr`) that it belongs to.
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
    # Adelani et al. 2024a; of its 205 languages those in this table
    "sib200": "afr amh ara ary bam ben ell eng ewe fon fra ful hau hin hye ibo jpn kab kat kin kor lin lug luo mlg "
    "mos nqo nso nya orm por run rus sna som sot ssw swa tam tha tir tsn tso twi tzm wol xho yor zho zul",
    # Adelani et al. 2024b, with English and French
    "afrixnli": "amh eng ewe fra hau ibo kin lin lug orm sna sot swa twi wol xho yor zul",
    # Muhammad et al. 2025a
    "afrihate": "amh arq ary hau ibo kin orm pcm som swa tir twi xho yor zul",
    # Yu et al. 2025, with English
    "injongo": "amh eng ewe hau ibo kin lin lug orm sna sot swa twi wol xho yor zul",
    # Muhammad et al. 2025b and Belay et al. 2025, those of SemEval 2025 in this table; por is that of Mozambique.
    # The English test split has no labels there.
    "brighter": "afr amh arq ary hau ibo kin orm pcm por som swa tir yor",
    # Ousidhoum et al. 2024; those with a training split
    "semrel": "amh arq ary eng hau kin",
}

# Unicode Script names with their ISO 15924 codes.
_SCRIPTS = (
    "Adlam Adlm, Ahom Ahom, Anatolian_Hieroglyphs Hluw, Arabic Arab, Armenian Armn, Avestan Avst, Balinese Bali, "
    "Bamum Bamu, Bassa_Vah Bass, Batak Batk, Bengali Beng, Bhaiksuki Bhks, Bopomofo Bopo, Brahmi Brah, "
    "Braille Brai, Buginese Bugi, Buhid Buhd, Canadian_Aboriginal Cans, Carian Cari, Caucasian_Albanian Aghb, "
    "Chakma Cakm, Cham Cham, Cherokee Cher, Chorasmian Chrs, Common Zyyy, Coptic Copt, Cuneiform Xsux, Cypriot Cprt, "
    "Cypro_Minoan Cpmn, Cyrillic Cyrl, Deseret Dsrt, Devanagari Deva, Dives_Akuru Diak, Dogra Dogr, Duployan Dupl, "
    "Egyptian_Hieroglyphs Egyp, Elbasan Elba, Elymaic Elym, Ethiopic Ethi, Garay Gara, Georgian Geor, "
    "Glagolitic Glag, Gothic Goth, Grantha Gran, Greek Grek, Gujarati Gujr, Gunjala_Gondi Gong, Gurmukhi Guru, "
    "Gurung_Khema Gukh, Han Hani, Hangul Hang, Hanifi_Rohingya Rohg, Hanunoo Hano, Hatran Hatr, Hebrew Hebr, "
    "Hiragana Hira, Imperial_Aramaic Armi, Inherited Zinh, Inscriptional_Pahlavi Phli, Inscriptional_Parthian Prti, "
    "Javanese Java, Kaithi Kthi, Kannada Knda, Katakana Kana, Kawi Kawi, Kayah_Li Kali, Kharoshthi Khar, "
    "Khitan_Small_Script Kits, Khmer Khmr, Khojki Khoj, Khudawadi Sind, Kirat_Rai Krai, Lao Laoo, Latin Latn, "
    "Lepcha Lepc, Limbu Limb, Linear_A Lina, Linear_B Linb, Lisu Lisu, Lycian Lyci, Lydian Lydi, Mahajani Mahj, "
    "Makasar Maka, Malayalam Mlym, Mandaic Mand, Manichaean Mani, Marchen Marc, Masaram_Gondi Gonm, "
    "Medefaidrin Medf, Meetei_Mayek Mtei, Mende_Kikakui Mend, Meroitic_Cursive Merc, Meroitic_Hieroglyphs Mero, "
    "Miao Plrd, Modi Modi, Mongolian Mong, Mro Mroo, Multani Mult, Myanmar Mymr, Nabataean Nbat, Nag_Mundari Nagm, "
    "Nandinagari Nand, New_Tai_Lue Talu, Newa Newa, Nko Nkoo, Nushu Nshu, Nyiakeng_Puachue_Hmong Hmnp, Ogham Ogam, "
    "Ol_Chiki Olck, Ol_Onal Onao, Old_Hungarian Hung, Old_Italic Ital, Old_North_Arabian Narb, Old_Permic Perm, "
    "Old_Persian Xpeo, Old_Sogdian Sogo, Old_South_Arabian Sarb, Old_Turkic Orkh, Old_Uyghur Ougr, Oriya Orya, "
    "Osage Osge, Osmanya Osma, Pahawh_Hmong Hmng, Palmyrene Palm, Pau_Cin_Hau Pauc, Phags_Pa Phag, "
    "Phoenician Phnx, Psalter_Pahlavi Phlp, Rejang Rjng, Runic Runr, Samaritan Samr, Saurashtra Saur, "
    "Sharada Shrd, Shavian Shaw, Siddham Sidd, SignWriting Sgnw, Sinhala Sinh, Sogdian Sogd, Sora_Sompeng Sora, "
    "Soyombo Soyo, Sundanese Sund, Sunuwar Sunu, Syloti_Nagri Sylo, Syriac Syrc, Tagalog Tglg, Tagbanwa Tagb, "
    "Tai_Le Tale, Tai_Tham Lana, Tai_Viet Tavt, Takri Takr, Tamil Taml, Tangsa Tnsa, Tangut Tang, Telugu Telu, "
    "Thaana Thaa, Thai Thai, Tibetan Tibt, Tifinagh Tfng, Tirhuta Tirh, Todhri Todr, Toto Toto, "
    "Tulu_Tigalari Tutg, Ugaritic Ugar, Vai Vaii, Vithkuqi Vith, Wancho Wcho, Warang_Citi Wara, Yezidi Yezi, "
    "Yi Yiii, Zanabazar_Square Zanb"
)
_CODE_OF: dict[str, str] = dict(pair.split(" ") for pair in _SCRIPTS.split(", "))
_SCRIPT_OF = {code: name for name, code in _CODE_OF.items()}
# ISO 15924 codes for which Unicode has another script, or several.
_VARIANTS: dict[str, tuple[str, ...]] = {
    "Aran": ("Arabic",),
    "Cyrs": ("Cyrillic",),
    "Hans": ("Han",),
    "Hant": ("Han",),
    "Jpan": ("Han", "Hiragana", "Katakana"),
    "Kore": ("Hangul",),
    "Latf": ("Latin",),
    "Latg": ("Latin",),
}
# Other names of scripts. Marks and case are ignored, so "N'Ko" needs no entry.
_SPELLINGS = {
    "Ge'ez": "Ethiopic",
    "Fidel": "Ethiopic",
    "Mende": "Mende_Kikakui",
    "Bassa": "Bassa_Vah",
    "Roman": "Latin",
}
# ISO 639 codes for no particular language: multiple, none, undetermined, uncoded.
_NO_LANGUAGE = ("mul", "zxx", "und", "mis")

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

# ISO 639-3 members of macrolanguages that have no row or alias above. The varieties of Arabic are separate languages
# here, as the evaluation sets treat them.
_MEMBERS = {
    "aka": "fat twi",
    "din": "dib dik dip diw dks",
    "ful": "ffm fub fuc fue fuf fuh fui fuq",
    "gba": "bdt gbp gbq gmm gso gya",
    "kau": "kby knc krt",
    "kln": "enb eyo niq oki pko sgc spy tec tuy",
    "kon": "kng kwy ldi",
    "kpe": "gkp xpe",
    "luy": "bxk ida lkb lko lks lri lrm lsm lto lts lwg nle nyd rag",
    "man": "emk mku mlq msc mwk myq",
    "mlg": "bhr bmm bzc msh skg tdx tkg txy xmv xmw",
    "orm": "hae orc",
    "tmh": "taq thv thz ttq",
}


def _sets_of(iso639_3: str) -> tuple[str, ...]:
    return tuple(name for name, members in _SETS.items() if iso639_3 in members.split())


LANGUAGES: dict[str, Language] = {
    row[0]: Language(row[0], row[1], row[2], tuple(row[3].split()), row[4], row[5], _sets_of(row[0])) for row in _ROWS
}


def _keys_of(language: Language) -> tuple[str, ...]:
    """Return every lower-case string that names a language, without script or region."""
    codes = (language.iso639_3, language.iso639_1, language.tag.split("_")[0], *language.aliases, language.name)
    return tuple(dict.fromkeys(code.lower() for code in codes if code))


_INDEX: dict[str, Language] = {key: language for language in LANGUAGES.values() for key in _keys_of(language)}


def find_language(code: str) -> Language:
    """Return the language of a code, tag, alias or English name.

    Case is ignored, `-` and `_` are equal, and a region or a script of the language may follow: ``sw``, ``SWA``,
    ``swh_Latn``, ``sw-KE`` and ``Swahili`` are all Swahili. Languages outside the table are found by any ISO 639 code;
    a variety of a language in the table (``swc``) is taken as that language, with a warning.

    Args:
        code: ISO 639-3 or ISO 639-1 code, FLORES or GlotLID tag, alias or, for a language in the table, English name.

    Returns:
        The record of the language.

    Raises:
        ValueError: If it is no language code (the message suggests similar ones), or if the language is not written
            in the script that follows.

    Example:
        >>> find_language("gaz_Latn").iso639_3
        'orm'
        >>> find_language("bem").name
        'Bemba'
    """
    wanted = code.strip().replace("-", "_").lower()
    if wanted in _INDEX:
        return _INDEX[wanted]
    head, *subtags = wanted.split("_")
    language = _INDEX.get(head) or _of_the_standard(head)
    if language is None:
        raise ValueError(
            f"unknown language {code!r}; {_suggestion(head)}"
            "expected an ISO 639-3 or 639-1 code, or a tag such as 'swh_Latn'."
        )
    if language.iso639_3 not in LANGUAGES:
        return _with_script(language, code, subtags)
    for subtag in subtags:
        scripts = _scripts_of(subtag)
        if not _is_region(subtag) and not (scripts and set(scripts) <= set(language.scripts)):
            codes = ", ".join(_CODE_OF[script] for script in language.scripts)
            raise ValueError(
                f"{code!r} is {language.name}, but {subtag!r} is neither a region nor a script it is written in here; "
                f"expected {codes}, or {language.iso639_3!r} alone."
            )
    return language


def same_language(one: str, other: str) -> bool:
    """Return whether two ISO 639-3 codes are one language, or one is the macrolanguage of the other.

    Args:
        one: A code as `find_language` returns it, by which `swh` and `swa` are the same already.
        other: Another.

    Example:
        >>> same_language("orm", "hae"), same_language("zul", "xho")
        (True, False)
    """
    return one == other or other in _MEMBERS.get(one, "").split() or one in _MEMBERS.get(other, "").split()


def find_languages(codes: Iterable[str]) -> dict[str, str]:
    """Return the ISO 639-3 codes of several languages, each with the code that was given for it.

    Args:
        codes: Codes in any form that `find_language` accepts.

    Raises:
        ValueError: If a code is unknown, or two are the same language.
    """
    found: dict[str, str] = {}
    for code in codes:
        language = find_language(code)
        if language.iso639_3 in found:
            raise ValueError(
                f"{found[language.iso639_3]!r} and {code!r} are one language, {language.name} "
                f"({language.iso639_3}); name each language once."
            )
        found[language.iso639_3] = code
    return found


@cache
def _of_the_standard(head: str) -> Language | None:
    """Return the language of an ISO 639 code outside the table; None if it is no such code."""
    if not (len(head) in (2, 3) and head.isascii() and head.isalpha()) or head in _NO_LANGUAGE:
        return None
    # Takes 0.1 s to import, and languages of the table do not need it.
    from langcodes import Language as Tag
    from langcodes.data_dicts import LIKELY_SUBTAGS

    tag = Tag.get(head)
    if not tag.is_valid():
        return None
    larger = tag.to_alpha3()
    if larger in LANGUAGES:
        logger.warning("%r is taken as %s (%s)", head, larger, LANGUAGES[larger].name)
        return LANGUAGES[larger]
    as_given = Tag.get(head, normalize=False)
    if as_given.is_valid():
        tag = as_given  # langcodes prefers the code of a larger language
    code = tag.to_alpha3()
    if len(head) == 2:
        return _INDEX.get(code) or _of_the_standard(code)  # some three-letter codes are now part of another language
    likely = LIKELY_SUBTAGS.get(tag.language, "").split("-")
    script = likely[1] if len(likely) > 1 else ""
    name = tag.language_name()
    return Language(
        iso639_3=code,
        iso639_1=tag.language if len(tag.language) == 2 else None,
        tag=f"{code}_{script}" if script else code,
        aliases=(),
        name=code if name.startswith("Unknown language") else name,
        scripts=_scripts_of(script),
        sets=(),
    )


def _with_script(language: Language, code: str, subtags: list[str]) -> Language:
    """Return a language outside the table with the script of its tag, if it has one."""
    for subtag in subtags:
        scripts = _scripts_of(subtag)
        if scripts:
            language = replace(language, scripts=scripts, tag=f"{language.iso639_3}_{subtag.capitalize()}")
        elif not _is_region(subtag):
            raise ValueError(
                f"{code!r} is {language.name}, but {subtag!r} is neither a region nor an ISO 15924 script; expected "
                f"such as {language.tag!r}, or {language.iso639_3!r} alone."
            )
    return language


def _is_region(subtag: str) -> bool:
    """Return whether a subtag has the form of an ISO 3166 or UN M.49 region, the two that BCP 47 allows."""
    return (len(subtag) == 2 and subtag.isalpha()) or (len(subtag) == 3 and subtag.isdigit())


def _scripts_of(code: str) -> tuple[str, ...]:
    """Return the Unicode script names of an ISO 15924 code; empty if there is no such code."""
    wanted = code.capitalize()
    return _VARIANTS.get(wanted) or ((_SCRIPT_OF[wanted],) if wanted in _SCRIPT_OF else ())


def _suggestion(wanted: str) -> str:
    nearest = difflib.get_close_matches(wanted, _INDEX, n=3, cutoff=0.7)
    # Several may name the same language; list each once.
    languages = dict.fromkeys(_INDEX[key] for key in nearest)
    if not languages:
        return ""
    return f"did you mean {' or '.join(f'{found.iso639_3} ({found.name})' for found in languages)}? "


def script_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the Unicode names of scripts, sorted, without duplicates.

    Args:
        names: Unicode names, ISO 15924 codes or usual spellings, in any case and with or without marks: ``Nko``,
            ``N'Ko`` and ``Nkoo`` are the same, and so are ``Ethiopic``, ``Ethi`` and ``Ge'ez``.

    Raises:
        TypeError: If `names` is a string.
        ValueError: If there is no such script; the message suggests a similar name.

    Example:
        >>> script_names(["N'Ko", "latn"])
        ('Latin', 'Nko')
    """
    if isinstance(names, str):
        raise TypeError(f"scripts is {names!r}, one string; expected a list of names: [{names!r}]")
    found: set[str] = set()
    for name in names:
        key = _plain(name)
        if key not in _SCRIPT_INDEX:
            nearest = difflib.get_close_matches(key, _SCRIPT_INDEX, n=1)
            meant = f"did you mean {' and '.join(_SCRIPT_INDEX[nearest[0]])!r}? " if nearest else ""
            raise ValueError(
                f"{name!r} is not a Unicode script; {meant}expected a name such as 'Latin', 'Ethiopic', 'Arabic' or "
                "'Nko', or an ISO 15924 code such as 'Latn'."
            )
        found.update(_SCRIPT_INDEX[key])
    return tuple(sorted(found))


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


_SCRIPT_INDEX: dict[str, tuple[str, ...]] = {
    **{_plain(code): (name,) for name, code in _CODE_OF.items()},
    **{_plain(code): names for code, names in _VARIANTS.items()},
    **{_plain(spelling): (name,) for spelling, name in _SPELLINGS.items()},
    **{_plain(name): (name,) for name in _CODE_OF},
}


def languages_in(set_name: str) -> tuple[str, ...]:
    """Return the ISO 639-3 codes of a set of languages, in a fixed order.

    Args:
        set_name: One of ``afroxlmr``, ``antc``, ``masakhaner1``, ``masakhaner2``, ``masakhanews``, ``afrisenti``,
            ``masakhapos``, ``sib200``, ``afrixnli``, ``afrihate``, ``injongo``, ``brighter`` and ``semrel``.

    Raises:
        ValueError: If there is no such set; the message lists all.
    """
    if set_name not in _SETS:
        raise ValueError(f"unknown set of languages {set_name!r}; expected one of {', '.join(_SETS)}.")
    return tuple(_SETS[set_name].split())

"""Perturbations of test text, for robustness: real text is often typed without tone marks or capitals.

``no_diacritics`` removes the combining marks of Latin letters, as they are after decomposition (NFD): `ẹ̀kọ́` becomes
`eko`, `dị` becomes `di` and `ñ` becomes `n`. Letters that Unicode does not decompose are other letters and stay: `ɓ`,
`ɗ`, `ƙ`, `ƴ`, `ŋ`, `ɛ`, `ɔ`. Text in other scripts stays as it is: Arabic keeps its vowel marks and its hamzas, and
Ge'ez its gemination mark. ``lower_case`` is lower case as Unicode defines it, which most scripts do not have.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from hf_afro.evaluation.data.task_data import TaskData
from hf_afro.messages import nearest
from hf_afro.tasks import PERTURBATIONS


def no_diacritics(text: str) -> str:
    """Return a text without the marks on its Latin letters; all other text is unchanged, its normal form included.

    Example:
        >>> no_diacritics("Ẹ̀kọ́ ɓe, ኣሉ")
        'Eko ɓe, ኣሉ'
    """
    kept, latin = [], False
    for character in text:
        if unicodedata.category(character) == "Mn":
            kept.append("" if latin else character)
        else:
            bare = _bare_latin(character)
            latin = bare is not None
            kept.append(character if bare is None else bare)
    return "".join(kept)


@cache
def _bare_latin(character: str) -> str | None:
    """Return a Latin letter without the marks in it; None for any other character."""
    letter = unicodedata.normalize("NFD", character)[0]
    return letter if unicodedata.name(letter, "").startswith("LATIN ") else None


_CHANGES: dict[str, Callable[[str], str]] = {"no_diacritics": no_diacritics, "lower_case": str.lower}


def check_perturbations(names: Sequence[str]) -> None:
    """Refuse unknown perturbations, and one that is given twice.

    Raises:
        ValueError: If there is one.
    """
    for name in names:
        if name not in PERTURBATIONS:
            raise ValueError(f"unknown perturbation {name!r}; {nearest(name, PERTURBATIONS, every=True)}")
    if len(set(names)) < len(names):
        raise ValueError(f"perturbations are {', '.join(names)}; expected each once")


def perturbed(data: TaskData, name: str) -> TaskData | None:
    """Return a task with changed test text, or None if nothing in it changes.

    Words keep their tags, and texts their labels.

    Args:
        data: The task.
        name: A name in `hf_afro.tasks.PERTURBATIONS`.

    Raises:
        ValueError: If the name is unknown.
    """
    check_perturbations([name])
    change = _CHANGES[name]
    test = data.splits["test"]
    columns: dict[str, list[Any]] = {}
    if data.kind.tagged:
        # A lone mark is a word in some sets, and would be none.
        columns["tokens"] = [[change(word) or word for word in words] for words in test["tokens"]]
    else:
        for column in ("text", "text_pair") if data.kind.pairs else ("text",):
            columns[column] = [change(text) or text for text in test[column]]
    if all(own == list(test[column]) for column, own in columns.items()):
        return None
    for column, own in columns.items():
        test = test.remove_columns(column).add_column(column, own)
    return dataclasses.replace(data, splits={**data.splits, "test": test})

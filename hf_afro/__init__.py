"""Make a multilingual encoder African, small and proven.

Importing the package registers the student classes with transformers' Auto classes, which takes as long as importing
transformers and torch does. The names below are loaded at their first use.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.version import __version__

if TYPE_CHECKING:
    from hf_afro.hub import push
    from hf_afro.languages import find_language
    from hf_afro.students import (
        AfroStudentConfig,
        AfroStudentForMaskedLM,
        AfroStudentForMultipleChoice,
        AfroStudentForQuestionAnswering,
        AfroStudentForSequenceClassification,
        AfroStudentForTokenClassification,
        AfroStudentModel,
        build_student,
    )
    from hf_afro.training import (
        MAFTTrainer,
        MAFTTrainingArguments,
        RelationDistillTrainer,
        RelationDistillTrainingArguments,
    )
    from hf_afro.vocabulary import (
        TokenCounts,
        VocabularyMap,
        compare_vocabularies,
        count_tokens,
        prune_checkpoint,
        prune_vocabulary,
        select_tokens,
    )

_ROOMS = {
    "hub": ("push",),
    "languages": ("find_language",),
    "students": (
        "AfroStudentConfig",
        "AfroStudentForMaskedLM",
        "AfroStudentForMultipleChoice",
        "AfroStudentForQuestionAnswering",
        "AfroStudentForSequenceClassification",
        "AfroStudentForTokenClassification",
        "AfroStudentModel",
        "build_student",
    ),
    "training": (
        "MAFTTrainer",
        "MAFTTrainingArguments",
        "RelationDistillTrainer",
        "RelationDistillTrainingArguments",
    ),
    "vocabulary": (
        "TokenCounts",
        "VocabularyMap",
        "compare_vocabularies",
        "count_tokens",
        "prune_checkpoint",
        "prune_vocabulary",
        "select_tokens",
    ),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = ["__version__", *_ROOM_OF]


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _only_help_is_asked() -> bool:
    """Tell whether this process is ``hf-afro --help`` or the like, which loads no model and should answer at once."""
    command, *words = sys.argv or [""]
    return Path(command).name == "hf-afro" and words[:1] in (["-h"], ["--help"], ["--version"])


if not _only_help_is_asked():
    from hf_afro.students.registration import register_students

    register_students()

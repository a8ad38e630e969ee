"""What can be said of a command's folders and files before anything is imported that takes long."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from hf_afro.cli.content import place_of
from hf_afro.cli.output import check_free, unfinished
from hf_afro.languages import find_languages, script_names
from hf_afro.model_folders import check_not_adapter, map_file

_MODELS = ("model", "teacher", "student_model", "tokenizer", "adapter")
_WHOLE_MODELS = ("model", "teacher", "student_model")
_TEXTS = ("text", "eval_text", "held_out")
_FILES = {
    "exclude": "a file or folder of sentences, one a line",
    "keep_list": "one of pieces, one a line",
    "drop_list": "one of pieces, one a line",
}
# A card's `facts` are not among these: they are written anew with all they held.
_OTHERS = (
    *("counts", "language_adapters", *_FILES, "vocabulary_map", "data", "reports", "pruned", "trained", "folder"),
    *("card", "export"),
)


def check_inputs(args: Namespace) -> None:
    """Refuse folders and files that cannot be right.

    Args:
        args: The options of any command; those it does not have are passed over.

    Raises:
        ValueError: If `output_dir` may not be written, would replace an input, or a model's folder does not exist or
            is that of an adapter; if a language is unknown or named twice, or there is no such script.
        NotADirectoryError: If a folder of text is none.
        FileNotFoundError: If a file does not exist.
    """
    for name in ("languages", "transfer"):
        find_languages(getattr(args, name, None) or ())
    script_names(getattr(args, "scripts", None) or ())
    check_apart(args)
    check_free(Path(args.output_dir), overwrite=args.overwrite)
    for name, value in _given(args, _MODELS):
        if _is_path(value) and not Path(value).is_dir():
            raise ValueError(f"no {name} could be read from {value!r}: there is no such folder")
        if name in _WHOLE_MODELS:
            check_not_adapter(Path(value))
    for name, value in _given(args, _TEXTS):
        if not Path(value).is_dir():
            raise NotADirectoryError(
                f"{value} is no folder; --{name} takes one with a file a language, named by its code, as in swa.txt"
            )
    for name, value in _given(args, tuple(_FILES)):
        if not Path(value).is_file() and not (name == "exclude" and Path(value).is_dir()):
            found = "is no file" if Path(value).exists() else "does not exist"
            raise FileNotFoundError(f"{value} {found}; --{name} takes {_FILES[name]}")
    for _, value in _given(args, ("vocabulary_map",)):
        map_file(value)


def check_apart(args: Namespace) -> None:
    """Refuse an `output_dir` that is an input or holds one: writing it would take away what is read.

    Raises:
        ValueError: If it does; the message names the input.
    """
    target = Path(args.output_dir).resolve()
    for name, value in _given(args, (*_MODELS, *_TEXTS, *_OTHERS)):
        source = Path(value).resolve()
        if Path(value).exists() and any(source.is_relative_to(one) for one in (target, unfinished(target))):
            option = {"reports": "REPORT", "folder": "FOLDER"}.get(name, f"--{name}")
            raise ValueError(
                f"--output_dir {args.output_dir} would replace what {option} {value} reads; name another folder"
            )


def _given(args: Namespace, names: tuple[str, ...]) -> list[tuple[str, str]]:
    given = ((name, getattr(args, name, None)) for name in names)
    return [
        (name, place_of(str(value)) if name == "data" else str(value))
        for name, values in given
        if values is not None
        for value in (values if isinstance(values, list) else [values])
    ]


def _is_path(name: str) -> bool:
    """Tell a path from a name on the Hub, which is ``model`` or ``owner/model``."""
    return Path(name).is_absolute() or name.startswith(("./", "../")) or name.rstrip("/").count("/") > 1

"""Models and tokenizers by name or folder, with errors that say what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# The head a checkpoint was saved with, by the end of its architecture's name.
_AUTO_CLASSES = {
    "ForMaskedLM": "AutoModelForMaskedLM",
    "ForCausalLM": "AutoModelForCausalLM",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForQuestionAnswering": "AutoModelForQuestionAnswering",
    "ForMultipleChoice": "AutoModelForMultipleChoice",
}
_TOKENIZER_FILES = ("tokenizer.json", "*.model", "vocab.txt", "vocab.json")


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load a tokenizer.

    Args:
        name: A folder, or a repository of the Hub.

    Raises:
        ValueError: If there is none. A folder without the files of a tokenizer is refused here, since transformers
            would build one of five tokens from the configuration alone and say nothing.
    """
    from transformers import AutoTokenizer

    folder = Path(name)
    if folder.is_dir() and not any(path for pattern in _TOKENIZER_FILES for path in folder.glob(pattern)):
        raise ValueError(
            f"{name} holds no tokenizer; expected {', '.join(_TOKENIZER_FILES)}. "
            "Save it there with tokenizer.save_pretrained, or name another folder."
        )
    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ValueError(f"no tokenizer could be read from {name!r}: {_first_line(error)}") from error


def load_model(name: str, *, auto_class: str | None = None, **settings: Any) -> PreTrainedModel:
    """Load a model with the head it was saved with.

    Args:
        name: A folder, or a repository of the Hub.
        auto_class: Name of the Auto class to use whatever the head, such as ``AutoModelForMaskedLM``.
        **settings: Passed to `from_pretrained`.

    Raises:
        ValueError: If there is none, or its weights do not fit its configuration.
    """
    import transformers

    try:
        if auto_class is None:
            config = transformers.AutoConfig.from_pretrained(name)
            auto_class = auto_class_of(config.architectures)
        return getattr(transformers, auto_class).from_pretrained(name, **settings)
    except (OSError, ValueError) as error:
        raise ValueError(f"no model could be read from {name!r}: {_first_line(error)}") from error


def auto_class_of(architectures: list[str] | None) -> str:
    """Return the name of the Auto class that builds what a configuration's `architectures` names."""
    for architecture in architectures or ():
        for ending, auto_class in _AUTO_CLASSES.items():
            if architecture.endswith(ending):
                return auto_class
    return "AutoModel"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]

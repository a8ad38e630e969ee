"""What the folder of a model and its tokenizer is known by, told from the names of its files alone."""

from __future__ import annotations

from pathlib import Path

TOKENIZER_FILES = ("tokenizer.json", "*.model", "vocab.txt", "vocab.json")


def has_any(folder: Path, patterns: tuple[str, ...]) -> bool:
    """Say whether a folder holds a file of any of the patterns."""
    return any(path for pattern in patterns for path in folder.glob(pattern))


def check_tokenizer_files(folder: Path) -> None:
    """Refuse a folder without the files of a tokenizer, of which transformers would make one up.

    Raises:
        ValueError: If there are none.
    """
    if not has_any(folder, TOKENIZER_FILES):
        raise ValueError(
            f"{folder} holds no tokenizer; expected {', '.join(TOKENIZER_FILES)}. "
            "Save it there with tokenizer.save_pretrained, or name another folder."
        )


def check_no_adapter(folder: Path) -> None:
    """Refuse a folder with a PEFT adapter in it, or where `PrunedModel.save_pretrained` puts it.

    Raises:
        ValueError: If there is one.
    """
    places = (folder / "adapter_config.json", *sorted((folder / "adapter").rglob("adapter_config.json")))
    for found in filter(Path.is_file, places):
        raise ValueError(
            f"{found.parent} holds a PEFT adapter, which would be lost; load it on its model and give the PeftModel "
            "to prune_vocabulary, or merge it with merge_and_unload() and save the model"
        )

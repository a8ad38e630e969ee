"""The settings that the trainers have beyond those of transformers, for `--help`, which must not import torch."""

from __future__ import annotations

from collections.abc import Mapping

# Name: default and what it is. The truth is in hf_afro/training/arguments.py; a test holds the two together.
_BOTH: dict[str, tuple[object, str]] = {
    "max_length": (512, "tokens in a training sequence at most"),
    "packing": (True, "pack lines end to end into full sequences; --no_packing: a line is a row"),
    "language_alpha": (1.0, "languages are sampled with p proportional to n^alpha, 0 to 1"),
}
MAFT_SETTINGS: dict[str, tuple[object, str]] = {
    **_BOTH,
    "mlm_probability": (0.15, "share of the tokens that are masked"),
    "whole_word_masking": (False, "mask all pieces of a word together"),
    "embedding_warmup_steps": (0, "for so many steps only the embeddings learn, for languages new to the model"),
    "language_sets": (None, 'sets of languages as JSON, {"core": ["swa"]}, whose means evaluation reports'),
}
DISTILL_SETTINGS: dict[str, tuple[object, str]] = {
    **_BOTH,
    "teacher_layer": (None, "layer of the teacher that is taught, from 1; by default as in the paper"),
    "num_relation_heads": (None, "by default four times the teacher's attention heads, where that divides"),
    "relation_impl": ("auto", "how the loss is computed: auto, reference or chunked"),
}


def describe_own_settings(settings: Mapping[str, tuple[object, str]]) -> str:
    """Return a line a setting: its name, its default and what it is."""
    names = {name: f"--{name}" + ("" if default is None else f" {default}") for name, (default, _) in settings.items()}
    width = max(map(len, names.values()))
    return "\n".join(f"  {names[name].ljust(width)}  {text}" for name, (_, text) in settings.items())

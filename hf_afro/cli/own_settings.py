"""The settings that the trainers have beyond those of transformers, for `--help`, which must not import torch."""

from __future__ import annotations

from collections.abc import Mapping

# Name: default and what it is. The truth is in hf_afro/training/arguments.py; a test holds the two together.
_BOTH: dict[str, tuple[object, str]] = {
    "max_length": (512, "tokens in a training sequence, at most the positions of the model"),
    "packing": (True, "pack lines end to end into full sequences; --no_packing: a line is a row"),
    "language_alpha": (1.0, "languages are sampled with p proportional to n^alpha, 0 to 1"),
    "streaming": (False, "read text while training; needs max_steps, and language_sizes or language_alpha 0"),
    "language_sizes": (None, 'with streaming, text of each in any unit: \'{"swa": 120, "yor": 30}\''),
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
    "objective": ("minilmv2", "what is learnt: minilmv2, minilm or hybrid"),
    "teacher_layer": (None, "layer of the teacher that is taught, from 1; by default as in the paper"),
    "teacher_layers": (None, "several of them instead, such as 6 12"),
    "student_layers": (None, "the student's layers that learn, as many or one; by default the last"),
    "num_relation_heads": (None, "by default four times the teacher's attention heads, where that divides"),
    "relation_weights": (None, "weights of query, key, value; of minilm: attention, value; of hybrid: attention"),
    "relation_impl": ("auto", "how the loss is computed: auto, reference, chunked or triton"),
    "mlm_weight": (0.0, "weight of the student's masked-LM loss; above 0, text is masked"),
    "logit_weight": (None, "weight of matching the teacher's predictions; by default 0, with hybrid 0.5"),
    "temperature": (2.0, "temperature of that matching"),
    "mlm_probability": (0.15, "share of the tokens masked for these two"),
    "teacher_dtype": (None, "float32 or bfloat16, what the teacher is turned into; by default as loaded"),
    "teacher_cache_dir": (None, "folder to keep the teacher's vectors in, for the passes after the first"),
}


def describe_own_settings(settings: Mapping[str, tuple[object, str]]) -> str:
    """Return a line a setting: its name, its default and what it is."""
    names = {name: f"--{name}" + ("" if default is None else f" {default}") for name, (default, _) in settings.items()}
    width = max(map(len, names.values()))
    return "\n".join(f"  {names[name].ljust(width)}  {text}" for name, (_, text) in settings.items())

"""Adapters of languages under the adapter of a task: two LoRA at once, the language's frozen, by PEFT.

The setup is that of MAD-X (Pfeiffer et al., 2020): an adapter a language is trained on its text, an adapter of the
task learns on top of it in one language, and in another that language's adapter takes the place of the first. It is
not MAD-X itself, whose adapters are bottlenecks behind each layer, with invertible ones at the embedding: here a
projection gives ``W x + B_l A_l x + B_t A_t x``, the language's part and the task's side by side.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.lora import LoraLayer

from hf_afro.families import encoder_of
from hf_afro.files import read_limited, write_whole

if TYPE_CHECKING:
    import peft
    from transformers import PreTrainedModel

Folders = Mapping[str, str | os.PathLike[str]]
"""By ISO 639-3 code, the folder of a LoRA adapter that `MAFTTrainer` or PEFT saved."""

BASE_FILE = "trained_beside.json"
"""In the folder of an adapter that `hf-afro maft` made: the fingerprint of the encoder it was trained beside."""

_LONGEST = 1 << 20  # bytes
_FILES = ("adapter_config.json", "adapter_model.safetensors")
_TASK = "default"  # what PEFT calls the first adapter of a model


class LanguageStack:
    """A classifier with an adapter of the task, over that of one language at a time.

    Args:
        trained: What `hf_afro.evaluation.adaptation.adapt` returned for LoRA.
        folders: The adapters of languages; read when a language is first spoken.
        language: The one trained in.

    Raises:
        ValueError: If the language has no adapter, or it does not fit; see `check_language_adapter`.
    """

    def __init__(self, trained: peft.PeftModel, folders: Folders, language: str) -> None:
        self.trained, self.folders, self.language = trained, folders, language
        self._read: set[str] = set()
        self.speak(language)

    def speak(self, language: str) -> Any:
        """Put a language's adapter under the task's, in place of the one that was there.

        Returns:
            The `PeftModel`, in the mode it was in.
        """
        was_training = self.trained.training
        # Versions of PEFT differ in what reading an adapter and choosing one leaves learning of the head.
        learning = [one for name, one in self.trained.named_parameters() if one.requires_grad and "lora_" not in name]
        if language not in self._read:
            self._load(language)
        # The model itself takes one name only; the tuner inside takes several, and lets all of them learn.
        self.trained.base_model.set_adapter([language, _TASK])
        for name, parameter in self.trained.named_parameters():
            if f".{language}." in f"{name}.":
                parameter.requires_grad_(False)
        for parameter in learning:
            parameter.requires_grad_(True)
        return self.trained.train(was_training)

    def plain(self) -> PreTrainedModel:
        """Return a copy as a plain classifier of the language trained in, both adapters merged into it."""
        return copy.deepcopy(self.speak(self.language)).merge_and_unload().requires_grad_(True)

    def _load(self, language: str) -> None:
        if language not in self.folders:
            raise ValueError(
                f"no adapter of {language}; there are some of {', '.join(sorted(self.folders)) or 'no language'}"
            )
        folder = Path(self.folders[language])
        check_language_adapter(folder)
        try:
            with warnings.catch_warnings():
                # What is missing is looked at below; the adapters of a masked-LM head have no place here.
                warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)
                warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
                result = self.trained.load_adapter(str(folder), language, is_trainable=False)
        except (RuntimeError, ValueError) as error:
            first = next((line.strip() for line in str(error).splitlines() if "size mismatch" in line), str(error))
            raise ValueError(f"the adapter in {folder} does not fit the model: {first}") from error
        self._read.add(language)
        for module in self.trained.modules():
            if isinstance(module, LoraLayer) and language in module.lora_dropout:
                module.lora_dropout[language] = torch.nn.Identity()  # what is frozen gives the same every time
        classifier = self.trained.get_base_model()
        encoder = encoder_of(classifier)
        prefix = next(name for name, module in classifier.named_modules() if module is encoder)
        odd = [
            name
            for name in (*result.missing_keys, *result.unexpected_keys)
            if name.startswith(f"base_model.model.{prefix}.")
        ]
        loaded = [name for name, _ in self.trained.named_parameters() if f".{language}." in name]
        if odd or not loaded:
            raise ValueError(
                f"the adapter in {folder} is not of this model's encoder: "
                f"{', '.join(odd[:3]) or 'none of its layers'} has no counterpart"
            )


def write_base(folder: str | os.PathLike[str], fingerprint: str) -> None:
    """Write beside an adapter what model it was trained beside: `model_fingerprint` of it without the pooler."""
    write_whole(Path(folder) / BASE_FILE, json.dumps({"encoder": fingerprint}) + "\n")


def check_language_adapter(folder: str | os.PathLike[str], encoder: str | None = None) -> str:
    """Check that a folder holds a LoRA adapter that another one can lie on, and that is all of what was trained.

    Args:
        folder: Of the adapter.
        encoder: `model_fingerprint`, without the pooler, of what it is to lie on; compared where the folder says what
            it was trained beside.

    Returns:
        The SHA-256 of its configuration and its weights.

    Raises:
        ValueError: If there is none, it is of another kind or of another model, or it comes with changed embeddings,
            heads, biases or base weights.
    """
    from peft import LoraConfig, PeftConfig

    folder = Path(folder)
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} is no adapter: {missing[0]} is not there; expected what `save_model` writes")
    config = PeftConfig.from_pretrained(str(folder))
    # Others than these take what they put into the adapter out of the model.
    if getattr(config, "init_lora_weights", True) not in (True, False, "gaussian"):
        raise ValueError(
            f"the adapter in {folder} begins with init_lora_weights={config.init_lora_weights!r}, which changes the "
            "model under it, so that it cannot be exchanged; save it converted to plain LoRA"
        )
    if not isinstance(config, LoraConfig) or config.use_dora:
        kind = "DoRA" if getattr(config, "use_dora", False) else type(config).__name__
        raise ValueError(f"the adapter in {folder} is {kind}; expected LoRA, of which two can work at once")
    more = [name for name in ("modules_to_save", "trainable_token_indices") if getattr(config, name, None)]
    more += ["bias"] if config.bias != "none" else []
    if more:
        raise ValueError(
            f"the adapter in {folder} has {', '.join(more)}, which cannot be exchanged from language to language; "
            "train one of the layers alone"
        )
    if encoder is not None and (folder / BASE_FILE).is_file():
        trained_beside = json.loads(read_limited(folder / BASE_FILE, _LONGEST)).get("encoder")
        if trained_beside != encoder:
            raise ValueError(f"the adapter in {folder} was trained beside another model; train one beside this model")
    digest = hashlib.sha256()
    for name in _FILES:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()

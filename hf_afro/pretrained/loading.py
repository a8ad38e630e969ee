"""Load models, tokenizers and adapters by name or folder, with errors that say what is missing."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import cached_file

from hf_afro.messages import filtered_log
from hf_afro.model_folders import (
    ADAPTER_CONFIG,
    MASKED_LM_HEAD,
    check_not_adapter,
    check_tokenizer_files,
    has_any,
    read_object,
    readable,
    written_in_python,
)
from hf_afro.pretrained.model_class import class_for, of_encoder, shown
from hf_afro.pretrained.weights import stored_tensors
from hf_afro.tokenizer_checks import check_built_as_written

logger = logging.getLogger(__name__)


class LostTensors(ValueError):
    """A checkpoint stores tensors that its model does not take and that would be lost when it is saved again."""


# Auto class by the ending of an architecture's name, for architectures that transformers has no class of.
_AUTO_CLASSES = {
    "ForMaskedLM": "AutoModelForMaskedLM",
    "ForPreTraining": "AutoModelForPreTraining",
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
    "ForConditionalGeneration": "AutoModelForSeq2SeqLM",
    "EncoderDecoderModel": "AutoModelForSeq2SeqLM",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForQuestionAnswering": "AutoModelForQuestionAnswering",
    "ForMultipleChoice": "AutoModelForMultipleChoice",
}
# Models with two pretraining heads are loaded with the masked-LM head alone, because their output has no `logits`;
# these have no such head.
_WITHOUT_MASKED_LM = ("ElectraForPreTraining", "FunnelForPreTraining")
# Explicit: without it, transformers asks at the terminal whether to run a repository's code.
_NO_CODE = {"trust_remote_code": False}
_WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")


def load_tokenizer(name: str, **settings: Any) -> PreTrainedTokenizerBase:
    """Load a tokenizer.

    Args:
        name: A folder, or a repository of the Hub.
        **settings: Passed to `from_pretrained`.

    Raises:
        ValueError: If there is none, it is written in Python, or transformers builds a different one than its
            tokenizer.json describes. A folder without tokenizer files is refused too, because transformers would
            silently build a tokenizer of five tokens from the configuration.
    """
    if Path(name).is_dir():
        check_tokenizer_files(Path(name))
    with readable("tokenizer", name):
        tokenizer = AutoTokenizer.from_pretrained(name, **{**_NO_CODE, **settings})
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        kind = type(tokenizer).__name__
        raise ValueError(f"the tokenizer of {name} is a {kind}, which is {written_in_python(kind)}")
    check_built_as_written(tokenizer, name, **settings)
    return tokenizer


def load_config(name: str, **settings: Any) -> PretrainedConfig:
    """Load a model's configuration.

    Args:
        name: A folder, or a repository of the Hub.
        **settings: Passed to `from_pretrained`.

    Raises:
        ValueError: If there is none, or it is a PEFT adapter or has one beside it.
    """
    if Path(name).is_dir():
        check_not_adapter(Path(name))
    else:
        _check_no_adapter_on_hub(name, settings.get("revision"))
    with readable("model", name):
        return AutoConfig.from_pretrained(name, **{**_NO_CODE, **settings})


def _check_no_adapter_on_hub(name: str, revision: str | None) -> None:
    """Refuse a repository that holds an adapter, as `check_not_adapter` refuses a folder.

    Raises:
        ValueError: If it does.
    """
    quiet = ("gated_repo", "missing_entries", "connection_errors")
    settings = {f"_raise_exceptions_for_{one}": False for one in quiet} | {"revision": revision}
    with readable("model", name):
        adapter = cached_file(name, ADAPTER_CONFIG, **settings)
        if adapter is not None:
            cached_file(name, "config.json", **settings)  # downloaded beside it, if there is one
    if adapter is not None:
        check_not_adapter(Path(adapter).parent, name)


def load_encoder_config(name: str, **settings: Any) -> PretrainedConfig:
    """Load the configuration of an encoder.

    Raises:
        ValueError: If there is none, or it belongs to a decoder or an encoder-decoder.
    """
    config = load_config(name, **settings)
    architecture = (config.architectures or [type(config).__name__])[0]
    decodes = getattr(config, "is_decoder", False) or (
        type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING
    )
    kind = "an encoder-decoder" if getattr(config, "is_encoder_decoder", False) else "a decoder" if decodes else None
    # The encoder of an encoder-decoder, such as sentence-t5's, or a decoder with bidirectional attention.
    reads_only = architecture.endswith("EncoderModel") or getattr(config, "use_bidirectional_attention", False)
    if kind is not None and not reads_only:
        raise ValueError(
            f"{name} is {kind} ({architecture}, model type {config.model_type!r}); expected an encoder, such as "
            "XLM-R, BERT or ModernBERT. Only counting and pruning take models that write text"
        )
    return config


def load_model(
    name: str, *, auto_class: str | None = None, all_heads: bool = False, seed: int = 0, **settings: Any
) -> PreTrainedModel:
    """Load a model as the class that its configuration names, with the head it was saved with.

    Args:
        name: A folder, or a repository of the Hub.
        auto_class: Name of the Auto class to use instead, such as ``AutoModelForMaskedLM``. Head weights that were not
            saved are drawn at random, and a warning names them.
        all_heads: Load every stored tensor, for callers that save the model again: both heads of a model with two,
            such as BertForPreTraining, and an error for tensors that the class does not take. By default only the
            masked-LM head is loaded, and heads that the class does not take are left out and logged.
        seed: Seed of the weights drawn at random; torch's global random state does not change.
        **settings: Passed to `from_pretrained`.

    Raises:
        ValueError: If there is none, it is a PEFT adapter, its class is unknown, or its weights do not fit its
            configuration.
        LostTensors: With `all_heads`, if a tensor is stored that the class does not take.
        FloatingPointError: If a weight is not finite.
    """
    config = load_config(name, **{key: value for key, value in settings.items() if key == "revision"})
    kind = _class_of(name, config, all_heads) if auto_class is None else _auto_class(name, config, auto_class)
    # devices=[] and the CPU's own generator, because `torch.manual_seed` would also reseed the accelerators.
    with readable("model", name), _without_report(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        # Mismatched shapes are ignored here so that `_check_weights` can report them in one line.
        model, info = kind.from_pretrained(
            name, output_loading_info=True, ignore_mismatched_sizes=True, **{**_NO_CODE, **settings}
        )
    _check_weights(name, model, info, all_heads)
    if type(model).__name__.endswith("ForMaskedLM") and any("pooler." not in one for one in info["missing_keys"]):
        setattr(model.config, MASKED_LM_HEAD, "drawn")
    broken = first_not_finite(model.named_parameters())
    if broken is not None:
        raise FloatingPointError(
            f"{broken} of {name} holds numbers that are not finite; expected weights of a training that ended well: "
            "copy the model again, or take an earlier one"
        )
    return model


def _class_of(name: str, config: PretrainedConfig, all_heads: bool) -> Any:
    """Return the class that a configuration names, or the one that its tensors belong to; see `load_model`."""
    stored = {} if config.architectures or not Path(name).is_dir() else stored_tensors(Path(name))
    if not config.architectures and not stored:
        return transformers.AutoModel
    try:
        kind = class_for(config, stored, name)
    except ValueError:
        if all_heads:
            raise
        # The encoder is enough; heads left out are logged once it is loaded.
        return getattr(transformers, auto_class_of(config.architectures))
    two_heads = kind.__name__.endswith("ForPreTraining") and kind.__name__ not in _WITHOUT_MASKED_LM
    return transformers.AutoModelForMaskedLM if two_heads and not all_heads else kind


def _auto_class(name: str, config: PretrainedConfig, auto_class: str) -> Any:
    """Return an Auto class after checking that it supports the configuration."""
    kind = getattr(transformers, auto_class)
    if type(config) not in kind._model_mapping:
        architecture = (config.architectures or [type(config).__name__])[0]
        raise ValueError(
            f"{name} holds {architecture}, and transformers has no {auto_class} of its model type "
            f"{config.model_type!r}; expected an encoder that has one, such as XLM-R, BERT or ModernBERT"
        )
    return kind


def load_adapter(model: PreTrainedModel, name: str) -> PeftModel:
    """Load a PEFT adapter onto its model.

    Args:
        model: The model it was trained on.
        name: A folder, or a repository of the Hub.

    Raises:
        ValueError: If there is none, or it belongs to another model.
    """
    with readable("adapter", name):
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message="Found missing adapter keys")  # drawn at random otherwise
                return PeftModel.from_pretrained(model, name)
        except (RuntimeError, UserWarning) as error:
            reason = " ".join(str(error).split("\n")[:2])
            raise ValueError(f"it does not fit {type(model).__name__} ({' '.join(reason.split())[:200]})") from error


def check_folder(folder: Path) -> dict[str, Any]:
    """Check that a folder has the files of a model and its tokenizer, without reading weights.

    Returns:
        The configuration, as written in config.json.

    Raises:
        ValueError: If files are missing, or the configuration is no JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} holds no model; expected config.json, weights and a tokenizer")
    config = read_object(path)
    if not has_any(folder, _WEIGHT_FILES):
        raise ValueError(f"{folder} holds no weights; expected {' or '.join(_WEIGHT_FILES)}")
    check_tokenizer_files(folder)
    return config


def auto_class_of(architectures: list[str] | None) -> str:
    """Return the name of the Auto class that builds what a configuration's `architectures` names."""
    for architecture in architectures or ():
        for ending, auto_class in _AUTO_CLASSES.items():
            if architecture.endswith(ending):
                return auto_class
    return "AutoModel"


@contextlib.contextmanager
def _without_report() -> Iterator[None]:
    """Silence transformers' table of weights that do not fit, which `_check_weights` reports in one line."""

    def is_other(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    with filtered_log("transformers.modeling_utils", is_other):
        yield


def _check_weights(name: str, model: PreTrainedModel, info: dict[str, Any], all_heads: bool) -> None:
    """Refuse weights that do not fit the configuration; transformers would draw missing ones at random.

    Raises:
        ValueError: If the encoder lacks weights, does not have stored ones, or one has another shape.
        LostTensors: With `all_heads`, if any is stored that the model does not take.
    """
    hint = "expected the weights that were saved with its config.json; copy the folder again"
    if info["mismatched_keys"]:
        weight, found, wanted = min(info["mismatched_keys"])
        raise ValueError(f"{weight} of {name} is {list(found)}, its configuration says {list(wanted)}; {hint}")
    prefix = f"{model.base_model_prefix}."
    missing = [weight for weight in sorted(info["missing_keys"]) if "pooler." not in weight]
    of_encoder = [weight for weight in missing if model.base_model is model or weight.startswith(prefix)]
    if of_encoder:
        raise ValueError(f"{name} lacks {shown(of_encoder)}; {hint}")
    _check_left_over(name, model, sorted(info["unexpected_keys"]), all_heads)
    if missing:
        logger.warning("%s lacks %s; the head is drawn at random, and has to be trained", name, shown(missing))
    elif all_heads and info["missing_keys"]:
        logger.warning("%s lacks %s, drawn at random and written", name, shown(sorted(info["missing_keys"])))


def _check_left_over(name: str, model: PreTrainedModel, left: list[str], all_heads: bool) -> None:
    """Refuse stored tensors of the encoder, or with `all_heads` any, that were not loaded; log the others."""
    if beyond := of_encoder(model, left):
        raise ValueError(
            f"{name} has {shown(beyond)}, and its configuration has not; expected the weights that were saved "
            "with its config.json; copy the folder again"
        )
    if left and all_heads:
        raise LostTensors(
            f"{name} also stores {shown(left)}, which {type(model).__name__} does not take, so that they would be "
            "lost. Weights in safetensors are pruned with all they hold, without --adapter and --pad_to_multiple_of; "
            "or leave those tensors out: load the model with from_pretrained, save it with save_pretrained, and "
            "prune that folder"
        )
    if left:
        logger.info("%s also stores %s, which %s does not take; left out", name, shown(left), type(model).__name__)


def first_not_finite(named: Iterable[tuple[str, torch.Tensor]]) -> str | None:
    """Return the name of the first tensor that holds NaN or infinity, None if all are finite.

    Args:
        named: Names and tensors of any shape and device, such as a model's `named_parameters()`; integer tensors, and
            those without data on the meta device, are skipped.
    """
    for name, tensor in named:
        if not tensor.is_floating_point() or tensor.is_meta:
            continue
        # The sum is enough in most cases, and unlike `isfinite` needs no memory; it may itself overflow.
        total = tensor.detach().sum(dtype=torch.float32)
        if not torch.isfinite(total) and not torch.isfinite(tensor.detach()).all():
            return name
    return None

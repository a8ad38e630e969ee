"""Models and tokenizers by name or folder, with errors that say what is missing."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.log_filters import filtered_log
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
from hf_afro.tokenizer_files import check_built_as_written

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class LostTensors(ValueError):
    """A checkpoint stores tensors that its model does not take, and that would be lost where it is written again."""


# What builds a head where transformers has no class of an architecture's name, by the end of that name.
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
# Of two heads the masked-LM head alone is worked with, for the output of both has no `logits`; these have none.
_WITHOUT_MASKED_LM = ("ElectraForPreTraining", "FunnelForPreTraining")
# Said outright: left open, transformers asks at a terminal whether to run a repository's code.
_NO_CODE = {"trust_remote_code": False}
_WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")


def load_tokenizer(name: str, **settings: Any) -> PreTrainedTokenizerBase:
    """Load a tokenizer.

    Args:
        name: A folder, or a repository of the Hub.
        **settings: Passed to `from_pretrained`.

    Raises:
        ValueError: If there is none, it is written in Python, or transformers builds another one than its
            tokenizer.json says. A folder without the files of a tokenizer is refused here, since transformers would
            build one of five tokens from the configuration alone and say nothing.
    """
    from transformers import AutoTokenizer

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
        ValueError: If there is none, or it is a PEFT adapter, or has one beside it.
    """
    from transformers import AutoConfig

    if Path(name).is_dir():
        check_not_adapter(Path(name))
    else:
        logger.info("there is no folder %s here; asking the Hub", name)
        _check_no_adapter_on_hub(name, settings.get("revision"))
    with readable("model", name):
        return AutoConfig.from_pretrained(name, **{**_NO_CODE, **settings})


def _check_no_adapter_on_hub(name: str, revision: str | None) -> None:
    """Refuse a repository that holds an adapter, as `check_not_adapter` refuses a folder; others are asked for later.

    Raises:
        ValueError: If it does.
    """
    from transformers.utils import cached_file

    quiet = ("gated_repo", "missing_entries", "connection_errors")
    settings = {f"_raise_exceptions_for_{one}": False for one in quiet} | {"revision": revision}
    with readable("model", name):
        adapter = cached_file(name, ADAPTER_CONFIG, **settings)
        if adapter is not None:
            cached_file(name, "config.json", **settings)  # lies beside it then, if there is one
    if adapter is not None:
        check_not_adapter(Path(adapter).parent, name)


def load_encoder_config(name: str, **settings: Any) -> PretrainedConfig:
    """Load the configuration of an encoder, with which text is read and none is written.

    Raises:
        ValueError: If there is none, or it is the configuration of a decoder or of an encoder and a decoder.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    config = load_config(name, **settings)
    architecture = (config.architectures or [type(config).__name__])[0]
    decodes = getattr(config, "is_decoder", False) or (
        type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING
    )
    kind = "an encoder-decoder" if getattr(config, "is_encoder_decoder", False) else "a decoder" if decodes else None
    # The encoder alone of such a model, as sentence-t5's, and a decoder that was made to look both ways.
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
        all_heads: Load every stored tensor, for what writes the model again: of a model of two pretraining heads, such
            as BertForPreTraining, both, not the masked-LM head alone; and what the class does not take is refused. By
            default a head that the class does not take is left out, and logged.
        auto_class: Name of the Auto class to use whatever the head, such as ``AutoModelForMaskedLM``. Weights of a
            head that were not saved are then drawn at random, and a warning names them.
        seed: Seed of those weights; torch's global random state is left as it is.
        **settings: Passed to `from_pretrained`.

    Raises:
        ValueError: If there is none, it is a PEFT adapter, its class is unknown, or its weights do not fit its
            configuration.
        LostTensors: With `all_heads`, if a tensor is stored that the class does not take.
        FloatingPointError: If a weight is not finite, from which nothing can be made.
    """
    import torch

    from hf_afro.losses.finite import first_not_finite

    config = load_config(name, **{key: value for key, value in settings.items() if key == "revision"})
    kind = _class_of(name, config, all_heads) if auto_class is None else _auto_class(name, config, auto_class)
    # devices=[] and the CPU's own generator: `torch.manual_seed` would reseed the accelerators for good.
    with readable("model", name), _without_report(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        # Other shapes are asked for so that they are told here, in one line, and not raised with a table before.
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
    """Return the class that a configuration names, or the one its tensors are of; see `load_model`."""
    import transformers

    from hf_afro.vocabulary.checkpoint_files import stored_tensors
    from hf_afro.vocabulary.model_class import class_for

    stored = {} if config.architectures or not Path(name).is_dir() else stored_tensors(Path(name))
    if not config.architectures and not stored:
        return transformers.AutoModel
    try:
        kind = class_for(config, stored, name)
    except ValueError:
        if all_heads:
            raise
        # The encoder is what is worked with; the heads left out are logged once it is loaded.
        return getattr(transformers, auto_class_of(config.architectures))
    two_heads = kind.__name__.endswith("ForPreTraining") and kind.__name__ not in _WITHOUT_MASKED_LM
    return transformers.AutoModelForMaskedLM if two_heads and not all_heads else kind


def _auto_class(name: str, config: PretrainedConfig, auto_class: str) -> Any:
    """Return an Auto class, once it is known to have one for the configuration."""
    import transformers

    kind = getattr(transformers, auto_class)
    if type(config) not in kind._model_mapping:
        architecture = (config.architectures or [type(config).__name__])[0]
        raise ValueError(
            f"{name} holds {architecture}, and transformers has no {auto_class} of its model type "
            f"{config.model_type!r}; expected an encoder that has one, such as XLM-R, BERT or ModernBERT"
        )
    return kind


def load_adapter(model: PreTrainedModel, name: str) -> PeftModel:
    """Put a PEFT adapter on its model.

    Args:
        model: The model it was trained on.
        name: A folder, or a repository of the Hub.

    Raises:
        ValueError: If there is none, or it is one of another model.
    """
    from peft import PeftModel

    with readable("adapter", name):
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message="Found missing adapter keys")  # drawn at random otherwise
                return PeftModel.from_pretrained(model, name)
        except (RuntimeError, UserWarning) as error:
            reason = " ".join(str(error).split("\n")[:2])
            raise ValueError(f"it does not fit {type(model).__name__} ({' '.join(reason.split())[:200]})") from error


def check_folder(folder: Path) -> dict[str, Any]:
    """Look whether a folder holds what a model and its tokenizer are loaded from, reading no weights.

    Returns:
        Its configuration, as its file has it.

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
    """Keep transformers from logging its table of weights that do not fit; what matters of it is said here."""

    def is_other(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    with filtered_log("transformers.modeling_utils", is_other):
        yield


def _check_weights(name: str, model: PreTrainedModel, info: dict[str, Any], all_heads: bool) -> None:
    """Refuse weights that do not fit the configuration: transformers would draw those missing at random.

    Raises:
        ValueError: If the encoder lacks some, some are stored that it has not, or one has another shape.
        LostTensors: With `all_heads`, if any is stored that the model does not take.
    """
    from hf_afro.vocabulary.model_class import shown

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
    """Refuse tensors that are stored and not loaded, of the encoder or, if all are wanted, of any head; log others."""
    from hf_afro.vocabulary.model_class import of_encoder, shown

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

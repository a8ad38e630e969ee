"""Models and tokenizers by name or folder, with errors that say what is missing."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.log_filters import filtered_log
from hf_afro.model_folders import MASKED_LM_HEAD, check_tokenizer_files, has_any, readable
from hf_afro.tokenizer_files import check_built_as_written

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# The head a checkpoint was saved with, by the end of its architecture's name.
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
        ValueError: If there is none, or transformers builds another one than its tokenizer.json says. A folder
            without the files of a tokenizer is refused here, since transformers would build one of five tokens from
            the configuration alone and say nothing.
    """
    from transformers import AutoTokenizer

    if Path(name).is_dir():
        check_tokenizer_files(Path(name))
    with readable("tokenizer", name):
        tokenizer = AutoTokenizer.from_pretrained(name, **{**_NO_CODE, **settings})
    check_built_as_written(tokenizer, name, **settings)
    return tokenizer


def load_config(name: str, **settings: Any) -> PretrainedConfig:
    """Load a model's configuration.

    Args:
        name: A folder, or a repository of the Hub.
        **settings: Passed to `from_pretrained`.

    Raises:
        ValueError: If there is none.
    """
    from transformers import AutoConfig

    if not Path(name).is_dir():
        logger.info("there is no folder %s here; asking the Hub", name)
    with readable("model", name):
        return AutoConfig.from_pretrained(name, **{**_NO_CODE, **settings})


def load_model(
    name: str, *, auto_class: str | None = None, all_heads: bool = False, seed: int = 0, **settings: Any
) -> PreTrainedModel:
    """Load a model with the head it was saved with.

    Args:
        name: A folder, or a repository of the Hub.
        all_heads: Of a model of two pretraining heads, such as BertForPreTraining, load both, not the masked-LM head
            alone: for what writes the model again.
        auto_class: Name of the Auto class to use whatever the head, such as ``AutoModelForMaskedLM``. Weights of a
            head that were not saved are then drawn at random, and a warning names them.
        seed: Seed of those weights; torch's global random state is left as it is.
        **settings: Passed to `from_pretrained`.

    Raises:
        ValueError: If there is none, or its weights do not fit its configuration.
        FloatingPointError: If a weight is not finite, from which nothing can be made.
    """
    import torch
    import transformers

    from hf_afro.objectives.finite import first_not_finite

    if auto_class is None:
        revision = {key: value for key, value in settings.items() if key == "revision"}
        architectures = load_config(name, **revision).architectures or []
        auto_class = auto_class_of(architectures)
        if auto_class == "AutoModelForPreTraining" and not all_heads and architectures[0] not in _WITHOUT_MASKED_LM:
            auto_class = "AutoModelForMaskedLM"
    # devices=[] and the CPU's own generator: `torch.manual_seed` would reseed the accelerators for good.
    with readable("model", name), _without_report(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        # Other shapes are asked for so that they are told here, in one line, and not raised with a table before.
        model, info = getattr(transformers, auto_class).from_pretrained(
            name, output_loading_info=True, ignore_mismatched_sizes=True, **{**_NO_CODE, **settings}
        )
    _check_weights(name, model, info)
    if auto_class == "AutoModelForMaskedLM" and any("pooler." not in weight for weight in info["missing_keys"]):
        setattr(model.config, MASKED_LM_HEAD, "drawn")
    broken = first_not_finite(model.named_parameters())
    if broken is not None:
        raise FloatingPointError(
            f"{broken} of {name} holds numbers that are not finite; expected weights of a training that ended well: "
            "copy the model again, or take an earlier one"
        )
    return model


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
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{folder} holds no model; expected config.json, weights and a tokenizer") from error
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}; expected JSON, in UTF-8") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no object; expected the configuration of a model")
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


def _check_weights(name: str, model: PreTrainedModel, info: dict[str, Any]) -> None:
    """Refuse weights that do not fit the configuration: transformers would draw those missing at random.

    Raises:
        ValueError: If the encoder lacks some, has some in layers that the configuration has not, or one has another
            shape.
    """
    from hf_afro.families import FAMILIES

    hint = "expected the weights that were saved with its config.json; copy the folder again"
    if info["mismatched_keys"]:
        weight, found, wanted = min(info["mismatched_keys"])
        raise ValueError(f"{weight} of {name} is {list(found)}, its configuration says {list(wanted)}; {hint}")
    prefix = f"{model.base_model_prefix}."
    missing = [weight for weight in sorted(info["missing_keys"]) if "pooler." not in weight]
    of_encoder = [weight for weight in missing if model.base_model is model or weight.startswith(prefix)]
    if of_encoder:
        raise ValueError(f"{name} lacks {_counted(of_encoder)}; {hint}")
    family = FAMILIES.get(model.config.model_type)
    beyond = [
        weight
        for weight in sorted(info["unexpected_keys"])
        if family is not None and weight.removeprefix(prefix).startswith(f"{family.layers}.")
    ]
    if beyond:
        raise ValueError(f"{name} has {_counted(beyond)}, and its configuration has not; {hint}")
    if missing:
        logger.warning("%s lacks %s; the head is drawn at random, and has to be trained", name, _counted(missing))


def _counted(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more weights"

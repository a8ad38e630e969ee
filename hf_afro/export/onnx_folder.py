"""A folder for ONNX Runtime and Transformers.js: graphs, tokenizer and configuration, compared with torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from hf_afro.export.onnx_graph import (
    LOGITS,
    check_onnx_installed,
    in_single_precision,
    inputs_of,
    output_of,
    quantise,
    write_graph,
)
from hf_afro.export.plain import plain_config
from hf_afro.families import position_offset_of
from hf_afro.files import write_whole
from hf_afro.version import __version__

GRAPH, QUANTISED = "onnx/model.onnx", "onnx/model_quantized.onnx"
REPORT_FILE = "export.json"
LARGEST_DIFFERENCE = 1e-4
_STUDENT = "afro-student"
_BATCH = 8


@dataclass(frozen=True)
class OnnxExport:
    """What was written, and how far it is from torch.

    Attributes:
        inputs: The names of the graph's inputs: `input_ids`, `attention_mask` and, where the model has more than one
            token type and its tokenizer says which token is of which, `token_type_ids`.
        output: What the graph gives: `logits` or `last_hidden_state`.
        bytes: Of each graph, by its path in the folder.
        torch_bytes: Of the same weights in fp32.
        fp32_difference: From torch's numbers, at most, over all tokens of the sentences.
        int8_difference: The same of the quantised graph; None where none was asked for.
        int8_agreement: The share of decisions, the largest logit each, that the quantised graph leaves as they are;
            None where there are no logits, or no such graph.
        sentences: How many sentences were compared.
        pairs: How many pairs of them were compared too: of a model that has token types or classifies sequences, as
            many as there are sentences.
        tokens: How many tokens all of these have.
        versions: Of what made the graphs.
    """

    inputs: tuple[str, ...]
    output: str
    bytes: dict[str, int]
    torch_bytes: int
    fp32_difference: float
    int8_difference: float | None
    int8_agreement: float | None
    sentences: int
    pairs: int
    tokens: int
    versions: dict[str, str]


def export_onnx(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    sentences: Sequence[str],
    *,
    int8: bool = True,
) -> OnnxExport:
    """Write a model for ONNX Runtime and compare it with torch.

    The folder holds `onnx/model.onnx`, `onnx/model_quantized.onnx`, `tokenizer.json`, `config.json` and what
    transformers writes beside them, which is the layout that Transformers.js reads; and `export.json`. There are no
    weights of torch in it. The configuration of a student says ``xlm-roberta``, which is what its graph computes and
    what Transformers.js knows.

    Args:
        model: A student or another encoder, without a head or with one for masked words, sequences or tokens; it is
            left as it is.
        tokenizer: Its tokenizer.
        folder: Where to write; made where it is not there. Where an error ends the export, what it holds is of no use.
        sentences: What to compare on, two or more of unlike length; a model that has token types or classifies
            sequences is compared on pairs of them too, each with the next.
        int8: Whether to write the quantised graph too.

    Raises:
        ModuleNotFoundError: If a package of the extra `onnx` is missing.
        ValueError: If the model cannot be exported, its tokenizer has no `tokenizer.json`, there are too few
            sentences, the graph in fp32 is further than 1e-4 from torch, or one gives numbers that are not finite.

    Example:
        >>> export_onnx(student, tokenizer, "exported", lines).fp32_difference < 1e-4  # doctest: +SKIP
        True
    """
    check_onnx_installed()
    output = output_of(model)
    if len(sentences) < 2 or len({len(sentence) for sentence in sentences}) < 2:
        raise ValueError(f"received {len(sentences)} sentences to compare on; expected two or more of unlike length")
    model = in_single_precision(model)
    folder, limit = Path(folder), _longest(model, tokenizer)
    (folder / GRAPH).parent.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(tokenizer, folder, limit)
    _config_for_graph(model).save_pretrained(folder)
    inputs = inputs_of(model, tokenizer)
    pairs = list(zip(sentences, [*sentences[1:], sentences[0]], strict=True)) if _takes_pairs(model, inputs) else []
    batches = [
        {name: batch[name] for name in inputs}
        for texts in ([(sentence,) for sentence in sentences], pairs)
        for batch in _batches(tokenizer, texts, limit)
    ]
    write_graph(model, batches[0], folder / GRAPH)
    with torch.inference_mode():
        wanted = [model(**batch)[0].numpy() for batch in batches]
    difference, _ = _compared(folder / GRAPH, batches, wanted, output)
    if not difference <= LARGEST_DIFFERENCE:
        raise ValueError(
            f"the graph of {type(model).__name__} is {difference:.2g} from torch on {len(sentences)} sentences; "
            f"expected {LARGEST_DIFFERENCE} at most. Nothing is left; please report the model's configuration"
        )
    graphs, apart, agreement = [GRAPH], None, None
    if int8:
        quantise(folder / GRAPH, folder / QUANTISED)
        apart, agreement = _compared(folder / QUANTISED, batches, wanted, output)
        if not np.isfinite(apart):
            raise ValueError(f"the graph of {type(model).__name__} in int8 gives numbers that are not finite")
        graphs.append(QUANTISED)
    done = OnnxExport(
        inputs,
        output,
        {graph: (folder / graph).stat().st_size for graph in graphs},
        sum(weight.numel() * weight.element_size() for weight in model.parameters()),
        difference,
        apart,
        agreement,
        len(sentences),
        len(pairs),
        sum(int(batch["attention_mask"].sum()) for batch in batches),
        _versions(),
    )
    write_whole(folder / REPORT_FILE, json.dumps({"to": "onnx", **asdict(done)}, indent=1) + "\n")
    return done


def _longest(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the tokens of a sequence at most, by the model's positions and the tokenizer's own limit."""
    positions = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    return min(tokenizer.model_max_length, positions - position_offset_of(model))


def _write_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, limit: int) -> None:
    tokenizer.save_pretrained(folder)
    if not (folder / "tokenizer.json").is_file():
        raise ValueError(
            f"{type(tokenizer).__name__} writes no tokenizer.json, which is what is read without Python; expected a "
            "tokenizer of the tokenizers library"
        )
    settings = folder / "tokenizer_config.json"
    said = json.loads(settings.read_text("utf-8"))
    # Transformers.js cuts at this length; left at a tokenizer's own, a long text runs out of positions.
    said["model_max_length"] = limit
    write_whole(settings, json.dumps(said, indent=2, ensure_ascii=False) + "\n")


def _config_for_graph(model: PreTrainedModel) -> PretrainedConfig:
    if model.config.model_type != _STUDENT:
        return model.config
    config = plain_config(model.config)
    config.architectures = [type(model).__name__.replace("AfroStudent", "XLMRoberta")]
    return config


def _takes_pairs(model: PreTrainedModel, inputs: tuple[str, ...]) -> bool:
    """Say whether a model may be given two texts at once: it tells them apart by type, or classifies sequences."""
    return "token_type_ids" in inputs or type(model).__name__.endswith("ForSequenceClassification")


def _batches(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[tuple[str, ...]], limit: int
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield ragged batches of texts or pairs of texts, and at the end the first by itself."""
    groups = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
    for group in filter(None, (*groups, texts[:1])):
        columns = map(list, zip(*group, strict=True))
        yield tokenizer(*columns, padding=True, truncation=True, max_length=limit, return_tensors="pt")


def _compared(
    path: Path, batches: list[dict[str, torch.Tensor]], wanted: list[np.ndarray], output: str
) -> tuple[float, float | None]:
    """Return how far a graph is from torch at tokens, at most, and the share of decisions that are alike."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    largest, alike, decisions = 0.0, 0, 0
    for batch, expected in zip(batches, wanted, strict=True):
        (found,) = session.run(None, {name: given.numpy() for name, given in batch.items()})
        if expected.ndim == 3:  # [batch, length, width]: what stands at padding is nobody's
            held = batch["attention_mask"].numpy() != 0
            found, expected = found[held], expected[held]
        largest = float(np.maximum(largest, np.abs(found - expected).max()))  # max() would lose a NaN
        alike += int((found.argmax(-1) == expected.argmax(-1)).sum())
        decisions += len(found)
    return largest, alike / decisions if output == LOGITS else None


def _versions() -> dict[str, str]:
    import onnx
    import onnxruntime

    versions: dict[str, Any] = {"torch": torch.__version__, "onnx": onnx.__version__}
    return {"hf_afro": __version__, **versions, "onnxruntime": onnxruntime.__version__}

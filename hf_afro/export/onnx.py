"""Export for ONNX Runtime and Transformers.js: graphs in fp32, fp16, int8 and 4 bits, compared with torch."""

from __future__ import annotations

import contextlib
import copy
import inspect
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import TokenClassifierOutput

from hf_afro.export.folder import check_no_adapters, write_record
from hf_afro.export.plain import plain_class_name, plain_config
from hf_afro.export.quantising import FORMATS, write_fp16, write_int4, write_int8
from hf_afro.families import position_offset_of
from hf_afro.files import write_whole
from hf_afro.messages import nearest
from hf_afro.version import __version__

DEFAULT_FORMATS = ("fp32", "int8")
GRAPH = FORMATS["fp32"]
LARGEST_DIFFERENCE = 1e-4
_INPUTS, _TYPES = ("input_ids", "attention_mask"), "token_type_ids"
_STATES, _LOGITS = "last_hidden_state", "logits"
_HEADS = ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification")
_REQUIRED = ("onnx", "onnxscript", "onnxruntime")
_WRITERS = {"fp16": write_fp16, "int8": write_int8, "int4": write_int4}
# A protocol buffer holds at most 2 GiB; the graph itself takes a few hundred kilobytes.
_LARGEST = (1 << 31) - (16 << 20)
_BATCH = 8
_TIMED = 32  # sentences that are timed, each by itself
_ROUNDS = 3


@dataclass(frozen=True)
class Figures:
    """Figures of the weights in torch, or of one graph.

    Attributes:
        bytes: Size of the file, or of the weights.
        milliseconds: Median time of one sentence in a batch of its own.
        difference: Largest absolute difference from torch's output over all tokens of the sentences; None of torch.
        agreement: Share of decisions (largest logit; all logits above 0, where a text has several labels) on which a
            graph agrees with torch; None without decisions.
        score: What `score` returned, if it was given.
    """

    bytes: int
    milliseconds: float
    difference: float | None = None
    agreement: float | None = None
    score: float | None = None


@dataclass(frozen=True)
class OnnxExport:
    """Figures of the exported graphs beside those of torch.

    Attributes:
        inputs: Names of the graph's inputs: `input_ids`, `attention_mask` and, if the model has several token types
            and its tokenizer returns them, `token_type_ids`.
        output: Name of the graph's output: `logits` or `last_hidden_state`.
        torch: Figures of torch, in fp32.
        graphs: Figures of each graph, by its format; `FORMATS` has their paths.
        metric: Name of `score`; None without one.
        sentences: Number of sentences compared.
        pairs: Number of sentence pairs compared: as many as there are sentences if the model has token types or
            classifies sequences, otherwise 0.
        tokens: Number of tokens in all of these.
        threads: Number of threads that torch and ONNX Runtime were timed with.
        versions: Versions of the libraries that made the graphs.
    """

    inputs: tuple[str, ...]
    output: str
    torch: Figures
    graphs: dict[str, Figures]
    metric: str | None
    sentences: int
    pairs: int
    tokens: int
    threads: int
    versions: dict[str, str]


class OnnxModel(nn.Module):
    """A graph that is called as the model it was made of.

    Args:
        path: The graph.
        config: The configuration of that model.
    """

    device = torch.device("cpu")

    def __init__(self, path: str | Path, config: PretrainedConfig) -> None:
        import onnxruntime

        super().__init__()
        self.config = config
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._inputs = [one.name for one in self._session.get_inputs()]

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> TokenClassifierOutput:
        """Return the output of the graph as `logits`, hidden states too; inputs that it does not have are left out."""
        given = {"input_ids": input_ids, "attention_mask": attention_mask, _TYPES: token_type_ids}
        if _TYPES in self._inputs and token_type_ids is None:
            given[_TYPES] = torch.zeros_like(input_ids)
        (found,) = self._session.run(None, {name: given[name].numpy() for name in self._inputs})  # type: ignore[union-attr]
        return TokenClassifierOutput(logits=torch.from_numpy(found))


def export_onnx(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    sentences: Sequence[str],
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    score: Callable[[Any], float] | None = None,
    metric: str | None = None,
) -> OnnxExport:
    """Write a model for ONNX Runtime and compare it with torch.

    The folder holds a graph per format in `onnx/`, `tokenizer.json`, `config.json` and the other files of the
    tokenizer, which is the layout that Transformers.js reads, and `export.json`. It holds no torch weights. The
    configuration of a student says ``xlm-roberta``, which is what its graph computes and what Transformers.js knows.

    Args:
        model: A student or another encoder, without a head or with one for masked words, sequences or tokens; it is
            not changed.
        tokenizer: Its tokenizer.
        folder: Folder to write to; created if needed. After an error its content is of no use.
        sentences: Two or more sentences of different lengths to compare on. A model that has token types or
            classifies sequences is also compared on pairs, each sentence with the next.
        formats: Graphs to write: names in `FORMATS`. In ``int8`` each row of the embedding has its own scale; ``int4``
            is the smallest, and no faster than fp32 on most processors.
        score: Returns the score of a model, in [0, 1]; it is called with torch's model and with each graph as an
            `OnnxModel`.
        metric: Name of that score, such as ``entity_f1``.

    Raises:
        ModuleNotFoundError: If a package of the extra `onnx` is missing.
        ValueError: If a format is unknown, the model cannot be exported, its tokenizer has no `tokenizer.json`, there
            are too few sentences, the fp32 graph differs from torch by more than 1e-4, or an output is not finite.

    Example:
        >>> export_onnx(student, tokenizer, "exported", lines).graphs["fp32"].difference < 1e-4  # doctest: +SKIP
        True
    """
    check_formats(formats)
    missing = [name for name in _REQUIRED if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(f"ONNX needs {', '.join(missing)}; pip install 'hf_afro[onnx]'")
    output = _output_of(model)
    if len(sentences) < 2 or len({len(sentence) for sentence in sentences}) < 2:
        raise ValueError(
            f"received {len(sentences)} sentences to compare on; expected two or more of different lengths"
        )
    model, folder, limit = _in_single_precision(model), Path(folder), _longest(model, tokenizer)
    (folder / GRAPH).parent.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(tokenizer, folder, limit)
    _write_config(model, folder)
    inputs = inputs_of(model, tokenizer)
    pairs = list(zip(sentences, [*sentences[1:], sentences[0]], strict=True)) if _takes_pairs(model, inputs) else []
    batches = [
        {name: batch[name] for name in inputs}
        for texts in ([(sentence,) for sentence in sentences], pairs)
        for batch in _batches(tokenizer, texts, limit)
    ]
    alone = [
        {name: batch[name] for name in inputs}
        for batch in _batches(tokenizer, [(sentence,) for sentence in sentences[:_TIMED]], limit, size=1)
    ]
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    write_graph(model, batches[0], folder / GRAPH)
    with torch.inference_mode():
        wanted = [model(**batch)[0].numpy() for batch in batches]
    decide = _decisions_of(model)
    models: dict[str, Any] = {"torch": model}
    figures = {"torch": Figures(size, 0.0, score=score and score(model))}
    for name in FORMATS:
        path = folder / FORMATS[name]
        if name in _WRITERS and name in formats:
            with _quiet():
                _WRITERS[name](folder / GRAPH, path)
        elif name in _WRITERS:
            continue
        graph = OnnxModel(path, model.config)
        difference, agreement = _compare(graph, batches, wanted, decide)
        if name == "fp32" and not difference <= LARGEST_DIFFERENCE:
            raise ValueError(
                f"the graph of {type(model).__name__} differs from torch by {difference:.2g} on {len(sentences)} "
                f"sentences; expected at most {LARGEST_DIFFERENCE}. Please report the model's configuration"
            )
        if not np.isfinite(difference):
            raise ValueError(f"the {name} graph of {type(model).__name__} returns numbers that are not finite")
        if name in formats:
            models[name] = graph
            figures[name] = Figures(path.stat().st_size, 0.0, difference, agreement, score and score(graph))
    if "fp32" not in formats:
        (folder / GRAPH).unlink()
    times = _milliseconds(models, alone)
    timed = {name: replace(one, milliseconds=times[name]) for name, one in figures.items()}
    done = OnnxExport(
        inputs=inputs,
        output=output,
        torch=timed.pop("torch"),
        graphs=timed,
        metric=metric,
        sentences=len(sentences),
        pairs=len(pairs),
        tokens=sum(int(batch["attention_mask"].sum()) for batch in batches),
        threads=torch.get_num_threads(),
        versions=_versions(),
    )
    write_record(folder, "onnx", model, **asdict(done))
    return done


def check_formats(formats: Sequence[str]) -> None:
    """Raise `ValueError` for formats that are not in `FORMATS`, or none."""
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"formats has {name!r}; {nearest(name, FORMATS, every=True)}")
    if not formats:
        raise ValueError(f"formats is empty; expected some of {', '.join(FORMATS)}")


def inputs_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return the names of a graph's inputs: ids, mask, and token types where they make a difference.

    They do if the model has more than one type and its tokenizer returns them, as BERT's does for the second text of a
    pair. Without that input every token would be of the first type.
    """
    has_types = getattr(model.config, "type_vocab_size", 2) > 1  # a family without the field, as XLNet, has two
    takes_types = _TYPES in inspect.signature(model.forward).parameters
    return (*_INPUTS, _TYPES) if has_types and takes_types and _TYPES in tokenizer("a", "b") else _INPUTS


def _output_of(model: PreTrainedModel) -> str:
    """Return the name of a model's output, or refuse heads that are not exported."""
    name = type(model).__name__
    check_no_adapters(model)
    if name.endswith(_HEADS):
        return _LOGITS
    if "For" in name or "LMHead" in name or model.config.is_encoder_decoder:
        raise ValueError(
            f"{name} is not exported to ONNX; expected an encoder without a head, or one that ends with "
            f"{', '.join(_HEADS)}"
        )
    return _STATES


def _in_single_precision(model: PreTrainedModel) -> PreTrainedModel:
    """Return a model in evaluation mode, in fp32 on the CPU: itself if it is so, otherwise a copy."""
    weight = next(model.parameters())
    suits = weight.dtype == torch.float32 and weight.device.type == "cpu" and not model.training
    return model if suits else copy.deepcopy(model).to(device="cpu", dtype=torch.float32).eval()


def _longest(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the most tokens a sequence may have, by the model's positions and the tokenizer's own limit."""
    positions = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    return min(tokenizer.model_max_length, positions - position_offset_of(model))


def _write_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, limit: int) -> None:
    tokenizer.save_pretrained(folder)
    if not (folder / "tokenizer.json").is_file():
        raise ValueError(
            f"{type(tokenizer).__name__} writes no tokenizer.json, which is what is read without Python; expected a "
            "tokenizer of the tokenizers library"
        )
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text("utf-8"))
    # Transformers.js truncates at this length; with a tokenizer's own limit a long text would run out of positions.
    settings["model_max_length"] = limit
    write_whole(path, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")


def _write_config(model: PreTrainedModel, folder: Path) -> None:
    config = model.config
    if config.model_type == "afro-student":
        config = plain_config(config)
        config.architectures = [plain_class_name(model)]
    config.save_pretrained(folder)


def _takes_pairs(model: PreTrainedModel, inputs: tuple[str, ...]) -> bool:
    """Return whether a model may be given two texts: it has token types for them, or classifies sequences."""
    return _TYPES in inputs or type(model).__name__.endswith("ForSequenceClassification")


def _batches(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[tuple[str, ...]], limit: int, size: int = _BATCH
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield ragged batches of texts or text pairs, and finally the first by itself."""
    groups = [texts[start : start + size] for start in range(0, len(texts), size)]
    for group in filter(None, (*groups, texts[:1])):
        columns = map(list, zip(*group, strict=True))
        yield tokenizer(*columns, padding=True, truncation=True, max_length=limit, return_tensors="pt")


class _FirstOutput(nn.Module):
    """Wrap a model as a function of ids, mask and perhaps token types that returns one tensor."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        types = {} if token_type_ids is None else {_TYPES: token_type_ids}
        return self.model(input_ids=input_ids, attention_mask=attention_mask, **types, return_dict=True)[0]


def write_graph(model: PreTrainedModel, example: dict[str, torch.Tensor], path: Path) -> None:
    """Write a model as an ONNX file in fp32, with free batch and length.

    A student is traced padded, as its class runs by itself during export. The exporter notes the source of each node,
    with paths of this machine; these notes are removed.

    Args:
        model: In fp32 on the CPU, in evaluation mode.
        example: Inputs of the graph by name, in the order of `inputs_of`, each ``[2 or more, 2 or more]``, that the
            graph is traced with.
        path: The file.

    Raises:
        ValueError: If the weights are too large for one file, or torch cannot export this model.
    """
    size = sum(weight.numel() * 4 for weight in model.parameters())
    if size > _LARGEST:
        raise ValueError(
            f"the model has {size / 1e9:.2f} GB in fp32, and an ONNX file holds at most {_LARGEST / 1e9:.2f}; prune "
            "its vocabulary, or distil it, first"
        )
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                _FirstOutput(model).eval(),
                tuple(example.values()),
                dynamo=True,
                input_names=list(example),
                output_names=[_output_of(model)],
                dynamic_shapes=tuple({0: batch, 1: length} for _ in example),
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().split("\n")[0]
            raise ValueError(f"torch cannot export {type(model).__name__} to ONNX: {reason}") from error
    model_proto = program.model_proto
    graph = model_proto.graph
    for part in (
        model_proto, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer,
    ):  # fmt: skip
        del part.metadata_props[:]
        part.doc_string = ""
    path.write_bytes(model_proto.SerializeToString())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what exporter and quantisers say about themselves, and the root logger's handler that one installs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx._internal.exporter._registration", "", "onnxruntime")]
    levels = [one.level for one in loggers]
    handlers = list(logging.root.handlers)
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
        logging.root.handlers[:] = handlers


def _decisions_of(model: PreTrainedModel) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return what a model's logits decide, ``[items, decisions]``; None for hidden states and numbers."""
    problem = getattr(model.config, "problem_type", None)
    # One output without more said about it is a number, as transformers takes it in training.
    is_number = problem == "regression" or (
        problem is None and type(model).__name__.endswith("ForSequenceClassification") and model.config.num_labels == 1
    )
    if _output_of(model) != _LOGITS or is_number:
        return None
    if problem == "multi_label_classification":
        return lambda logits: logits > 0
    return lambda logits: logits.argmax(-1)[..., None]


def _compare(
    graph: OnnxModel,
    batches: list[dict[str, torch.Tensor]],
    wanted: list[np.ndarray],
    decide: Callable[[np.ndarray], np.ndarray] | None,
) -> tuple[float, float | None]:
    """Return a graph's largest difference from torch at tokens, and the share of equal decisions."""
    largest, equal, decisions = 0.0, 0, 0
    for batch, expected in zip(batches, wanted, strict=True):
        found = graph(**batch).logits.numpy()
        if expected.ndim == 3:  # [batch, length, width]: values at padding are undefined
            held = batch["attention_mask"].numpy() != 0
            found, expected = found[held], expected[held]
        largest = float(np.maximum(largest, np.abs(found - expected).max()))  # max() would lose a NaN
        if decide is not None:
            equal += int((decide(found) == decide(expected)).all(-1).sum())
            decisions += len(found)
    return largest, equal / decisions if decisions else None


@torch.inference_mode()
def _milliseconds(models: dict[str, Any], batches: list[dict[str, torch.Tensor]]) -> dict[str, float]:
    """Return each model's median time for a batch; they take turns, and the first of several rounds is left out.

    A turn is a pass over all batches: threads of ONNX Runtime go on spinning for a while after a run, which would slow
    down torch several times if it came next each time.
    """
    times: dict[str, list[float]] = {name: [] for name in models}
    for number in range(1 + _ROUNDS):
        for name, model in models.items():
            for batch in batches:
                started = time.perf_counter()
                model(**batch)
                if number:
                    times[name].append(time.perf_counter() - started)
    return {name: round(1000 * statistics.median(own), 3) for name, own in times.items()}


def _versions() -> dict[str, str]:
    import onnx
    import onnxruntime

    versions: dict[str, Any] = {"torch": torch.__version__, "onnx": onnx.__version__}
    return {"hf_afro": __version__, **versions, "onnxruntime": onnxruntime.__version__}

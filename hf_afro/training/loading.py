"""From a trainer's datasets to its batches: languages to rows of tokens, rows to this process's share of each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from datasets import ClassLabel, Dataset, DatasetDict, IterableDataset, IterableDatasetDict
from torch.utils.data import DataLoader, Dataset as TorchDataset

from hf_afro.batching.mixing import Mixture, MixtureBatchSampler, MixtureDataset, Order
from hf_afro.batching.packing import TokenRows, cut, pack
from hf_afro.batching.streaming import StreamedSamples, StreamSchedule
from hf_afro.batching.streams import LanguageStream, ReadyRows, TextRows
from hf_afro.batching.tokenizing import boundary_ids, ready_rows, tokenize_corpus

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hf_afro.training.arguments import MixtureTrainingArguments

LanguageDatasets: TypeAlias = Mapping[str, Dataset | IterableDataset] | Dataset


class MixtureDataLoader(DataLoader):
    """A loader over a mixture that the Trainer can tell which epoch it is.

    It is not handed to `accelerator.prepare`: its batch sampler already yields this process's share alone, and reaches
    its place after a resume by skipping keys, without loading what it skips.
    """

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on to the order of the mixture."""
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]


def mixture_dataloader(
    samples: MixtureDataset | StreamedSamples | None,
    args: MixtureTrainingArguments,
    collate: Callable[[list[dict[str, Any]]], Any],
) -> MixtureDataLoader:
    """Return this process's loader over the mixture of all languages.

    Args:
        samples: The rows of all languages.
        args: Batch size, accumulation, processes, seed and smoothing.
        collate: Makes a batch of a list of samples.

    Raises:
        ValueError: If the trainer was given nothing to train on.
    """
    if samples is None:
        raise ValueError("training was started without a train_dataset; pass {language: dataset}")
    per_process = args.train_batch_size
    window = per_process * args.world_size * args.gradient_accumulation_steps
    order: Order
    if isinstance(samples, StreamedSamples):
        order = StreamSchedule(_weights(samples, args), window, args.max_steps, data_seed(args))
    else:
        order = Mixture(samples.sizes, window, data_seed(args), args.language_alpha)
    workers = args.dataloader_num_workers
    return MixtureDataLoader(
        samples,
        batch_sampler=MixtureBatchSampler(
            order, per_process, args.process_index, args.world_size, args.gradient_accumulation_steps
        ),
        collate_fn=collate,
        num_workers=workers,
        pin_memory=args.dataloader_pin_memory and torch.accelerator.is_available(),  # else torch warns each time
        persistent_workers=args.dataloader_persistent_workers,
        prefetch_factor=args.dataloader_prefetch_factor if workers else None,
        # A generator of its own, so that starting an epoch takes nothing from the one that dropout draws from.
        generator=torch.Generator().manual_seed(0),
    )


def data_seed(args: MixtureTrainingArguments) -> int:
    """Return the seed of order and masks: `data_seed` where it is set, else `seed`."""
    return args.seed if args.data_seed is None else args.data_seed


def samples_of(
    datasets: LanguageDatasets, tokenizer: PreTrainedTokenizerBase | None, args: MixtureTrainingArguments
) -> MixtureDataset | StreamedSamples:
    """Return the samples of every language, tokenised and cut to length where they are text.

    Args:
        datasets: A dataset a language, or one dataset with a column `language`. Each has a column `text`, tokenised
            here, or `input_ids`, taken as they are. Without `streaming` a streamed one is read to its end: its
            tokens, not its text, are held, four bytes each.
        tokenizer: Needed for text.
        args: Length and packing, and whether to read while training goes on.

    Raises:
        TypeError: If something else was given.
        ValueError: If a dataset has neither column, is empty, or holds rows longer than `max_length`.
    """
    parts = by_language(datasets)
    if args.streaming:
        return StreamedSamples(
            {language: _stream(language, part, tokenizer, args) for language, part in parts.items()}, data_seed(args)
        )
    return _read_whole(parts, tokenizer, args)


def _read_whole(
    parts: Mapping[str, Dataset | IterableDataset],
    tokenizer: PreTrainedTokenizerBase | None,
    args: MixtureTrainingArguments,
) -> MixtureDataset:
    return MixtureDataset({language: _rows(language, part, tokenizer, args) for language, part in parts.items()})


def _weights(samples: StreamedSamples, args: MixtureTrainingArguments) -> dict[str, float]:
    """Return how often each language is drawn, up to a factor."""
    sizes: Any = args.language_sizes
    if args.language_alpha == 0 or len(samples.languages) == 1:
        return dict.fromkeys(samples.languages, 1.0)
    if sizes is None or set(sizes) != set(samples.languages):
        raise ValueError(
            f"language_alpha={args.language_alpha} draws languages by their sizes, which a stream does not know: "
            f"language_sizes is {sizes}; expected a number for each of {', '.join(samples.languages)}, or "
            "language_alpha=0 to draw all alike"
        )
    return {language: sizes[language] ** args.language_alpha for language in samples.languages}


class RowsDataset(TorchDataset[dict[str, Any]]):
    """Rows of one language by number, for evaluation: each once, in order."""

    def __init__(self, rows: TokenRows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.rows[index]}


def evaluation_rows(
    datasets: LanguageDatasets, tokenizer: PreTrainedTokenizerBase | None, args: MixtureTrainingArguments
) -> dict[str, RowsDataset]:
    """Return each language's rows to be evaluated; arguments and errors are those of `samples_of`."""
    parts = _read_whole(by_language(datasets), tokenizer, args)
    return {language: RowsDataset(rows) for language, rows in parts.chunks.items()}


def by_language(datasets: LanguageDatasets) -> dict[str, Dataset | IterableDataset]:
    """Return one dataset a language, of a mapping or of one dataset with a column `language`.

    Raises:
        TypeError: If something else was given.
        ValueError: If one dataset was given and has no column `language`.
    """
    if isinstance(datasets, Dataset):
        if "language" not in datasets.column_names:
            raise ValueError(
                f"the dataset has the columns {datasets.column_names} and no 'language'; add that column, or give a "
                "dict of language to dataset"
            )
        codes = list(datasets["language"])
        if None in codes:
            raise ValueError(f"row {codes.index(None)} of the dataset names no language; expected one in every row")
        label = datasets.features["language"]
        names = label.int2str(codes) if isinstance(label, ClassLabel) else [str(code) for code in codes]
        languages = np.asarray(names)
        return {str(code): datasets.select(np.flatnonzero(languages == code)) for code in np.unique(languages)}
    if isinstance(datasets, DatasetDict | IterableDatasetDict):
        raise TypeError(
            f"got a {type(datasets).__name__} of {', '.join(datasets)}, which names splits; expected a dict of "
            "language to dataset, such as {'swa': swahili['train']}"
        )
    if not isinstance(datasets, Mapping):
        raise TypeError(
            f"got {type(datasets).__name__}; expected a dict of language to datasets.Dataset, or one datasets.Dataset "
            "with a column 'language'"
        )
    for language, part in datasets.items():
        if not isinstance(part, Dataset | IterableDataset):
            raise TypeError(f"{language} is {type(part).__name__}; expected a datasets.Dataset or IterableDataset")
    return dict(datasets)


def _stream(
    language: str,
    dataset: Dataset | IterableDataset,
    tokenizer: PreTrainedTokenizerBase | None,
    args: MixtureTrainingArguments,
) -> LanguageStream:
    if _column_of(language, dataset, tokenizer) == "input_ids":
        return LanguageStream(dataset, "input_ids", ReadyRows(args.max_length))
    return LanguageStream(dataset, "text", TextRows(tokenizer, args.max_length, packing=args.packing))


def _rows(
    language: str,
    dataset: Dataset | IterableDataset,
    tokenizer: PreTrainedTokenizerBase | None,
    args: MixtureTrainingArguments,
) -> TokenRows:
    if _column_of(language, dataset, tokenizer) == "input_ids":
        return ready_rows(dataset, args.max_length)
    make_rows = pack if args.packing else cut
    return make_rows(tokenize_corpus(dataset, tokenizer), args.max_length, *boundary_ids(tokenizer))


def _column_of(language: str, dataset: Dataset | IterableDataset, tokenizer: PreTrainedTokenizerBase | None) -> str:
    """Return the column that is read, `input_ids` or `text`."""
    # A streamed one may not know its columns before its first row.
    columns = dataset.column_names or next(iter(dataset), {}).keys()
    if "input_ids" in columns:
        return "input_ids"
    if "text" not in columns:
        raise ValueError(f"{language} has the columns {list(columns)}; expected 'text' or 'input_ids'")
    if tokenizer is None:
        raise ValueError(f"{language} holds text, and no tokenizer was given; pass processing_class=tokenizer")
    return "text"

"""Turn a trainer's datasets into batches: tokenized rows by language, and this process's share of each step."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from datasets import ClassLabel, Dataset, DatasetDict, IterableDataset, IterableDatasetDict
from torch.utils.data import DataLoader, Dataset as TorchDataset

from hf_afro.batching.mixing import Mixture, MixtureBatchSampler, MixtureDataset, Order
from hf_afro.batching.packing import TokenRows, boundary_ids, cut, pack, ready_rows, tokenize_corpus
from hf_afro.batching.streaming import LanguageStream, Place, ReadyRows, StreamedSamples, StreamSchedule, TextRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hf_afro.training.arguments import MixtureTrainingArguments

LanguageDatasets: TypeAlias = Mapping[str, Dataset | IterableDataset] | Dataset

# Samples at the beginning of a stream in which unknown tokens are counted.
_STREAM_SAMPLES = 64


class MixtureDataLoader(DataLoader):
    """A loader over a mixture that takes the epoch from the Trainer.

    It is not passed to `accelerator.prepare`: its batch sampler already yields this process's share alone, and after a
    resume reaches its place by skipping keys, without loading the samples.
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
        args: With batch size, accumulation, processes, seed and `language_alpha`.
        collate: Makes a batch of a list of samples.

    Raises:
        ValueError: If there are no samples.
    """
    if samples is None:
        raise ValueError("train needs a train_dataset; pass {language: dataset}")
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
        # Its own generator, so that starting an epoch does not advance the one that dropout draws from.
        generator=torch.Generator().manual_seed(0),
    )


def data_seed(args: MixtureTrainingArguments) -> int:
    """Return the seed of order and masks: `data_seed` if set, else `seed`."""
    return args.seed if args.data_seed is None else args.data_seed


def samples_of(
    datasets: LanguageDatasets, tokenizer: PreTrainedTokenizerBase | None, args: MixtureTrainingArguments
) -> MixtureDataset | StreamedSamples:
    """Return the samples of every language; text is tokenized and cut to length.

    Args:
        datasets: One dataset per language, or one dataset with a column `language`. Each has a column `text`,
            tokenized here, or `input_ids`, taken as they are. Without `streaming`, an iterable dataset is read to its
            end; its tokens, not its text, are held in memory, four bytes each.
        tokenizer: Needed for text.
        args: With length and packing, and whether to read during training.

    Raises:
        TypeError: If `datasets` has another form.
        ValueError: If a dataset has neither column, is empty, or holds rows longer than `max_length`, or of several
            sequences where sentence vectors are compared.
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
    """Return the weight with which each language of a stream is drawn."""
    sizes: Any = args.language_sizes
    if args.language_alpha == 0 or len(samples.languages) == 1:
        return dict.fromkeys(samples.languages, 1.0)
    if sizes is None or set(sizes) != set(samples.languages):
        raise ValueError(
            f"language_alpha={args.language_alpha} draws languages by their sizes, which a stream does not know: "
            f"language_sizes is {sizes}; expected a number for each of {', '.join(samples.languages)}, or "
            "language_alpha=0 to draw all equally"
        )
    return {language: sizes[language] ** args.language_alpha for language in samples.languages}


class RowsDataset(TorchDataset[dict[str, Any]]):
    """The rows of one language for evaluation, each once, in order."""

    def __init__(self, rows: TokenRows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.rows[index]}


def evaluation_rows(
    datasets: LanguageDatasets, tokenizer: PreTrainedTokenizerBase | None, args: MixtureTrainingArguments
) -> dict[str, RowsDataset]:
    """Return the rows of each language for evaluation; arguments and errors are those of `samples_of`."""
    parts = _read_whole(by_language(datasets), tokenizer, args)
    return {language: RowsDataset(rows) for language, rows in parts.chunks.items()}


def by_language(datasets: LanguageDatasets) -> dict[str, Dataset | IterableDataset]:
    """Return one dataset per language, from a mapping or from one dataset with a column `language`.

    Raises:
        TypeError: If `datasets` is neither.
        ValueError: If it is one dataset without a column `language`, or with a row that has none.
    """
    if isinstance(datasets, Dataset):
        if "language" not in datasets.column_names:
            raise ValueError(
                f"the dataset has the columns {datasets.column_names} and no 'language'; add that column, or pass a "
                "dict of language to dataset"
            )
        codes = list(datasets["language"])
        if None in codes:
            raise ValueError(f"row {codes.index(None)} of the dataset has no language; expected one in every row")
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
        return LanguageStream(dataset, "input_ids", ReadyRows(args.max_length, _end(tokenizer, args)))
    return LanguageStream(dataset, "text", TextRows(tokenizer, args.max_length, packing=args.packing))


def _rows(
    language: str,
    dataset: Dataset | IterableDataset,
    tokenizer: PreTrainedTokenizerBase | None,
    args: MixtureTrainingArguments,
) -> TokenRows:
    if _column_of(language, dataset, tokenizer) == "input_ids":
        return ready_rows(dataset, args.max_length, end=_end(tokenizer, args))
    make_rows = pack if args.packing else cut
    return make_rows(tokenize_corpus(dataset, tokenizer), args.max_length, *boundary_ids(tokenizer))


def _end(tokenizer: PreTrainedTokenizerBase | None, args: MixtureTrainingArguments) -> int | None:
    """Return the id that no row may hold before its last token; None where rows may be several sequences.

    Without a tokenizer it is not known.
    """
    return boundary_ids(tokenizer)[1] if args.rows_are_sentences and tokenizer is not None else None


def _column_of(language: str, dataset: Dataset | IterableDataset, tokenizer: PreTrainedTokenizerBase | None) -> str:
    """Return the column to read, `input_ids` or `text`."""
    # An iterable dataset may not know its columns before its first row.
    columns = dataset.column_names or next(iter(dataset), {}).keys()
    if "input_ids" in columns:
        return "input_ids"
    if "text" not in columns:
        raise ValueError(f"{language} has the columns {list(columns)}; expected 'text' or 'input_ids'")
    if tokenizer is None:
        raise ValueError(f"{language} holds text but there is no tokenizer; pass processing_class=tokenizer")
    return "text"


def unknown_shares(samples: MixtureDataset | StreamedSamples, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    """Return the share of each language's tokens that are unknown, 0 to 1, special tokens not counted.

    Args:
        samples: The rows of all languages. The first rows of a stream are read and thrown away: a stream that
            `datasets` shuffles fills its buffer for them.
        tokenizer: The tokenizer they were tokenized with. One without an unknown token of its own leaves none.

    Raises:
        ValueError: If a stream has no text; the message names its language.
    """
    unknown = tokenizer.unk_token_id
    around = {getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "sep", "cls")} - {None}
    if unknown is None or unknown in around:
        return dict.fromkeys(samples.languages, 0.0)
    if isinstance(samples, MixtureDataset):
        flat = {language: [rows.tokens] for language, rows in samples.chunks.items()}
    else:
        flat = {language: _beginning(language, stream) for language, stream in samples.streams.items()}
    return {language: _unknown_share(rows, unknown, around) for language, rows in flat.items()}


def _beginning(language: str, stream: LanguageStream) -> list[np.ndarray]:
    try:
        return [row for _, row in itertools.islice(stream.samples_from(Place()), _STREAM_SAMPLES)]
    except ValueError as error:
        raise ValueError(f"{language}: {error}") from error


def _unknown_share(rows: Iterable[np.ndarray], unknown: int, around: set[int]) -> float:
    lost = running = 0
    for tokens in rows:
        lost += int(np.count_nonzero(tokens == unknown))
        running += len(tokens) - sum(int(np.count_nonzero(tokens == one)) for one in around)
    return lost / max(running, 1)

"""The sets that are known by name: their tasks, languages and published sizes, and the forms their files have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hf_afro.evaluation.data.examples import Columns, Labels, examples_of
from hf_afro.evaluation.data.formats import Example, Repairs
from hf_afro.evaluation.data.kinds import KINDS, TaskKind
from hf_afro.evaluation.data.tables import TableForm, header_of, read_rows

NLI_LABELS = {
    # The order of XNLI; the repository of AfriXNLI has had names and numbers.
    **{str(number): name for number, name in enumerate(("entailment", "neutral", "contradiction"))},
    **{name: name for name in ("entailment", "neutral", "contradiction")},
}


@dataclass(frozen=True)
class PublishedForm:
    """What a TSV of a published set looks like.

    Attributes:
        header: The columns it begins with; more may follow.
        columns: Where text and label stand.
        quoted: Whether a quote has a meaning.
        labels: What the labels are called.
    """

    header: tuple[str, ...]
    columns: Columns
    quoted: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)


FORMS = (
    # MasakhaNEWS; `url` in most files
    PublishedForm(("category", "headline", "text"), Columns(text=("headline", "text"), label="category")),
    # ANTC
    PublishedForm(("text", "label"), Columns()),
    # AfriSenti; its Oromo and Tigrinya begin with an ID
    PublishedForm(("tweet", "label"), Columns(text=("tweet",)), quoted=False),
    PublishedForm(("ID", "tweet", "label"), Columns(text=("tweet",)), quoted=False),
    # SIB-200
    PublishedForm(("index_id", "category", "text"), Columns(label="category")),
    # AfriXNLI; `language` and others in some files
    PublishedForm(
        ("premise", "hypothesis", "label"), Columns(text=("premise",), text_pair="hypothesis"), labels=NLI_LABELS
    ),
)


def read_tsv(
    path: Path, repairs: Repairs, kind: TaskKind = KINDS["texts"], numbers: list[int] | None = None
) -> list[Example]:
    """Read a table of texts and labels in the form of a published set, told apart by the header.

    MasakhaNEWS is `category headline text url`, quoted, with line feeds inside quotes, and gives the headline, a line
    feed and the text; ANTC is `text label` and SIB-200 `index_id category text`, quoted; AfriSenti is `tweet label`
    or `ID tweet label`, where a quote is a character like any other; AfriXNLI is `premise hypothesis label`, quoted.
    Rows without text are dropped.

    Args:
        path: The file.
        repairs: What was repaired is counted here.
        kind: What the task is made of.
        numbers: Gets the number of each example among the rows, from 0, dropped ones counted.

    Raises:
        ValueError: If the header is of none of these forms, a row has another number of columns or no label, a quote
            is never closed, or the file cannot be read.
    """
    header = [name.strip() for name in header_of(path)]
    wanted = [form for form in FORMS if (form.columns.text_pair in form.header) == kind.pairs]
    fitting = [form for form in wanted if tuple(header[: len(form.header)]) == form.header]
    if not fitting:
        forms = " or ".join(repr("\t".join(form.header)) for form in wanted)
        raise ValueError(f"{path} starts with {header[:5]}; expected the header {forms}, or a description of the set")
    form = fitting[0]
    rows = read_rows(path, TableForm("tsv", quoted=form.quoted), repairs)
    return examples_of(rows, kind, form.columns, Labels(form.labels, "none"), repairs, numbers)

"""The examples that the loaders find in the published sets, beside the numbers in print, and what was repaired.

    python -m benchmarks.task_counts --data ../shared/data

`--data` holds `ner/masakhaner1`, `ner/masakhaner2`, `topic/masakhanews`, `topic/antc` and `sentiment/afrisenti`; what
is not there is left out. `--pos` is the folder of MasakhaPOS, of which no numbers in print were at hand.

In print: MasakhaNER in Adelani et al. 2021, whose files have grown since, so that few are of the printed size;
MasakhaNER 2.0 in Adelani et al. 2022; MasakhaNEWS in Adelani et al. 2023, where five languages come without their full
training file, and fifty examples a label stand in; AfriSenti in Muhammad et al. 2023; ANTC in Alabi et al. 2022. The
numbers were written down by hand; of MasakhaNER 2.0 and MasakhaNEWS their sums agree with the rows that the Hub shows.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from hf_afro.evaluation.data.loading import language_folders, load_task
from hf_afro.messages import counted

Sizes = tuple[int, int, int]

PRINTED: dict[str, dict[str, Sizes]] = {
    "masakhaner1": {
        "amh": (1750, 250, 500),
        "hau": (1903, 272, 545),
        "ibo": (2233, 319, 638),
        "kin": (2110, 301, 604),
        "luo": (644, 92, 185),
        "pcm": (2100, 300, 600),
        "swa": (2104, 300, 602),
        "yor": (2124, 303, 608),
    },
    "masakhaner2": {
        "hau": (5716, 816, 1633),
        "ibo": (7634, 1090, 2181),
        "kin": (7825, 1118, 2235),
        "lug": (4942, 706, 1412),
        "luo": (5161, 737, 1474),
        "swa": (6593, 942, 1883),
        "yor": (6877, 983, 1964),
    },
    "masakhanews": {
        "amh": (1311, 188, 376),
        "eng": (3309, 472, 948),
        "fra": (1476, 211, 422),
        "hau": (2219, 317, 637),
        "ibo": (1356, 194, 390),
        "pcm": (1060, 152, 305),
        "sna": (1288, 185, 369),
        "swa": (1658, 237, 476),
        "yor": (1433, 206, 411),
    },
    "antc": {"lin": (1536, 220, 440), "mlg": (3905, 559, 1117)},
    "afrisenti": {
        "amh": (5984, 1497, 1999),
        "hau": (14172, 2677, 5303),
        "ibo": (10192, 1841, 3682),
        "kin": (3302, 827, 1026),
        "pcm": (5121, 1281, 4154),
        "swa": (1810, 453, 748),
        "yor": (8522, 2090, 4515),
    },
}
FOLDERS = {
    "masakhaner1": ("ner", "ner/masakhaner1"),
    "masakhaner2": ("ner", "ner/masakhaner2"),
    "masakhanews": ("topic", "topic/masakhanews"),
    "antc": ("topic", "topic/antc"),
    "afrisenti": ("sentiment", "sentiment/afrisenti"),
}


@dataclass(frozen=True)
class Counted:
    """One set in one language.

    Attributes:
        dataset: Such as `masakhaner1/swa`.
        found: Examples of train, dev and test.
        printed: The same in print; None where no numbers were at hand.
        labels: How many there are.
        files: The name of the training file.
        repairs: What was repaired, dropped or shared, by name.
    """

    dataset: str
    found: Sizes
    printed: Sizes | None
    labels: int
    files: str
    repairs: dict[str, int]

    @property
    def verdict(self) -> str:
        """What the numbers say: as printed, or which differ."""
        if self.printed is None:
            return "nothing in print"
        few = "fewshot" in self.files
        pairs = zip(("train", "dev", "test"), self.found, self.printed, strict=True)
        odd = [
            f"{name} {found - told:+d}"
            for name, found, told in pairs
            if found != told and not (few and name == "train")
        ]
        return ", ".join([*(["train is fifty a label"] if few else []), *odd]) or "as printed"


def count(dataset: str, task: str, folder: Path) -> list[Counted]:
    """Load a set in every language of a folder."""
    counted = []
    for language in language_folders(folder):
        data = load_task(task, folder, language)
        train, dev, test = (len(data.splits[split]) for split in ("train", "dev", "test"))
        printed = PRINTED.get(dataset, {}).get(language)
        name = f"{dataset}/{language}"
        counted.append(
            Counted(name, (train, dev, test), printed, len(data.labels), data.files["train"], dict(data.repairs))
        )
    return counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="folder of the sets")
    parser.add_argument("--pos", type=Path, help="folder of MasakhaPOS, with a folder a language")
    args = parser.parse_args()
    sets = [(name, task, args.data / folder) for name, (task, folder) in FOLDERS.items()]
    if args.pos:
        sets.append(("masakhapos", "pos", args.pos))
    rows = [row for name, task, folder in sets if folder.is_dir() for row in count(name, task, folder)]
    for row in rows:
        sizes = "".join(f"{size:>7}" for size in row.found)
        print(f"{row.dataset:17}{sizes}{row.labels:>4} labels  {row.verdict}")
        for what, times in row.repairs.items():
            print(f"{'':19}{times:>5}  {what}")
    known = [row for row in rows if row.printed]
    alike = [row for row in known if row.verdict == "as printed"]
    sets_found = counted(len(rows), "set")
    print(f"{sets_found}, {len(known)} of them in print, {len(alike)} of those as printed in every split")


if __name__ == "__main__":
    main()

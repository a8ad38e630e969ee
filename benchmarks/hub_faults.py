"""What a push does when the Hub fails: each fault and what is told, and random sequences of faults.

python -m benchmarks.hub_faults
python -m benchmarks.hub_faults --sequences 1000 --first 200

The real client speaks to the Hub on loopback of the tests. For each fault that does not pass: what the user is told,
and whether the repository is as it was or holds the whole push. Then pushes under random faults, up to three times
each and once more without; no waiting between tries. The command fails if a repository ever holds a part of a push.
"""

from __future__ import annotations

import argparse
import collections
import logging
import sys
import tempfile
import textwrap
from pathlib import Path

FOREVER = 1000
FAULTS = {
    "commit": (
        "401",
        "403",
        "404",
        "409",
        "412",
        "413",
        "429",
        "500",
        "503",
        "reset",
        "lost",
        "truncated",
        "slow",
        "done-500",
    ),
    "put": ("403", "500", "reset", "slow", "corrupt"),
    "create": ("401", "403", "500", "reset", "truncated"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=200, help="how many random sequences")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first")
    parser.add_argument("--no_table", action="store_true", help="the sequences only")
    args = parser.parse_args()
    from tests.hub.sequences import speaking_to_loopback

    logging.disable(logging.WARNING)
    with speaking_to_loopback():
        if not args.no_table:
            print_table()
        partial = run_sequences(range(args.first, args.first + args.sequences))
    sys.exit(1 if partial else 0)


def print_table() -> None:
    """Strike one push with each fault, for ever, and print what came of it."""
    from tests.hub.faults import Fault
    from tests.hub.folders import small_model
    from tests.hub.sequences import strike
    from tests.hub.server import Hub

    for endpoint, kinds in FAULTS.items():
        for kind in kinds:
            with tempfile.TemporaryDirectory() as name, Hub() as hub:
                new, former = small_model(Path(name) / "new", seed=2), small_model(Path(name) / "former", seed=1)
                faults = [Fault(kind, endpoint, FOREVER)]
                outcome = strike(new, None if endpoint == "create" else former, faults, hub)
            told = outcome.told[0] or "(it went well)"
            print(f"{endpoint}, {kind}: {outcome.states[0]}")
            print(textwrap.indent(textwrap.fill(told, 110), "    "))


def run_sequences(seeds: range) -> int:
    """Run random sequences and print what they came to; return how many ended in a part of a push."""
    from tests.hub.sequences import PARTIAL, run_sequence

    states: collections.Counter[str] = collections.Counter()
    struck: collections.Counter[str] = collections.Counter()
    pushes = partial = 0
    for seed in seeds:
        with tempfile.TemporaryDirectory() as name:
            outcome = run_sequence(seed, Path(name))
        pushes += len(outcome.told)
        states.update(
            f"{'told of a failure' if told else 'told it went well'}, repository {state.partition(':')[0]}"
            for told, state in zip(outcome.told, outcome.states, strict=True)
        )
        struck.update(kind for _, kind in outcome.struck)
        bad = [state for state in outcome.states if state.startswith(PARTIAL)]
        partial += bool(bad)
        for state in bad:
            print(f"seed {seed}: {state}")
    print(f"{len(seeds)} sequences, {pushes} pushes, {struck.total()} faults struck: {partial} with a part of a push")
    for what, count in sorted(states.items()):
        print(f"    {count:6,}  {what}")
    print("    " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(struck.items())))
    return partial


if __name__ == "__main__":
    main()

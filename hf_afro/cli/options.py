"""The options that all commands share, and a parser whose errors are one line."""

from __future__ import annotations

import argparse
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are raised, to be shown as one line."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print after a usage that may fill a screen.

        Raises:
            ValueError: Always.
        """
        from hf_afro.steps.parsing import plainer

        raise ValueError(plainer(message))


def common_parser(*, previews: bool = False) -> argparse.ArgumentParser:
    """Return the parser of the options that all commands share.

    Args:
        previews: Whether the command can also show what it would write.
    """
    parser = OneLineParser(add_help=False, allow_abbrev=False, usage=argparse.SUPPRESS)
    group = parser.add_argument_group("options of every command")
    group.add_argument(
        "--output_dir",
        "--output-dir",
        metavar="FOLDER",
        help="the folder to write; it appears when all is done, until then the work is in <output_dir>.unfinished",
    )
    group.add_argument(
        "--overwrite", action="store_true", help="replace what an earlier run left in --output_dir, and start over"
    )
    group.add_argument(
        "--config", metavar="FILE", help="YAML file of settings; those of the command line replace them"
    )
    if previews:
        group.add_argument(
            "--dry_run", "--dry-run", action="store_true", help="show what would be written, and write nothing"
        )
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser

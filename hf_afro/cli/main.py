"""The `hf-afro` command: parses, hands over to one command, and turns its errors into one line and an exit code."""

from __future__ import annotations

import argparse
import difflib
import logging
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from hf_afro.cli import card, count, distill, evaluate, export, maft, prune, push, report, run
from hf_afro.cli.errors import describe, describe_failure, is_mistake
from hf_afro.cli.output import is_main_process
from hf_afro.version import __version__

# Every command module has DESCRIPTION (its first line is the summary), TAKES_SETTINGS, add_arguments and run.
COMMANDS: dict[str, ModuleType] = {
    "count": count,
    "prune": prune,
    "maft": maft,
    "distill": distill,
    "evaluate": evaluate,
    "report": report,
    "card": card,
    "export": export,
    "push": push,
    "run": run,
}

DESCRIPTION = """\
Make a multilingual encoder African, small and proven.

The way of the data: count the tokens your languages use, prune the vocabulary to them, adapt the model to your text
(MAFT), distil it into a small student. Every command reads folders and writes one folder, --output_dir.

  hf-afro count   --text texts --tokenizer FacebookAI/xlm-roberta-base --output_dir counts
  hf-afro prune   --model FacebookAI/xlm-roberta-base --counts counts --budget 70000 --output_dir pruned
  hf-afro maft    --model pruned --text texts --output_dir adapted
  hf-afro distill --teacher adapted --student layers=6,hidden_size=384 --text texts --output_dir student
  hf-afro evaluate --model student --task ner --data masakhaner1 --output_dir scores
  hf-afro report  scores/student scores/teacher --output_dir report
  hf-afro card    scores/student scores/teacher --output_dir card
  hf-afro export  student --to onnx --output_dir exported
  hf-afro push    student --repo_id ama/afro-mini --card card
  hf-afro run     quickstart
"""

MISTAKE, FAILURE, INTERRUPTED = 2, 1, 130


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line: the usage, which may fill a screen, is a `--help` away."""

    _words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, keeping the words so that an error can name the one that was misspelt."""
        self._words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        hints = [f"; {hint}" for hint in self.misspelt(self._words)] if "are required" in message else []
        self.exit(MISTAKE, f"{self.prog}: error: {message}{''.join(hints)}; see {self.prog} --help\n")

    def misspelt(self, words: Sequence[str]) -> list[str]:
        """Return, for each option among the words that is unknown but close to a known one, what was meant."""
        known = [name for name in self._option_string_actions if name.startswith("--")]
        unknown = [word.partition("=")[0] for word in words if word.startswith("--")]
        meant = {word: difflib.get_close_matches(word, known, n=1) for word in unknown if word not in known}
        return [f"{word} is unknown, the nearest is {near[0]}" for word, near in meant.items() if near]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; building it imports nothing heavy."""
    parser = OneLineParser(
        prog="hf-afro", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"hf-afro {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(
            name,
            help=command.DESCRIPTION.splitlines()[0],
            description=command.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            # A prefix of an option may be the full name of a setting that is passed on.
            allow_abbrev=False,
        )
        command.add_arguments(subparser)
        # A command that knows where to write says so in OUTPUT_DIR; all others are told.
        output_dir = getattr(command, "OUTPUT_DIR", "")
        until = "; until then the work is in <output_dir>.unfinished" if command.TAKES_SETTINGS else ""
        subparser.add_argument(
            "--output_dir",
            required=not output_dir,
            help=output_dir or f"the folder to write; made only once all is done{until}",
        )
        subparser.add_argument(
            "--overwrite",
            action="store_true",
            help="replace what an earlier run of hf-afro left in --output_dir, and begin from the start",
        )
        subparser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def command_parser(parser: argparse.ArgumentParser, name: str) -> OneLineParser:
    """Return the parser of one command."""
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices[name]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; those of the process by default.

    Returns:
        0 where all went well, 2 for a mistake in what was asked, 1 for a failure, 130 where it was interrupted,
        143 where it was told to end and left a checkpoint.
    """
    parser = build_parser()
    try:
        args, rest = parser.parse_known_args(argv)
        command = COMMANDS[args.command]
        if rest and not command.TAKES_SETTINGS:
            own = command_parser(parser, args.command)
            own.error(
                f"{args.command} does not know {' '.join(rest)}{''.join(f'; {hint}' for hint in own.misspelt(rest))}"
            )
    except SystemExit as leave:  # argparse leaves so after --help and --version, and after its errors
        return _code_of(leave)
    args.settings = rest
    _show_log()
    left = 0
    try:
        command.run(args)
    except SystemExit as leave:  # a trainer does, with a checkpoint saved, where it is told to by SIGTERM
        left = _code_of(leave)
    except KeyboardInterrupt as interruption:
        print(f"hf-afro {args.command}: interrupted{interruption}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        mistake = is_mistake(error)
        described = f"error: {describe(error, args.command)}" if mistake else f"failed: {describe_failure(error)}"
        hint = "" if mistake or args.debug else " (--debug shows where)"
        print(f"hf-afro {args.command}: {described}{hint}", file=sys.stderr)
        return MISTAKE if mistake else FAILURE
    _leave_process_group()
    return left


def _code_of(leave: SystemExit) -> int:
    """Return the exit code of what left: none is 0, as Python has it, and words are a failure, and are shown."""
    if leave.code is None or isinstance(leave.code, int):
        return leave.code or 0
    print(leave.code, file=sys.stderr)
    return FAILURE


def _show_log() -> None:
    """Show what the library logs, from the main process; of the other libraries warnings only."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("hf_afro").setLevel(logging.INFO if is_main_process() else logging.WARNING)
    # It tells of each attempt to reach the Hub, twice; that it could not be reached is told at the end, once.
    logging.getLogger("huggingface_hub.utils._http").setLevel(logging.ERROR)


def _leave_process_group() -> None:
    """Take down what several processes shared, where a trainer was used at all."""
    training = sys.modules.get("hf_afro.training")
    if training is not None:
        training.leave_process_group()


if __name__ == "__main__":
    sys.exit(main())

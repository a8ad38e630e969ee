"""The `hf-afro` command: the steps as commands, recipes, and errors as one line and an exit code."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence

from hf_afro.cli.errors import describe, describe_failure, is_mistake
from hf_afro.cli.options import common_parser
from hf_afro.messages import nearest
from hf_afro.steps import SUMMARIES, step_named
from hf_afro.version import __version__

RUN_SUMMARY = "Run a recipe: all steps from text to a small model, in one YAML file."
COMMANDS = {**SUMMARIES, "run": RUN_SUMMARY}
DESCRIPTION = """\
Make a multilingual encoder African, small and proven.

Count the tokens your languages use, prune the vocabulary to them, adapt the model to your text (MAFT), distil it into
a small student. Every command reads folders and writes one folder, --output_dir.

  hf-afro count    --text texts --tokenizer FacebookAI/xlm-roberta-base --output_dir counts
  hf-afro prune    --model FacebookAI/xlm-roberta-base --counts counts --budget 70000 --output_dir pruned
  hf-afro maft     --model pruned --text texts --output_dir adapted
  hf-afro distill  --teacher adapted --student layers=6,hidden_size=384 --text texts --output_dir student
  hf-afro evaluate student --tasks ner --data masakhaner1 --output_dir scores
  hf-afro report   scores/student scores/teacher --output_dir report
  hf-afro card     scores/student scores/teacher --output_dir card
  hf-afro export   student --to onnx --output_dir exported
  hf-afro push     student --repo_id ama/afro-mini --card card
  hf-afro run      quickstart
"""
MISTAKE, FAILURE, INTERRUPTED = 2, 1, 130


def overview() -> str:
    """Return what `hf-afro --help` prints; nothing heavy is imported for it."""
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name.ljust(width)}  {summary}" for name, summary in COMMANDS.items())
    return f"{DESCRIPTION}\nCommands, each with --help of its own:\n\n{lines}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; those of the process by default.

    Returns:
        0 on success, 2 for a mistake of the user, 1 for a failure and where `compare` finds something wrong, 130 after
        Ctrl-C, 143 after SIGTERM, once a checkpoint is saved.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return 0 if words else MISTAKE
    if words[0] == "--version":
        print(f"hf-afro {__version__}")
        return 0
    command, *rest = words
    if command not in COMMANDS:
        print(
            f"hf-afro: error: unknown command {command!r}; {nearest(command, COMMANDS, every=True)}", file=sys.stderr
        )
        return MISTAKE
    show_log()
    left = 0
    try:
        left = _run(command, rest)
    except SystemExit as leave:  # after --help, or after SIGTERM with a checkpoint saved
        left = _code_of(leave)
    except KeyboardInterrupt as interruption:
        print(f"hf-afro {command}: interrupted{interruption}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        debug = "--debug" in rest
        if debug:
            traceback.print_exc()
        mistake = is_mistake(error)
        described = f"error: {describe(error, command)}" if mistake else f"failed: {describe_failure(error)}"
        hint = "" if mistake or debug else " (--debug shows where)"
        print(f"hf-afro {command}: {described}{hint}", file=sys.stderr)
        return MISTAKE if mistake else FAILURE
    _leave_process_group()
    return left


def _run(command: str, words: list[str]) -> int:
    # A command imports what it needs, so that `hf-afro --help` answers at once.
    if command == "run":
        from hf_afro.cli.run import run

        run(words, common_parser())
        return 0
    from hf_afro.steps.parsing import StepParser, read_config
    from hf_afro.steps.running import check_inputs, run_step, say

    step = step_named(command)
    common = common_parser(previews=step.preview is not None)
    parser = StepParser(step, prog=f"hf-afro {command}", epilog=common.format_help())
    options, own = common.parse_known_args(words)
    config = parser.parse(own, () if options.config is None else read_config(options.config, parser))
    if step.preview is not None and options.dry_run:
        check_inputs(step, config)
        say(step.preview(config))
        return 0
    if options.output_dir is None:
        if step.needs_folder:
            raise ValueError("--output_dir is missing; expected the folder to write")
        check_inputs(step, config)
        outcome = step.run(config, None)
        if outcome.text:
            say(outcome.text)
        return outcome.exit_code
    finished = run_step(step, config, options.output_dir, overwrite=options.overwrite)
    if finished.text:
        say(finished.text)
    say(f"written to {options.output_dir}")
    return finished.exit_code


def _code_of(leave: SystemExit) -> int:
    """Return the exit code of a `SystemExit`: as in Python, none is 0, and text is printed and is a failure."""
    if leave.code is None or isinstance(leave.code, int):
        return leave.code or 0
    print(leave.code, file=sys.stderr)
    return FAILURE


def show_log() -> None:
    """Show the library's log, from the main process, and only warnings of other libraries."""
    from hf_afro.steps.running import is_main_process

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("hf_afro").setLevel(logging.INFO if is_main_process() else logging.WARNING)
    # It logs each attempt to reach the Hub, twice; the final error says once that the Hub could not be reached.
    logging.getLogger("huggingface_hub.utils._http").setLevel(logging.ERROR)


def _leave_process_group() -> None:
    """Leave the process group, if a trainer was used at all."""
    training = sys.modules.get("hf_afro.training")
    if training is not None:
        training.leave_process_group()


if __name__ == "__main__":
    sys.exit(main())

"""The step `push`: a model, an adapter or counts published on the Hub; shown first, sent only on request."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from transformers.hf_argparser import HfArg

from hf_afro.files import write_whole
from hf_afro.hub import PushReport, push
from hf_afro.messages import counted
from hf_afro.reports.tables import format_table
from hf_afro.steps.running import say
from hf_afro.steps.settings import Input, StepConfig
from hf_afro.steps.step import Outcome, Step

DESCRIPTION = """\
Publish a folder on the Hugging Face Hub, in one commit or not at all.

Without --yes nothing is sent: the command shows each file with its size, what is removed from it, what is skipped and
why, and the card. Weights are published as safetensors only. Checkpoints, optimizer states, logs and the trainer's
pickled arguments are skipped. Local paths are removed from JSON and refused elsewhere; tokens are refused everywhere.
After a failure, repeat the command: uploaded files are not sent again.

  hf-afro push student --repo_id ama/afro-mini --card card --private
  hf-afro push student --repo_id ama/afro-mini --card card --private --yes
  hf-afro push counts  --repo_id ama/counts --kind dataset --yes

Log in with `hf auth login`, or set HF_TOKEN; no option takes a token, since other users see a command's options.

Output: a commit on the Hub; with --output_dir also push.json, a list of what is sent.
"""
REPORT_FILE = "push.json"


@dataclass(frozen=True, kw_only=True)
class Config(StepConfig):
    """The folder to publish, and its repository."""

    # Read by `push` itself, which says what is wrong with it.
    folder: Annotated[str, Input("model", default=True, must_exist=False)] = HfArg(
        help="folder of a model or adapter, or with --kind dataset of other data"
    )
    repo_id: str = HfArg(help="the repository, OWNER/NAME; created if needed")
    kind: Literal["model", "dataset"] = HfArg(default="model", help="kind of the repository")
    yes: bool = HfArg(default=False, help="send it; without --yes, only show what would be sent")
    dry_run: bool = HfArg(default=False, help="only show what would be sent; the default")
    private: bool = HfArg(default=False, help="create the repository as private; by default the Hub decides")
    revision: str | None = HfArg(default=None, help="the branch; main by default, created if needed")
    pull_request: bool = HfArg(default=False, help="propose the commit as a pull request to main")
    tag: str | None = HfArg(default=None, help="a new tag for the commit, such as v1.0")
    message: str | None = HfArg(default=None, help="the message of the commit")
    replace: bool = HfArg(default=False, help="delete everything else in the repository")
    card: Annotated[str | None, Input("card", default=True)] = HfArg(
        default=None, help="a card to publish as README.md, or a folder that holds one"
    )
    base_model: str | None = HfArg(default=None, help="for an adapter: the name of its model on the Hub")

    def __post_init__(self) -> None:
        """Check settings against each other."""
        super().__post_init__()
        if self.yes and self.dry_run:
            raise ValueError("--yes sends and --dry_run does not; leave one of them out")


def run(config: Config, folder: Path | None) -> Outcome:
    """Show what would be sent, send it with `yes`, and write a list of it.

    Raises:
        NotADirectoryError: If there is no such folder.
        ValueError: If it cannot be published, or the Hub refuses it.
        RuntimeError: If the Hub or the connection to it failed.
    """
    report = send(config)
    if folder is not None:
        write_whole(folder / REPORT_FILE, json.dumps(report.as_dict(), indent=1, ensure_ascii=False) + "\n")
    return Outcome({"repository": report.repo_id, "url": report.url, "sent": config.yes})


def send(config: Config) -> PushReport:
    """Show a dry run, then push with `yes`."""
    settings: dict[str, Any] = {
        "kind": config.kind,
        "private": config.private or None,
        "revision": config.revision,
        "create_pr": config.pull_request,
        "tag": config.tag,
        "message": config.message,
        "replace": config.replace,
        "card": config.card,
        "base_model": config.base_model,
    }
    planned = push(config.folder, config.repo_id, dry_run=True, **settings)
    _show(planned, private=config.private)
    if not config.yes:
        say("\nNothing was sent. The same command with --yes sends it.")
        return planned
    report = push(config.folder, config.repo_id, **settings)
    for note in report.notes[len(planned.notes) :]:
        say(f"note: {note}")
    done = "published" if report.changed else "nothing has changed"
    say(f"\n{done}: {report.url}" + (f", tagged {report.tag}" if report.tag else ""))
    return report


def _show(planned: PushReport, *, private: bool) -> None:
    """Print what would be sent: files, sizes, what is removed, what is skipped, the card."""
    contents = planned.contents
    seen = "private, if it is new" if private else "public, unless it is private already or its owner's default is"
    say(f"{planned.kind} {planned.repo_id}, {planned.revision} ({seen}): {planned.url}\n")
    rows: list[list[object]] = [[file.path, file.size] for file in contents.files]
    say(format_table(["file", "bytes"], [*rows, [counted(len(rows), "file"), contents.size]]))
    for file in contents.files:
        for taken in file.taken_out:
            say(f"taken out of {file.path}: {taken}")
    for path, reason in contents.left_out.items():
        say(f"skipped: {path} ({reason})")
    for note in planned.notes:
        say(f"note: {note}")
    if contents.card is not None:
        say(f"\nthe card:\n\n{contents.card.rstrip()}")


STEP = Step(name="push", description=DESCRIPTION, config=Config, run=run, positional="folder", needs_folder=False)

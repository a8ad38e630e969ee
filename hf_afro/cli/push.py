"""`hf-afro push`: publish a model, an adapter or counts on the Hub; shown first, sent only with --yes."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from hf_afro.cli.inputs import check_inputs
from hf_afro.cli.output import finished_folder, say
from hf_afro.cli.table import format_table

if TYPE_CHECKING:
    from hf_afro.hub import PushReport

DESCRIPTION = """\
Publish a folder on the Hugging Face Hub, in one commit or not at all.

Without --yes nothing is sent: the command shows each file with its size, what is taken out of it, what is skipped and
why, and the card. Weights are published as safetensors only. Checkpoints, optimizer states, logs and the trainer's
pickled arguments are skipped. Local paths are taken out of JSON and refused elsewhere; tokens are refused
everywhere. After a failure repeat the command: files that were uploaded are not sent twice.

  hf-afro push student --repo_id ama/afro-mini --card card --private
  hf-afro push student --repo_id ama/afro-mini --card card --private --yes
  hf-afro push counts  --repo_id ama/counts --kind dataset --yes

Log in with `hf auth login`, or set HF_TOKEN; no option takes a token, since other users see a command's options.

What comes out: a commit on the Hub; with --output_dir also <output_dir>/push.json, a list of what is sent.
"""
TAKES_SETTINGS = False
OUTPUT_DIR = "a folder to write push.json to; without it nothing is written here"
REPORT_FILE = "push.json"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("folder", help="the folder of a model or adapter, or with --kind dataset of other data")
    parser.add_argument("--repo_id", required=True, metavar="OWNER/NAME", help="the repository; created if needed")
    parser.add_argument("--kind", choices=("model", "dataset"), default="model")
    sending = parser.add_mutually_exclusive_group()
    sending.add_argument("--yes", action="store_true", help="send it; without --yes, only show what would be sent")
    sending.add_argument("--dry-run", action="store_true", help="only show what would be sent; the default")
    parser.add_argument(
        "--private", action="store_true", help="create the repository as private; by default the Hub decides"
    )
    parser.add_argument("--revision", metavar="BRANCH", help="the branch; main by default, created if needed")
    parser.add_argument("--pull_request", action="store_true", help="propose the commit as a pull request to main")
    parser.add_argument("--tag", help="a new tag for the commit, such as v1.0")
    parser.add_argument("--message", help="the message of the commit")
    parser.add_argument("--replace", action="store_true", help="delete what else the repository holds")
    parser.add_argument("--card", metavar="FILE", help="a card to publish as README.md, or a folder that holds one")
    parser.add_argument("--base_model", metavar="NAME", help="for an adapter: the name of its model on the Hub")


def run(args: Namespace) -> None:
    """Show what is sent, and send it with --yes.

    Raises:
        NotADirectoryError: If there is no such folder.
        ValueError: If it cannot be published, or the Hub refuses it.
        RuntimeError: If the Hub or the way to it failed.
    """
    if args.output_dir is None:
        send(args)
        return
    check_inputs(args)
    with finished_folder(args) as folder:
        report = send(args)
        (folder / REPORT_FILE).write_text(json.dumps(report.as_dict(), indent=1, ensure_ascii=False) + "\n", "utf-8")


def send(args: Namespace) -> PushReport:
    """Show a dry run, then push with --yes."""
    from hf_afro.hub import push

    settings = {
        "kind": args.kind,
        "private": args.private or None,
        "revision": args.revision,
        "create_pr": args.pull_request,
        "tag": args.tag,
        "message": args.message,
        "replace": args.replace,
        "card": args.card,
        "base_model": args.base_model,
    }
    planned = push(args.folder, args.repo_id, dry_run=True, **settings)
    show(planned, private=args.private)
    if not args.yes:
        say("\nNothing was sent. The same command with --yes sends it.")
        return planned
    report = push(args.folder, args.repo_id, **settings)
    for note in report.notes[len(planned.notes) :]:
        say(f"note: {note}")
    done = "published" if report.changed else "nothing has changed"
    say(f"\n{done}: {report.url}" + (f", tagged {report.tag}" if report.tag else ""))
    return report


def show(planned: PushReport, *, private: bool) -> None:
    """Print what would be sent: files, sizes, what is taken out, what is skipped, the card."""
    contents = planned.contents
    seen = "private, if it is new" if private else "public, unless it is private already or its owner's default is"
    say(f"{planned.kind} {planned.repo_id}, {planned.revision} ({seen}): {planned.url}\n")
    rows: list[list[object]] = [[file.path, file.size] for file in contents.files]
    say(format_table(["file", "bytes"], [*rows, [f"{len(rows)} files", contents.size]]))
    for file in contents.files:
        for taken in file.taken_out:
            say(f"taken out of {file.path}: {taken}")
    for path, reason in contents.left_out.items():
        say(f"skipped: {path} ({reason})")
    for note in planned.notes:
        say(f"note: {note}")
    if contents.card is not None:
        say(f"\nthe card:\n\n{contents.card.rstrip()}")

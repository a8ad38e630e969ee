"""`push_to_hub` of the trainers, by way of `push`: no pickled arguments, no checkpoints, one commit or none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.hub.contents import CARD_FILE
from hf_afro.hub.pushing import PushReport, push

if TYPE_CHECKING:
    from transformers import Trainer

_OWN_TAG = "\n- hf_afro\n"


def name_repository(trainer: Trainer) -> None:
    """Note where a trainer publishes; unlike the Trainer's own it asks nobody, and makes no repository yet.

    Raises:
        ValueError: If the trainer is to publish while it trains, which sends checkpoints and pickled arguments.
    """
    args = trainer.args
    if args.push_to_hub and args.hub_strategy != "end":
        raise ValueError(
            f"hub_strategy={args.hub_strategy.value} sends checkpoints and the pickled arguments while training; set "
            "hub_strategy='end', and the model is published when it is saved at the end"
        )
    trainer.hub_model_id = args.hub_model_id or Path(args.output_dir).absolute().name
    trainer.push_in_progress = None


def push_trainer(
    trainer: Trainer,
    *,
    message: str | None,
    blocking: bool,
    token: str | None,
    revision: str | None,
    private: bool | None,
    **card: Any,
) -> PushReport | None:
    """Save a trainer's model and publish it; every process calls this, the main one publishes.

    A card that `hf-afro card` or a recipe has put into the folder is kept; else the Trainer writes its own.

    Args:
        trainer: With its arguments; `hub_token` is used and not published.
        message: What the commit says.
        blocking: Always true; the Trainer's argument.
        token: In place of `hub_token`.
        revision: In place of `hub_revision`.
        private: In place of `hub_private_repo`.
        **card: Passed to `create_model_card`.

    Returns:
        What was published; None on the other processes.

    Raises:
        ValueError: As `push`.
        PushFailed: As `push`.
    """
    if not blocking:
        raise ValueError("blocking=False would leave nobody to tell of what goes wrong; leave it out")
    args = trainer.args
    trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
    if trainer.hub_model_id is None:
        name_repository(trainer)
    # Without this word it would publish once more where args.push_to_hub is set, and so without end.
    trainer.save_model(_internal_call=True)
    if not trainer.is_world_process_zero():
        return None
    if not _has_own_card(Path(args.output_dir) / CARD_FILE):
        name = card.pop("model_name", None) or trainer.hub_model_id.rpartition("/")[2]
        trainer.create_model_card(model_name=name, **card)
    return push(
        args.output_dir,
        trainer.hub_model_id,
        message=message,
        token=token or args.hub_token,
        revision=revision or args.hub_revision,
        private=args.hub_private_repo if private is None else private,
    )


def _has_own_card(path: Path) -> bool:
    """Tell whether a folder has a card of ours; libraries write one of blanks beside what they save."""
    return path.is_file() and _OWN_TAG in path.read_text("utf-8")

"""Publish from a trainer: `push_to_hub` by way of `push`, so without checkpoints and pickled arguments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.hub.contents import CARD_FILE
from hf_afro.hub.pushing import PushReport, push

if TYPE_CHECKING:
    from transformers import Trainer


def name_repository(trainer: Trainer) -> None:
    """Note where a trainer publishes, in place of `init_hf_repo`, which creates the repository at once.

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
    """Save a trainer's model and publish it. Every process calls this; the main one publishes and gets a report.

    The settings are those of the Trainer's `push_to_hub`; `hub_token`, `hub_revision` and `hub_private_repo` of its
    arguments are the defaults. `card` is passed to `create_model_card`, unless the folder has a card by hf_afro.
    """
    if not blocking:
        raise ValueError("blocking=False is not supported: nobody would see an error; omit it")
    args = trainer.args
    trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
    if trainer.hub_model_id is None:
        name_repository(trainer)
    trainer.save_model(_internal_call=True)  # otherwise it publishes again, endlessly, if args.push_to_hub is set
    if not trainer.is_world_process_zero():
        return None
    own = Path(args.output_dir, CARD_FILE)
    if not own.is_file() or "\n- hf_afro\n" not in own.read_text("utf-8"):  # libraries write a template there
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

"""`accelerate launch -m labkit.scale …`: the run of `labkit sft` on several devices, through TRL's `SFTTrainer`.

The rows, their labels and their order are the kit's; TRL's trainer and accelerate do the rest: processes, gradients,
sharding as `accelerate config` says (on CPUs too, several processes need its option `--multi_gpu`). An update sees
`--batch-size` examples whatever the number of devices, so several give the weights of one up to rounding, and without
warmup those of `labkit sft`. Two things differ from it: TRL's first warmup step has rate 0, and where an epoch's last
batch is smaller, the next epoch fills it up.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit import sft
from labkit.common import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from labkit.training import Settings

COMMAND = "accelerate launch -m labkit.scale"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Writes to FOLDER what labkit sft writes, and TRL's checkpoints while it runs.\n\n"
        f"examples:\n  accelerate launch --num_processes 2 -m labkit.scale --model ./my-model --data mine.jsonl --out my-adapter\n"
        f"  {COMMAND} --model ./my-model --data mine.jsonl --method full --out my-model-2 --save-every 100"
    )
    sft.add_run_arguments(parser)
    add = parser.add_argument
    add("--per-device", type=int, metavar="N", help="examples a device takes at once (default: its share of a batch)")
    add("--save-every", type=int, metavar="STEPS", help="between checkpoints (default: none)")
    add("--resume", action="store_true", help="go on from the last checkpoint in FOLDER; give the same options")


def main(args: argparse.Namespace) -> int:
    import torch

    from labkit import models
    from labkit.training.saved import SavedRun

    try:
        from trl import SFTTrainer
    except ImportError:
        raise InputError("TRL is not installed; `pip install trl`, or this kit with its extra [scale]") from None
    if args.out is None:
        raise InputError("--out FOLDER is needed: where the adapter or the weights go")
    out = Path(args.out).expanduser()
    processes, rank, local = (
        int(os.environ.get(name, at)) for name, at in (("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", 0))
    )
    place, checkpoint = SavedRun(out, sft.asked(args), args.resume), last_checkpoint(out)
    if args.resume and place.is_new:
        raise InputError(f"{out}: holds no run to go on with; leave --resume out")
    if place.report is not None:
        if rank == 0:
            print(f"{out}: is finished")
        return 0
    args.accumulation, args.eval_every, args.number_format = 1, None, "auto"
    sft.settings_of(args, rows=1, width=1)  # checks them
    device = models.device()
    if device.type == "cuda":
        torch.cuda.set_device(local)
        device = torch.device("cuda", local)
    per_device, parts = share_of_batch(args.batch_size, processes, args.per_device)
    base, tokenizer = models.load(
        args.model or models.BASE, str(device), quantize="nf4" if args.method == "qlora" else None
    )
    prepared = sft.prepare(args, base, tokenizer)
    settings = sft.settings_of(args, len(prepared.rows), sft.width_of(base))
    model = sft.trainable(args, base)
    if rank == 0:
        for note in prepared.notes:
            print(f"labkit: {note}", file=sys.stderr)
        if checkpoint is not None:
            print(f"labkit: {out}: goes on after step {_step(checkpoint)}", file=sys.stderr)
        print(
            f"{args.method}: {len(prepared.rows):,} examples, {len(prepared.held_out):,} held out; {settings.steps:,} steps "
            f"of {settings.batch_size} = {processes} devices × {per_device} × {parts}, learning rate "
            f"{settings.lr:.2g}; {settings.dtype(device)} on {device.type}".replace("torch.", ""),
            flush=True,
        )
    trainer = SFTTrainer(
        model=model,
        args=_config(args, settings, out, per_device, parts, device.type, bool(prepared.validation)),
        train_dataset=_in_order(prepared.rows, settings),
        eval_dataset=_dataset(prepared.validation) if prepared.validation else None,
        processing_class=tokenizer,
    )
    trainer.accelerator.wait_for_everyone()  # all have seen the folder as it was
    if rank == 0:
        place.begin()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.save_model(str(out / "unfinished"))  # by all processes, because each may hold a part
    trainer.save_state()
    if trainer.is_world_process_zero():
        whole = models.load_tokenizer(args.model or models.BASE) if args.method == "full" else None
        _keep(out, whole)
        place.finish({"examples": len(prepared.rows), "held_out": len(prepared.held_out), "steps_done": settings.steps})
        print(
            f"{out}: adapter or weights, trainer_state.json; labkit diagnose {out / 'trainer_state.json'} reads the log"
        )
    trainer.accelerator.wait_for_everyone()
    return 0


def last_checkpoint(out: Path) -> Path | None:
    """The last checkpoint in a folder that is whole, or None; in each, TRL's trainer writes `trainer_state.json` last."""
    found = [path.parent for path in out.glob("checkpoint-*/trainer_state.json") if _step(path.parent) is not None]
    return max(found, key=lambda path: _step(path) or 0, default=None)


def _step(checkpoint: Path) -> int | None:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else None


def share_of_batch(batch_size: int, devices: int, per_device: int | None) -> tuple[int, int]:
    """(examples that a device takes at once, how many times for an update). Raises `InputError` unless they divide."""
    per_device = per_device or max(batch_size // devices, 1)
    if per_device < 0 or batch_size % (devices * per_device):
        raise InputError(
            f"a batch of {batch_size} is not {devices} devices × {per_device} examples × a whole number; choose another "
            "--batch-size or --per-device"
        )
    return per_device, batch_size // (devices * per_device)


def _config(
    args: argparse.Namespace, settings: Settings, out: Path, per_device: int, parts: int, device: str, evaluated: bool
) -> Any:
    import torch
    from trl import SFTConfig

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # an old name in TRL
        return SFTConfig(
            output_dir=str(out),
            max_steps=settings.steps,
            per_device_train_batch_size=per_device,
            per_device_eval_batch_size=per_device,
            gradient_accumulation_steps=parts,
            learning_rate=settings.lr,
            lr_scheduler_type=settings.schedule,
            warmup_steps=settings.warmup,  # below 1 it means a share
            weight_decay=settings.weight_decay,
            adam_beta1=settings.beta1,
            adam_beta2=settings.beta2,
            max_grad_norm=settings.clip or 0.0,
            seed=settings.seed,
            train_sampling_strategy="sequential",  # the rows lie in the order of `labkit sft`
            max_length=None,  # the rows are cut already
            gradient_checkpointing=False,  # TRL's default is True; `sft.trainable` has switched it on where it is asked for
            bf16=settings.dtype(device) == torch.bfloat16,
            use_cpu=device == "cpu",
            ddp_backend="gloo" if device == "cpu" and "WORLD_SIZE" in os.environ else None,
            dataloader_pin_memory=device == "cuda",
            logging_steps=1,
            eval_strategy="steps" if evaluated else "no",
            eval_steps=settings.eval_every,
            save_strategy="steps" if args.save_every else "no",
            save_steps=args.save_every or 500,
            save_total_limit=2,
            report_to="none",
        )


def _in_order(rows: list[dict], settings: Settings) -> Any:
    """A data set of the rows as `fit` takes them, epoch after epoch, each shuffled again."""
    from labkit.training import batches

    order = batches(len(rows), settings.batch_size, settings.steps, settings.seed)
    return _dataset([rows[index] for batch in order for index in batch])


def _dataset(rows: list[dict]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(rows)


def _keep(out: Path, tokenizer: PreTrainedTokenizerBase | None) -> None:
    """Move an adapter's files, or a model's with its tokenizer, into place.

    The config comes last: until then the folder is neither an adapter nor a model. TRL's `training_args.bin`, a pickle,
    and the tokenizer with its new padding are left out.
    """
    from labkit.models import ADAPTER_FILES

    fresh = out / "unfinished"
    if tokenizer is not None:
        tokenizer.save_pretrained(fresh)
    wanted = [file for file in fresh.iterdir() if tokenizer is not None or file.name in ADAPTER_FILES]
    for file in sorted(wanted, key=lambda file: file.name in ("adapter_config.json", "config.json")):
        if file.name != "training_args.bin":
            os.replace(file, out / file.name)
    shutil.rmtree(fresh)
    for checkpoint in out.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


if __name__ == "__main__":
    from labkit.cli import Parser

    parser = Parser(
        prog=COMMAND, description=__doc__.splitlines()[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    try:
        sys.exit(main(parser.parse_args()))
    except InputError as error:
        if os.environ.get("RANK", "0") == "0":
            print(f"labkit: {error}", file=sys.stderr)
        sys.exit(2)

"""The ledger: what the chapter claims, the verdict on each claim, and what this kit measured.

`measured` prints a verdict that is the same on every machine as long as a value lies in its interval. `claim` looks a claim up by id.
Recorded values stand in records/claims.json with the machine and the date; the table in the README is made from both. The claims are
told in our own words; where a claim needs a condition or a correction, that is a sentence of its own.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from labkit.data import InputError, write_atomically
from labkit.live import Line

RECORDED = Path(__file__).parent / "records" / "claims.json"
BEGIN, END = "<!-- ledger:begin -->", "<!-- ledger:end -->"
VERDICTS = (HOLDS, HOLDS_IF, CORRECTED) = ("holds", "holds if", "corrected")


@dataclass(frozen=True)
class Claim:
    """One claim: `rest` completes the verdict (the condition, or what is right instead); it is empty where the claim holds."""

    id: str
    lab: str
    statement: str
    verdict: str
    rest: str = ""


@dataclass(frozen=True)
class Measurement:
    """What was recorded for a claim: a value, the interval it may lie in, and where and when it was measured."""

    name: str
    value: float
    low: float
    high: float
    machine: str
    date: str
    source: str  # the run or cell it comes from


CLAIMS = {
    claim.id: claim
    for claim in (
        Claim("C01", "01", "The quality of the data counts for more than its quantity", HOLDS_IF,
              "the faults are systematic: greedy decoding hides errors that a majority outvotes"),
        Claim("C02", "01", "Leading labs throw about 99% of their data away", CORRECTED,
              "no lab has published that; the nearest open figure is DCLM, which dropped 98.4% of a 240T-token pool (arXiv 2406.11794)"),
        Claim("C03", "01", "Fine-tuning data are pairs of input and target; where reasoning is taught, a chain of thought precedes the answer", HOLDS),
        Claim("C04", "01", "Random splits leak near-duplicates into the test set and inflate the score", HOLDS),
        Claim("C05", "01", "Splitting by time measures real generalization", HOLDS_IF,
              "near-duplicates are clustered first, so that no repost lies on both sides; drift comes on top"),
        Claim("C06", "01", "An out-of-distribution set is held out always", HOLDS),
        Claim("C07", "01", "A test set for reinforcement learning is graded by another reward than training used", HOLDS),
        Claim("C08", "01", "The pipeline is exact hash, then MinHash LSH, then review by hand", CORRECTED,
              "candidates must also be verified and clustered; LSH's threshold is no cut-off, and paraphrases escape it"),
        Claim("C09", "02", "Models see tokens, which are mapped to vectors", HOLDS),
        Claim("C10", "02", "Byte-pair encoding merges the most frequent pair, typically up to some 50,000 pieces", HOLDS_IF,
              "training is meant: encoding applies the merge of lowest rank; newer vocabularies have 100,000 to 200,000 pieces"),
        Claim("C11", "02", "Compression is uneven: a rare word costs more tokens", HOLDS),
        Claim("C12", "02", "The rows of a batch are padded to one length", HOLDS),
        Claim("C13", "02", "A tokenizer that does not belong to the model goes unnoticed", HOLDS_IF,
              "its ids fit the embedding table; otherwise there is an IndexError"),
        Claim("C14", "03", "The loss of a token is −ln p: 0.11 nats at p = 0.9, 0.69 at 0.5, 2.30 at 0.1, 4.61 at 0.01", HOLDS),
        Claim("C15", "03", "Tokens of low confidence are penalized exponentially", CORRECTED,
              "the loss grows with the logarithm of 1/p, without bound"),
        Claim("C16", "03", "Going from p = 0.1 to 0.5 saves 1.61 nats, from 0.5 to 0.9 only 0.59", HOLDS),
        Claim("C17", "03", "The gradient on a logit is its probability, less 1 for the right token", HOLDS_IF,
              "one token is meant: a mean loss divides it by the number of unmasked tokens"),
        Claim("C18", "03", "At p = 0.8 the loss is 0.22 nats and the gradient on the right logit −0.2", HOLDS),
        Claim("C19", "03", "A token at p = 0.5 has a larger gradient than one at 0.8; the worst tokens dominate", HOLDS_IF,
              "single tokens are compared: many easy tokens may weigh more together"),
        Claim("C20", "03", "The update scales itself with the error", HOLDS),
        Claim("C21", "04", "Loss is taken on the completion only, in TRL through completion_only_loss", HOLDS_IF,
              "the data are prompt and completion: plain text and messages are trained on whole"),
        Claim("C22", "04", "The prompt is about 80% of an instruction example", HOLDS_IF, "the data are like that: it is a property of the set"),
        Claim("C23", "04", "Without a mask about 80% of the update goes to the prompt", CORRECTED,
              "that is its share of the tokens; its share of the gradient is another number"),
        Claim("C24", "04", "Masking the prompt is better", HOLDS_IF,
              "outputs are not short beside long prompts, and examples not few (Instruction Tuning With Loss Over Instructions, 2024)"),
        Claim("C25", "04", "Data with worked examples in the prompt may want a partial mask", HOLDS),
        Claim("C26", "04", "Teacher forcing gives the loss of every position in one parallel pass", HOLDS),
        Claim("C27", "04", "Supervised fine-tuning is orders of magnitude faster than sequential rollouts", HOLDS_IF,
              "completions are long: the ratio grows with their length"),
        Claim("C28", "05", "The learning rate is the setting that matters most", HOLDS_IF, "batch size and epochs are varied within a sensible range"),
        Claim("C29", "05", "AdamW is started at a learning rate of 5e-5", CORRECTED,
              "that is an old default of the libraries; the best rate falls with model size and is higher for LoRA"),
        Claim("C30", "05", "Warmup over the first 5 to 10% protects randomly initialized parameters", CORRECTED,
              "the practice holds, the reason does not: what is young is Adam's estimate of the second moment"),
        Claim("C31", "05", "After warmup the learning rate decays along a cosine toward zero", HOLDS_IF, "it is taken as a convention: other decays work too"),
        Claim("C32", "05", "A loss that turns NaN means too high a learning rate", HOLDS_IF,
              "fp16 overflow and batches without an unmasked token are ruled out"),
        Claim("C33", "05", "A loss that is flat from the start means too low a learning rate or a fault in the data", HOLDS_IF,
              "masked-out labels and frozen parameters are ruled out: look at the gradient norm and the unmasked tokens"),
        Claim("C34", "05", "Training loss that falls while validation loss rises is overfitting", HOLDS),
        Claim("C35", "05", "Both losses on a high plateau are underfitting", HOLDS),
        Claim("C36", "05", "Spikes in mid-run come from corrupted batches", HOLDS_IF, "the learning rate and Adam's β₂ are ruled out"),
        Claim("C37", "05", "An oscillating loss means too high a learning rate or too small a batch", HOLDS),
        Claim("C38", "05", "Batch sizes are powers of two", CORRECTED, "modern hardware needs none"),
        Claim("C39", "05", "Half the batch with twice the accumulation gives the identical gradient", HOLDS_IF,
              "the sum is divided by all unmasked tokens; a mean of means is another gradient where lengths differ"),
        Claim("C40", "05", "Seed every source of randomness and report 3 to 5 seeds", HOLDS),
        Claim("C41", "06", "What full fine-tuning changes in a weight matrix has low rank", HOLDS_IF, "it is read off the singular values, layer by layer"),
        Claim("C42", "06", "A LoRA layer computes Wx + (α/r)·BAx", HOLDS),
        Claim("C43", "06", "α/r is the knob: a higher rank at the same α halves the adaptation", CORRECTED,
              "at the start Adam's first step depends on α times the learning rate, and hardly on the rank"),
        Claim("C44", "06", "On a 4096 × 4096 matrix rank 8 has 65,536 parameters, 0.39%", HOLDS),
        Claim("C45", "06", "A 1.2B model with rank 8 on Q and V trains 1,572,864 parameters, 0.13%", CORRECTED,
              "PEFT prints 851,968 of 1,236,666,368 for Llama-3.2-1B, 0.0689%"),
        Claim("C46", "06", "LoRA wants about ten times the learning rate of full fine-tuning", HOLDS_IF, "each is taken at its own best rate"),
        Claim("C47", "06", "B starts at zero, so nothing is disturbed; merged, the adapter costs nothing", HOLDS),
        Claim("C48", "06", "LoRA trains about 0.1% of the parameters", HOLDS_IF, "the model is wide: the share falls as one over the width"),
        Claim("C49", "06", "Start with Q and V, and take all linear layers if needed", HOLDS_IF,
              "it is a first try: at equal parameters all layers usually do better"),
        Claim("C50", "07", "A base in NF4 needs a quarter of the memory, at a slight cost in quality", CORRECTED,
              "4.5 bits a weight (4.127 with double quantization) on the linear layers only; whole models shrink 2.2 to 3.5 times"),
        Claim("C51", "07", "A 7B model needs about 60 GB for full fine-tuning, 16 GB for LoRA, 6 GB for QLoRA", HOLDS_IF,
              "Adam runs in pure bf16; with fp32 master weights full fine-tuning takes 108 GB before activations"),
        Claim("C52", "07", "Over 80 GB means full fine-tuning, 16 to 24 GB LoRA, less QLoRA, many tasks hot-swapped adapters", HOLDS_IF,
              "the model has about 7B parameters; for another size the planner decides"),
        Claim("C53", "07", "Adapters are swapped on one base while it runs", HOLDS),
        Claim("C54", "06", "Fine-tuning forgets; LoRA, mixed data and few epochs soften that", HOLDS_IF,
              "it is measured: the loss on the base's own text before and after"),
        Claim("C55", "00", "Supervised fine-tuning imitates: it draws out what the base knows, faults included, and adds hardly any knowledge", HOLDS),
    )
}  # fmt: skip


def measured(name: str, value: float, low: float, high: float) -> None:
    """Print whether a measured value lies in its interval, ends included.

    Within, the line names the interval and not the value, so it is the same on every machine; the value itself is shown in the live
    page only. Outside, the line says by how much.
    """
    if not low <= high:
        raise InputError(f"{name}: the interval goes from {low} to {high}; give the lower end first")
    value = float(value)
    span = _span(low, high)
    if low <= value <= high:
        print(f"{name}: within {span}, as recorded")
        Line().show(f"{name}: {value:.4g} here")
    elif math.isnan(value):
        print(f"{name}: NaN, no number, so outside {span}")
    else:
        beyond, side = (low - value, "below") if value < low else (value - high, "above")
        print(f"{name}: {value:.6g}, outside {span}: {beyond:.2g} {side} it")


def claim(id: str, measured: float | None = None) -> None:
    """Print a claim with its verdict, and what was recorded for it or, if given, what was `measured` here."""
    if id not in CLAIMS:
        raise InputError(f"there is no claim {id!r}; they go from {min(CLAIMS)} to {max(CLAIMS)}")
    looked_up = CLAIMS[id]
    print(f"{id}: {looked_up.statement}. {_verdict(looked_up)}.")
    record = recorded().get(id)
    if measured is None:
        print(f"  {_where(looked_up, record)}")
    elif record is None:
        print("  measured here; nothing is recorded yet to hold it against")
        Line().show(f"{id}: {float(measured):.4g} here")
    else:
        globals()["measured"](f"  {record.name}", measured, record.low, record.high)


def recorded(path: Path | None = None) -> dict[str, Measurement]:
    """What is recorded, by claim."""
    path = path or RECORDED
    if not path.is_file():
        return {}
    return {id: Measurement(**values) for id, values in json.loads(path.read_text(encoding="utf-8")).items()}


def record(id: str, name: str, value: float, low: float, high: float, source: str, path: Path | None = None) -> None:
    """Record what was measured for a claim, with this machine and today's date. The value must lie in its interval."""
    from labkit.runs import machine

    if id not in CLAIMS:
        raise InputError(f"there is no claim {id!r}; they go from {min(CLAIMS)} to {max(CLAIMS)}")
    if not (low <= value <= high and math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{id}: {value} does not lie between {low} and {high}; the interval must come from the recorded seeds")
    values = recorded(path)
    values[id] = Measurement(name, value, low, high, machine(), datetime.now(timezone.utc).date().isoformat(), source)
    with write_atomically(path or RECORDED) as file:
        json.dump({key: asdict(values[key]) for key in sorted(values)}, file, ensure_ascii=False, indent=1)
        file.write("\n")


def table(path: Path | None = None) -> str:
    """The ledger as a Markdown table. A value stands there only where one is recorded; else the lab that will measure it."""
    values = recorded(path)
    lines = ["| id | claim | verdict | lab | measured here |", "|---|---|---|---|---|"]
    for id, each in CLAIMS.items():
        cells = (id, each.statement, _verdict(each), each.lab, _where(each, values.get(id)))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def write_table(target: Path, path: Path | None = None) -> bool:
    """Put the table between the ledger's marks in a file; returns whether that changed it."""
    try:
        text = target.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{target}: cannot be read ({error}); name a Markdown file") from None
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(f"{target}: needs one line {BEGIN} and after it one line {END}; the table goes between them")
    written = f"{text[: text.index(BEGIN)]}{BEGIN}\n{table(path)}\n{text[text.index(END) :]}"
    if written != text:
        with write_atomically(target) as file:
            file.write(written)
    return written != text


def _verdict(looked_up: Claim) -> str:
    if looked_up.verdict == HOLDS:
        return "Holds"
    return f"Holds if {looked_up.rest}" if looked_up.verdict == HOLDS_IF else f"Corrected: {looked_up.rest}"


def _where(looked_up: Claim, record: Measurement | None) -> str:
    if record is None:
        return f"not yet; in lab {looked_up.lab}"
    return f"{record.name}: {record.value:.4g} (within {_span(record.low, record.high)}), {record.date}, {record.machine}"


def _span(low: float, high: float) -> str:
    """An interval with as many decimals as its ends need, at most four: 0.93–1.00."""
    decimals = max(len(f"{end:.4f}".rstrip("0").partition(".")[2]) for end in (low, high))
    return f"{low:.{decimals}f}–{high:.{decimals}f}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "examples:\n  labkit claims table --write README.md\n  labkit claims show C45"
    actions = parser.add_subparsers(dest="action", required=True, metavar="table | show ID")
    whole = actions.add_parser("table", help="the whole ledger as a Markdown table")
    whole.add_argument("--write", metavar="FILE.md", type=Path, help=f"put it between {BEGIN} and {END} in this file")
    one = actions.add_parser("show", help="one claim, its verdict, and what was recorded")
    one.add_argument("id", metavar="ID")
    for action in (whole, one):
        action.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def main(args: argparse.Namespace) -> int:
    values = recorded()
    if args.action == "show":
        chosen = [args.id.upper()]
        claim(chosen[0])
    else:
        chosen = list(CLAIMS)
        if args.write is None:
            print(table())
        else:
            print(f"{args.write}: {'the ledger is written' if write_table(args.write) else 'the ledger is up to date'}")
    if args.json:
        rows = {id: asdict(CLAIMS[id]) | {"measured": asdict(values[id]) if id in values else None} for id in chosen}
        print(json.dumps(rows, ensure_ascii=False))
    return 0

"""Models: loading them quietly, adapters, writing text in batches, and scoring it by exact match.

Any model folder or hub name can take the place of the kit's own base. Training is in `training`.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch

from labkit import quantization
from labkit.common import InputError
from labkit.data import Example, exact_answer
from labkit.masking import IGNORED, Rendered, closing_token, collate, end_ids, prompt_ids, render, turn_end
from labkit.tokenization import matches

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    Model: TypeAlias = PreTrainedModel | PeftModel

BASE = Path(__file__).parent / "almanac" / "base"
MOVES_ALL = "LABKIT_DEVICE"  # the environment variable that names the device of every model
MODEL_WANTED = "name a folder that save_pretrained wrote, or a model of the hub"


@dataclass(frozen=True)
class Score:
    """Exact match over `n` questions, with its 95% Wilson interval; overall and for each task."""

    n: int
    correct: int
    share: float
    low: float
    high: float
    cot: float = math.nan  # share whose whole completion is right, chain of thought included
    stopped: float = math.nan  # share that wrote the end token, within the tokens it was given
    tokens: float = math.nan  # tokens written, on average, the end token included
    by_task: dict[str, Score] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)  # in the order of the examples


def device(name: str = "auto") -> torch.device:
    """The device by that name; `auto` takes CUDA, else mps (Apple), else the CPU. `InputError` if there is none.

    The environment variable `LABKIT_DEVICE` takes the place of every name: it moves the labs, which name the CPU, to a
    GPU.
    """
    instead = os.environ.get(MOVES_ALL)
    name = instead or name
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    kind, _, number = name.partition(":")
    if not available.get(kind) or not (name == kind or number.isdecimal()):
        there = ", ".join(kind for kind, here in available.items() if here)
        whose = f"{MOVES_ALL} is {name!r}: " if instead else ""
        raise InputError(f"{whose}there is no device {name!r} here; choose auto or one of {there}")
    return torch.device(name)


_device_named = device  # `load` has an argument of that name


def load(
    name_or_folder: str | Path = BASE,
    device: str = "auto",
    adapter: str | Path | None = None,
    quantize: str | None = None,
    double: bool = True,
) -> tuple[Model, PreTrainedTokenizerBase]:
    """(model, tokenizer) in float32 and evaluation mode, from a folder (offline) or the hub, with an adapter if one
    is named.

    With `quantize="nf4"` the linear layers but the output layer are bitsandbytes' `Linear4bit`: their weights in NF4,
    with double quantization unless `double` is False, multiplied in float32; only an adapter can train them.

    Beside a GPU the model moves what it is called with there, so a cell needs no `.to(device)`.

    Raises `InputError` if it is not a model, lacks weights, or its tokenizer has ids without an embedding in the model,
    or ids that differ from those of the tokenizer that was saved with the adapter; and, for NF4, without bitsandbytes,
    or for a model whose weights it does not read back correctly.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = Path(name_or_folder).expanduser()
    is_folder = os.path.isdir(place)
    if is_folder:
        name_or_folder = place
        if not (place / "config.json").is_file():
            raise InputError(f"{place}: is not a model, because it has no config.json; {_wanted(place)}")
    elif os.path.exists(place) or isinstance(name_or_folder, Path) or name_or_folder.startswith((".", "/", "~")):
        raise InputError(f"{name_or_folder}: is not a model folder; {MODEL_WANTED}")
    target = _device_named(device)
    more = {} if quantize is None else _four_bits(quantize, double, target)
    with _quiet():
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name_or_folder, dtype=torch.float32, local_files_only=is_folder, output_loading_info=True, **more
            )
            model, info = loaded
            tokenizer = AutoTokenizer.from_pretrained(name_or_folder, local_files_only=is_folder)
        except Exception as error:  # transformers raises many kinds for a folder or name it cannot use
            raise InputError(
                f"{name_or_folder}: no model and tokenizer that transformers can load ({_reason(error)}); {MODEL_WANTED}"
            ) from None
    if info["missing_keys"]:
        first = sorted(info["missing_keys"])[0]
        raise InputError(
            f"{name_or_folder}: {len(info['missing_keys'])} weights are missing, such as {first}; fetch the model again"
        )
    try:
        check_tokenizer(tokenizer, model)
        if quantize is not None:
            _keep_sound(model)
    except InputError as error:
        raise InputError(f"{name_or_folder}: {error}") from None
    if tokenizer.pad_token_id is None:  # any token will do: padding is masked by position
        tokenizer.pad_token_id = next(iter(end_ids(tokenizer, model.generation_config)), 0)
    base = model
    if adapter is not None:
        folder = Path(adapter).expanduser()
        if (
            folder / "tokenizer.json"
        ).is_file():  # as many trainers save it; a tokenizer with one token more is accepted
            saved = load_tokenizer(folder).get_vocab()
            check_tokenizer(tokenizer, model, saved if len(saved) == len(tokenizer) else None)
        model = _load_adapter(model, folder)
    model.to(target).eval()
    for each in {base, model}:
        _fetch_inputs(each)
    return model, tokenizer


def _fetch_inputs(model: Model) -> None:
    """From now on the model moves what it is called with to its own device, if that is not the CPU."""
    if next(model.parameters()).device.type != "cpu":
        model.register_forward_pre_hook(_fetch, with_kwargs=True)


def _fetch(model: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    place = next(model.parameters()).device
    ids = kwargs.get("input_ids")
    if ids is not None and ids.device != place and ids.numel():
        rows = _embedding_table(model).shape[0]
        if not 0 <= int(ids.min()) <= int(ids.max()) < rows:  # on a GPU this would end the whole process
            raise IndexError("index out of range in self")

    def there(value: Any) -> Any:
        return value.to(place) if isinstance(value, torch.Tensor) else value

    return tuple(map(there, args)), {name: there(value) for name, value in kwargs.items()}


def settle(model: torch.nn.Module) -> None:
    """Wait until the model's device has done all that it was given: a GPU computes while Python goes on."""
    kind = next(model.parameters()).device.type
    if kind in ("cuda", "mps"):
        getattr(torch, kind).synchronize()


def _wanted(place: Path) -> str:
    if (place / "adapter_config.json").is_file():
        return "this is an adapter: name the model that it was trained on"
    return MODEL_WANTED


def _four_bits(quantize: str, double: bool, target: torch.device) -> dict:
    """What `from_pretrained` is given so that linear layers are loaded in four bits."""
    from transformers import BitsAndBytesConfig

    if quantize != "nf4":
        raise InputError(f"quantize is {quantize!r}: choose nf4, or None for float32")
    with _quiet():  # it has a notice for some processors
        try:
            import bitsandbytes  # noqa: F401
        except ImportError:
            raise InputError("NF4 needs bitsandbytes, which is not installed; `pip install bitsandbytes`") from None
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=torch.float32,
    )
    return {"quantization_config": config, "device_map": {"": str(target)}}


def _keep_sound(model: torch.nn.Module) -> None:
    """Keep a model in four bits from what bitsandbytes (0.50) does on a CPU without a word.

    With AVX512-BF16 the first evaluation packs the weights anew, rounds their scales, and from then on multiplies by a
    function without a gradient, in training too: layers before it learn from a part of theirs. That way is closed here.
    With AVX512, weights are read back with another block's scale where a row is not a whole number of blocks. Such a
    model raises `InputError`.
    """
    for name, module in model.named_modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is None:
            continue
        module.support_avx512bf16_for_cpu = False
        if module.weight.device.type == "cpu" and state.shape[-1] % state.blocksize:
            raise InputError(
                f"{name} has rows of {state.shape[-1]} weights, which are not whole blocks of {state.blocksize}: on a "
                "CPU bitsandbytes reads them back wrongly; load it without quantize, or on a GPU"
            )


def keep_bits(model: Model, bits: int, block: int = 64) -> None:
    """Replace the weights of the linear layers but the output layer by what NormalFloat of so many bits keeps of them,
    in place; they stay in float32. With 4 bits it is NF4 without double quantization.
    """
    levels = quantization.levels(bits)
    with torch.no_grad():
        for layer in map(model.get_submodule, _linear_layers(model)):
            if layer is cast(Any, model).get_output_embeddings():
                continue
            weight = cast(torch.nn.Linear, layer).weight
            kept = quantization.quantize(weight.cpu().numpy(), levels, block)
            weight.copy_(torch.from_numpy(quantization.dequantize(*kept, levels, block)))


def load_tokenizer(name_or_folder: str | Path = BASE) -> PreTrainedTokenizerBase:
    """A model's tokenizer alone, from a folder (offline) or the hub. Raises `InputError` if there is none to load."""
    from transformers import AutoTokenizer

    place = Path(name_or_folder).expanduser()
    is_folder = place.is_dir()
    with _quiet():
        try:
            return AutoTokenizer.from_pretrained(place if is_folder else name_or_folder, local_files_only=is_folder)
        except Exception as error:  # transformers raises many kinds for a folder or name it cannot use
            raise InputError(
                f"{name_or_folder}: no tokenizer that transformers can load ({_reason(error)}); {_wanted(place)}"
            ) from None


@dataclass(frozen=True)
class Conventions:
    """What a model's folder says about rows and generation, without its weights."""

    tokenizer: PreTrainedTokenizerBase
    ends: tuple[int, ...]  # `masking.end_ids`
    context: int | None  # tokens; None where the config names no limit


def conventions(name_or_folder: str | Path = BASE) -> Conventions:
    """A model's tokenizer, end tokens and context; for a folder without a config, those of the tokenizer.

    Raises `InputError` if there is no tokenizer to load.
    """
    from transformers import AutoConfig, GenerationConfig

    tokenizer = load_tokenizer(name_or_folder)
    place = Path(name_or_folder).expanduser()
    is_folder = place.is_dir()
    found: dict[str, object] = {}
    with _quiet():
        for name, kind in (("config", AutoConfig), ("writing", GenerationConfig)):
            with contextlib.suppress(Exception):  # there may be none, or one that transformers does not know
                found[name] = kind.from_pretrained(place if is_folder else name_or_folder, local_files_only=is_folder)
    config = found.get("config")
    return Conventions(tokenizer, end_ids(tokenizer, found.get("writing", config)), context_length(config))


def context_length(config: Any) -> int | None:
    """The most tokens that a model takes, according to its config; None for models without a limit, such as Mamba."""
    found = getattr(config and config.get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def stop_where_rows_end(model: Model, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Rendered]) -> str | None:
    """If no row ends with a token that the model stops at, make it stop at the token that the rows do end with.

    Returns a message to show before training, or None. Only the loaded model's `generation_config` changes. Raises
    `InputError` if neither model nor tokenizer has an end token.
    """
    ends = end_ids(tokenizer, model.generation_config)
    if not ends:
        raise InputError(
            "neither the tokenizer nor the model has an end token, so nothing can teach it to stop; set eos_token (and "
            "pad_token) in the tokenizer's tokenizer_config.json"
        )
    if any(turn_end(row.input_ids, ends, row.prompt_length) is not None for row in rows):
        return None
    stops = ", ".join(map(repr, tokenizer.convert_ids_to_tokens(list(ends))))
    token = closing_token(rows[0], tokenizer)
    if token is None:
        return f"no row holds an end token ({stops}), so the model never learns to stop; fix the chat template"
    model.generation_config.eos_token_id = [*ends, token]
    name = tokenizer.convert_ids_to_tokens(token)
    return (
        f"the chat template ends a turn with {name!r}, and the end token is {stops}, which no row holds: the model will "
        f"not stop by itself. Scored here as if it stopped at {name!r}; wherever you use it, set eos_token to that"
    )


def check_tokenizer(
    tokenizer: PreTrainedTokenizerBase, model: Model, vocabulary: Mapping[str, int] | None = None
) -> None:
    """Raise `InputError` if the tokenizer has ids beyond the rows of the embedding table (spare rows are fine).

    With the `vocabulary` that was saved with the model, {token: id}, also if a token has a different id there.
    """
    rows = _embedding_table(model).shape[0]
    token, highest = max(tokenizer.get_vocab().items(), key=lambda item: item[1], default=("", -1))
    if highest < 0:
        raise InputError("the tokenizer is empty; take the one that was saved with the model")
    if highest >= rows:
        raise InputError(
            f"the tokenizer does not fit the model: {token!r} has id {highest}, the embedding table only {rows} rows; "
            "take the tokenizer that was saved with the model"
        )
    if vocabulary is None:
        return
    _, other = matches(tokenizer.get_vocab(), dict(vocabulary), rows)
    if other is not None:
        here, there = (ids.get(other, "none") for ids in (tokenizer.get_vocab(), vocabulary))
        raise InputError(
            f"the tokenizer is not the model's: {other!r} has id {here} in it and id {there} in the one that was saved "
            "with the model; use that one"
        )


def add_lora(
    model: Model,
    rank: int = 16,
    alpha: float = 32,
    target_modules: str | Sequence[str] = "all-linear",
    seed: int = 0,
    **options: Any,
) -> PeftModel:
    """The model with a LoRA adapter (Hu et al. 2021) through PEFT, whose A is drawn on the CPU from `seed` and whose
    B is 0.

    `target_modules` is `all-linear`, a list of layer names, or those names joined by commas. The model's own weights
    are frozen. `options` are more of PEFT's `LoraConfig`, such as `use_rslora=True`; with another kind of
    `init_lora_weights`, A and B are what PEFT makes them.
    """
    with _quiet():  # bitsandbytes, which peft imports, has a notice for some processors
        from peft import LoraConfig, get_peft_model

    if rank < 1 or not (math.isfinite(alpha) and alpha > 0):
        raise InputError(f"rank is {rank} and alpha {alpha}: give an integer rank of at least 1 and an alpha above 0")
    if target_modules != "all-linear":
        names = target_modules.split(",") if isinstance(target_modules, str) else target_modules
        target_modules = [name.strip() for name in names if name.strip()]
        _check_target_modules(model, target_modules)
    elif "mamba" in str(
        model.config.model_type
    ):  # whose kernels read these weights without the adapter, according to peft
        target_modules = sorted({name.rpartition(".")[2] for name in _linear_layers(model)} - {"out_proj", "lm_head"})
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # PEFT says a whole number, and takes any
        target_modules=target_modules,
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
        **options,
    )
    with _quiet():
        try:
            adapted = get_peft_model(model, config)
        except ValueError as error:  # layers that peft does not adapt
            raise InputError(
                f"peft cannot make an adapter for this model: {_reason(error)}; name other target modules"
            ) from None
    _fetch_inputs(adapted)
    if config.init_lora_weights is not True:
        return adapted
    draw = torch.Generator().manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if ".lora_A." in name:
            drawn = torch.empty(parameter.shape, dtype=torch.float32)
            torch.nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=draw)
            parameter.data.copy_(drawn)
    return adapted


def recompute_activations(model: Model) -> None:
    """Gradient checkpointing: only each layer's input is kept, and the rest computed again in the backward pass
    (Chen et al. 2016). Raises `InputError` for a model without it.
    """
    whole: Any = model
    if not getattr(whole, "supports_gradient_checkpointing", False):
        raise InputError(
            f"models of type {model.config.model_type} have no gradient checkpointing; leave the option out"
        )
    enable = getattr(whole, "activation_checkpointing_enable", None) or whole.gradient_checkpointing_enable
    with _quiet():
        enable({"use_reentrant": False})
    model.config.use_cache = False  # of use only in generation, which turns it on again


def forget_token(model: Model, token: int, seed: int) -> None:
    """Draw a token's row of the embedding table at random, with the median length of a row: the model then knows
    nothing about the token.

    If input and output share the table, as in the kit's base, the model also does not know when to write it.
    """
    table = _embedding_table(model).data
    drawn = torch.randn(table.shape[1], generator=torch.Generator().manual_seed(seed))
    table[token] = (drawn / drawn.norm() * table.norm(dim=1).median().cpu()).to(table)


def _embedding_table(model: Model) -> torch.Tensor:
    """The rows that the ids name, (rows, hidden)."""
    return cast(torch.nn.Embedding, model.get_input_embeddings()).weight


def count_parameters(model: torch.nn.Module) -> tuple[int, int]:
    """(trainable, total) numbers in the model, an adapter's included; tied weights count once.

    Of a weight in four bits, the numbers it stands for, and not its bytes.
    """
    trainable = total = 0
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        size = parameter.numel() if state is None else state.shape.numel()
        total += size
        trainable += size * parameter.requires_grad
    return trainable, total


ADAPTER_FILES = {"adapter_config.json", "adapter_model.safetensors", "README.md"}


def check_adapter_folder(folder: str | Path, allowed: Collection[str] = ADAPTER_FILES) -> None:
    """Raise `InputError` if an adapter cannot be written there, or must not be, because the folder holds other things
    than those allowed.
    """
    folder = Path(folder).expanduser()
    there = next(place for place in folder.absolute().parents if place.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise InputError(f"{folder}: cannot be made, because {there} is not writable; name another place")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a new folder")
    others = sorted({entry.name for entry in folder.iterdir()}.difference(allowed)) if folder.exists() else []
    if others:
        raise InputError(f"{folder}: holds other things ({others[0]}); name a new folder")


def save_adapter(model: PeftModel, folder: str | Path) -> None:
    """Write the adapter to a folder that `PeftModel.from_pretrained` loads; it appears whole or not at all.

    A failure leaves what was there before. Raises `InputError` on a full disk, and for a folder that holds other
    things.
    """
    from safetensors import SafetensorError

    folder = Path(folder).expanduser()
    temporary = None
    try:
        check_adapter_folder(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        fresh, previous = temporary / "fresh", temporary / "previous"
        with _quiet():
            model.save_pretrained(str(fresh), save_embedding_layers=False)
        if folder.exists():
            os.rename(folder, previous)
        try:
            os.rename(fresh, folder)
        except BaseException:  # Ctrl-C too: what is in `previous` must not be lost
            if previous.exists():
                os.rename(previous, folder)
            raise
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or _reason(error)
        raise InputError(
            f"{folder}: the adapter cannot be written ({reason}); free space there, or name another place"
        ) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def save_into(model: Model, folder: str | Path, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
    """Write an adapter, or a model with its tokenizer, into a folder that may hold other files.

    Each file appears whole, and the config last: until then the folder is neither an adapter nor a model. Raises
    `InputError` on a full disk.
    """
    from safetensors import SafetensorError

    folder = Path(folder).expanduser()
    fresh = folder / "unfinished"
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        with _quiet():
            saving: Any = model
            saving.save_pretrained(
                str(fresh), **({"save_embedding_layers": False} if hasattr(model, "peft_config") else {})
            )
            if tokenizer is not None:
                tokenizer.save_pretrained(fresh)
        for file in sorted(fresh.iterdir(), key=lambda file: file.name in ("adapter_config.json", "config.json")):
            os.replace(file, folder / file.name)
        fresh.rmdir()
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or _reason(error)
        raise InputError(
            f"{folder}: the weights cannot be written ({reason}); free space there, then --resume"
        ) from None


def generate(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]] | Sequence[Example],
    max_new_tokens: int = 128,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """What the model writes after each prompt, as text without the end token and other special ones: `generate_ids`,
    decoded."""
    written = generate_ids(model, tokenizer, prompts, max_new_tokens, batch_size, progress)
    ends = end_ids(tokenizer, model.generation_config)
    return [_text(tokenizer, ids, ends) for ids in written]


@torch.inference_mode()
def generate_ids(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]] | Sequence[Example],
    max_new_tokens: int = 128,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[int]]:
    """What the model writes after each prompt (ids, or examples), greedily, up to and with an end token
    (`masking.end_ids`); in the order of the prompts.

    The same ids as transformers' batched `generate`, but faster: rows of similar length share a batch, and rows that
    have ended leave it. `progress(done, all)` is called after each batch. Raises `InputError` for a prompt that fills
    the model's context.
    """
    rows = [prompt_ids(prompt, tokenizer) if isinstance(prompt, Example) else list(prompt) for prompt in prompts]
    context = context_length(model.config)
    for number, row in enumerate(rows):
        if not row:
            raise InputError(f"prompt {number} is empty; give at least one token")
        if context is not None and len(row) >= context:
            prompt = prompts[number]
            name = f'example "{prompt.id}": the prompt' if isinstance(prompt, Example) else f"prompt {number}"
            raise InputError(f"{name} has {len(row)} tokens, which fills the model's context of {context}; shorten it")
    model.eval()
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    found: list[list[int]] = [[] for _ in rows]
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        write = _greedy if _takes_a_cache(model) else _generated
        written = write(model, tokenizer, [rows[index] for index in chosen], max_new_tokens, context)
        for index, ids in zip(chosen, written, strict=True):
            found[index] = ids
        if progress is not None:
            progress(start + len(chosen), len(rows))
    return found


def score(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    max_new_tokens: int = 128,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Score:
    """Let the model answer, and count what is exactly right: the text after `Answer:`, or all of it if there is none."""
    if not examples:
        raise InputError("there are no examples to score")
    written = generate_ids(model, tokenizer, examples, max_new_tokens, batch_size, progress)
    ends = end_ids(tokenizer, getattr(model, "generation_config", None))
    outputs = [_text(tokenizer, ids, ends) for ids in written]
    ended = [turn_end(ids, ends) is not None for ids in written]
    whole = [output.strip() == example.completion.strip() for output, example in zip(outputs, examples, strict=True)]
    right = [
        same if example.answer is None else exact_answer(output) == example.answer.strip()
        for output, example, same in zip(outputs, examples, whole, strict=True)
    ]

    def summary(chosen: Sequence[int], **more: Any) -> Score:
        n, correct = len(chosen), sum(right[index] for index in chosen)
        low, high = wilson(correct, n)
        cot, stopped = (sum(which[index] for index in chosen) / n for which in (whole, ended))
        tokens = sum(len(written[index]) for index in chosen) / n
        return Score(n, correct, correct / n, low, high, cot, stopped, tokens, **more)

    tasks: dict[str, list[int]] = {}
    for index, example in enumerate(examples):
        tasks.setdefault(example.task or "all", []).append(index)
    by_task = {task: summary(chosen) for task, chosen in sorted(tasks.items())}
    return summary(range(len(examples)), by_task=by_task, outputs=outputs)


@torch.inference_mode()
def probabilities(
    model: Model, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], batch_size: int = 64
) -> list[float]:
    """The probability of each example's whole completion, end token included: the probability that sampling writes it.

    Exact match at greedy decoding asks only whether the right text is the most likely; this says how close the others
    are.
    """
    rows = [render(example, tokenizer) for example in examples]
    ends = end_ids(tokenizer, model.generation_config)
    for row in rows:  # what a template puts after the end token is not generated
        end = turn_end(row.input_ids, ends, row.prompt_length)
        if end is not None:
            row.labels[end + 1 :] = [IGNORED] * (len(row.labels) - end - 1)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].input_ids))
    place = next(model.parameters()).device
    model.eval()
    found = [0.0] * len(rows)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = collate([rows[index] for index in chosen], tokenizer.pad_token_id)
        targets = batch["labels"][:, 1:].to(place)
        ids, mask = batch["input_ids"].to(place), batch["attention_mask"].to(place)
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none", ignore_index=-100)
        for index, loss in zip(chosen, losses.sum(1).tolist(), strict=True):
            found[index] = math.exp(-loss)
    return found


def wilson(correct: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a share (Wilson 1927): (low, high), within 0 and 1 even at 0 or all correct."""
    if not 0 <= correct <= n or n == 0:
        raise ValueError(f"{correct} of {n} is not a share")
    from scipy.stats import binomtest

    found = binomtest(correct, n).proportion_ci(confidence_level=math.erf(z / math.sqrt(2)), method="wilson")
    return min(found.low, correct / n), max(found.high, correct / n)  # rounding must not pass the share


def _greedy(
    model: Model, tokenizer: PreTrainedTokenizerBase, rows: list[list[int]], max_new_tokens: int, context: int | None
) -> list[list[int]]:
    """The most likely next token, repeatedly, for rows padded on the left; an end token, if written, is the last."""
    from transformers import DynamicCache

    place = next(model.parameters()).device
    longest = max(map(len, rows))
    ids = torch.tensor([[tokenizer.pad_token_id] * (longest - len(row)) + row for row in rows], device=place)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=place)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    ends = set(end_ids(tokenizer, model.generation_config))
    limits = [max_new_tokens if context is None else min(max_new_tokens, context - len(row)) for row in rows]
    written: list[list[int]] = [[] for _ in rows]
    lines = list(range(len(rows)))  # which row each line of the batch is
    running = {row for row in lines if limits[row] > 0}
    while running:
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        chosen = logits[:, -1].argmax(-1)
        for row, token in zip(lines, chosen.tolist(), strict=True):
            if row in running:
                written[row].append(token)
            if token in ends or len(written[row]) == limits[row]:
                running.discard(row)
        ids, positions = chosen[:, None], (positions[:, -1:] + 1).clamp(max=context and context - 1)
        mask = torch.cat([mask, mask.new_ones(len(lines), 1)], dim=1)
        if (
            0 < len(running) <= 0.75 * len(lines)
        ):  # copying the cache costs about as much as a token, so not for every row that ends
            keep = [line for line, row in enumerate(lines) if row in running]
            kept = torch.tensor(keep, dtype=torch.int64, device=place)
            cache.batch_select_indices(kept)
            ids, positions, mask = ids[kept], positions[kept], mask[kept]
            lines = [lines[line] for line in keep]
    return written


def _takes_a_cache(model: Model) -> bool:
    """Whether the forward pass accepts the arguments of `_greedy`; Bloom takes no positions, Mamba another kind of
    cache.
    """
    base = getattr(model, "get_base_model", lambda: model)()
    wanted = {"position_ids", "past_key_values", "logits_to_keep"}
    return wanted <= inspect.signature(base.forward).parameters.keys()


def _generated(
    model: Model, tokenizer: PreTrainedTokenizerBase, rows: list[list[int]], max_new_tokens: int, context: int | None
) -> list[list[int]]:
    """The result of `_greedy` by transformers' `generate`, one row at a time, because not every model handles padding
    on the left.
    """
    place, ends = next(model.parameters()).device, list(end_ids(tokenizer, model.generation_config))
    writer: Any = model  # `generate` is not in PreTrainedModel itself
    written = []
    for row in rows:
        new = max_new_tokens if context is None else min(max_new_tokens, context - len(row))
        ids = torch.tensor([row], device=place)
        more = {"eos_token_id": ends or None, "pad_token_id": tokenizer.pad_token_id}
        with _quiet():
            found = writer.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, **more
            )
        written.append(found[0, len(row) :].tolist())
    return written


def _text(tokenizer: PreTrainedTokenizerBase, ids: list[int], ends: Sequence[int]) -> str:
    end = turn_end(ids, ends)
    return str(tokenizer.decode(ids[:end], skip_special_tokens=True))  # not every end token is a special token


def _check_target_modules(model: Model, wanted: Sequence[str]) -> None:
    linear = _linear_layers(model)
    unknown = [name for name in wanted if not any(layer == name or layer.endswith("." + name) for layer in linear)]
    if unknown or not wanted:
        there = ", ".join(dict.fromkeys(layer.rpartition(".")[2] for layer in linear))
        raise InputError(
            f"no linear layer is named {', '.join(unknown) or 'nothing'}; choose from {there}, or all-linear"
        )


def _linear_layers(model: Model) -> list[str]:
    """The full names of the layers that an adapter can go to."""
    from transformers.pytorch_utils import Conv1D

    return [name for name, module in model.named_modules() if isinstance(module, (torch.nn.Linear, Conv1D))]


def _load_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    with _quiet():
        from peft import PeftModel

    if not (folder / "adapter_config.json").is_file():
        raise InputError(
            f"{folder}: is not an adapter, because it has no adapter_config.json; name a folder that save_adapter wrote"
        )
    with _quiet():
        try:
            return PeftModel.from_pretrained(model, folder)
        except Exception as error:  # another base, a broken file: peft and safetensors raise many kinds
            raise InputError(
                f"{folder}: the adapter does not fit the model ({_reason(error)}); use the base that it was trained on"
            ) from None


def _reason(error: Exception) -> str:
    """The first line of an error's message, short enough for one line."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, notices or warnings from the libraries inside this context; afterwards everything is as before."""
    from transformers.utils import logging as notices

    verbosity, bars = notices.get_verbosity(), notices.is_progress_bar_enabled()
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        notices.set_verbosity_error()
        notices.disable_progress_bar()
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
            notices.set_verbosity(verbosity)
            if bars:
                notices.enable_progress_bar()

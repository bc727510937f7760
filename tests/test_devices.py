"""The device, the number format and where random numbers are drawn: without a GPU as far as fakes reach, and on one.

A model on the meta device stands for one on a GPU: what is forgotten on the CPU meets it in an operation, and that is
refused as on a GPU. Tests marked `gpu` need a CUDA device (`make test-gpu`).
"""

import copy
import dataclasses
import math

import pytest
import torch
from sums import number_questions
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from labkit import models, updates
from labkit.common import InputError
from labkit.doctor import check_device
from labkit.masking import render
from labkit.training import Settings, Trial, evaluate, fit, fit_alone, fit_together

AMPERE, TURING = (8, 0), (7, 5)  # an A100, a T4


@pytest.fixture
def card(monkeypatch):
    """Pretend that there is a CUDA device of this compute capability."""

    def there(capability):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)

    return there


@pytest.mark.parametrize(
    "cuda, mps, chosen", [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_fastest_device_there_is_is_taken(monkeypatch, cuda, mps, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert models.device().type == chosen
    assert models.device("cpu").type == "cpu"
    if not cuda:
        with pytest.raises(InputError, match="no device 'cuda:1' here"):
            models.device("cuda:1")


def test_a_card_without_bfloat16_trains_in_float32_and_the_doctor_says_so(card):
    for capability, wanted in ((TURING, torch.float32), (AMPERE, torch.bfloat16)):
        card(capability)
        assert Settings().dtype("cuda") == wanted
    assert "float32" in check_device("Tesla T4, 15360 MiB", "2.11.0", True, "float32").found


class OneDevice(TorchDispatchMode):
    """Refuse what a GPU refuses: an operation on tensors of several devices, copies and single numbers aside. A copy to
    the CPU holds ones.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default and args[0].is_meta and kwargs.get("device") == torch.device("cpu"):
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor) and each.ndim]
        if "copy" not in func.__name__ and len({tensor.device for tensor in tensors}) > 1:
            raise RuntimeError(f"{func}: tensors of several devices")
        return func(*args, **(kwargs or {}))


@pytest.fixture
def elsewhere(tiny_model_folder, monkeypatch):
    """A model on the meta device, which is not the CPU. Its tensors hold no numbers: what a loop reads there is 1."""
    from transformers import LlamaConfig, LlamaForCausalLM

    def read(method, stand_in):
        real = getattr(torch.Tensor, method)
        monkeypatch.setattr(torch.Tensor, method, lambda tensor: stand_in(tensor) if tensor.is_meta else real(tensor))

    read("item", lambda tensor: 1.0)
    read("__bool__", lambda tensor: True)
    read("tolist", lambda tensor: torch.ones(tensor.shape).tolist())
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig.from_pretrained(tiny_model_folder))
    with OneDevice():
        yield model


ROWS = [{"input_ids": [5, 6, 7, 8][:length], "labels": [-100, 6, 7, 8][:length]} for length in (4, 3, 4, 2)]


def test_a_mixture_of_devices_fails_there(elsewhere):
    with pytest.raises(RuntimeError, match="device"):
        elsewhere(input_ids=torch.tensor([[5, 6]]))


def test_training_and_evaluation_mix_no_devices(elsewhere):
    settings = Settings(steps=2, batch_size=2, eval_every=1)
    history = fit(elsewhere, ROWS, settings, pad=0, validation=ROWS)
    assert len(history.loss) == 2 and len(history.validation_loss) == 3
    assert all(weight.grad is None or weight.grad.is_meta for weight in elsewhere.parameters())


@pytest.mark.slow
def test_training_several_adapters_at_once_mixes_no_devices(elsewhere):
    settings = Settings(steps=2, batch_size=2, eval_every=1)
    trials = [Trial(dataclasses.replace(settings, seed=seed), rank) for seed, rank in enumerate((2, 4))]
    trained = fit_together(elsewhere, trials, [ROWS, ROWS], pad=0, validation=[ROWS, ROWS])
    assert [len(each.history.loss) for each in trained] == [2, 2]


def test_first_gradients_mix_no_devices(elsewhere):
    assert all(gradient.is_meta for gradient in updates.gradients(elsewhere, ROWS, 0).values())


def test_an_adapter_is_drawn_on_the_cpu_wherever_the_model_is(elsewhere, monkeypatch):
    drawn = []
    draw = torch.nn.init.kaiming_uniform_

    def noted(tensor, generator=None, **options):
        if generator is not None:  # PEFT's own is drawn over
            drawn.append((tensor.device.type, generator.device.type))
        return draw(tensor, generator=generator, **options)

    monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", noted)
    adapted = models.add_lora(elsewhere, rank=2, alpha=4, seed=0)
    assert drawn and set(drawn) == {("cpu", "cpu")}
    assert all(weight.is_meta for name, weight in adapted.named_parameters() if ".lora_A." in name)


# On a CUDA device: nothing of this has a fake


@pytest.fixture(scope="module")
def both(tiny_model_folder):
    """(the model on the CPU, the same on the GPU, tokenizer)."""
    on_cpu, tokenizer = models.load(tiny_model_folder, device="cpu")
    return on_cpu, models.load(tiny_model_folder, device="cuda")[0], tokenizer


def taught(tokenizer):
    return [render(example, tokenizer) for example in number_questions(32)]


SAME = Settings(steps=8, batch_size=4, lr=3e-3, number_format="float32")  # in float32 only rounding may differ


@pytest.mark.gpu
def test_training_on_the_gpu_follows_that_on_the_cpu(both):
    rows = taught(both[2])
    curves = []
    for model in both[:2]:
        trained = fit_alone(model, Trial(SAME, rank=4), rows, pad=both[2].pad_token_id)
        curves.append(trained.history.loss)
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)
    assert curves[0][-1] != pytest.approx(curves[0][0], rel=1e-3)  # something was learned


@pytest.mark.gpu
def test_adapters_at_once_equal_separate_ones_on_the_gpu(both):
    _, model, tokenizer = both
    rows, pad = taught(tokenizer), tokenizer.pad_token_id
    trials = [Trial(dataclasses.replace(SAME, seed=seed), rank) for seed, rank in enumerate((2, 4, 8))]
    together = fit_together(model, trials, [rows] * 3, pad=pad)
    for trial, at_once in zip(trials, together):
        alone = fit_alone(model, trial, rows, pad=pad)
        assert at_once.history.loss == pytest.approx(alone.history.loss, rel=1e-3)


@pytest.mark.gpu
def test_the_gpu_writes_and_scores_what_the_cpu_does(both):
    examples = number_questions(16)
    on_cpu, on_gpu = (models.score(model, both[2], examples, max_new_tokens=8) for model in both[:2])
    assert on_gpu.outputs == on_cpu.outputs
    rows = taught(both[2])
    losses = [evaluate(model, rows, pad=both[2].pad_token_id) for model in both[:2]]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.gpu
def test_a_run_on_the_gpu_goes_on_where_it_was(both):
    _, model, tokenizer = both
    rows, pad, states = taught(tokenizer), tokenizer.pad_token_id, {}

    def run(**more):
        adapted = models.add_lora(models.load(model.name_or_path, device="cuda")[0], rank=4, alpha=8, seed=0)
        return fit(adapted, rows, SAME, pad=pad, **more).loss

    def keep(step, take):
        if step == 3:
            states[step] = copy.deepcopy(take())

    whole = run(on_state=keep)
    assert states[3]["device_random"] is not None
    assert run(state=states[3]) == pytest.approx(whole, rel=1e-4)


@pytest.mark.gpu
def test_four_bits_on_the_gpu_are_those_on_the_cpu(wide_model_folder):
    logits = []
    for device in ("cpu", "cuda"):
        model, _ = models.load(wide_model_folder, device=device, quantize="nf4")
        with torch.no_grad():
            logits.append(model(input_ids=torch.tensor([[5, 6, 7]], device=model.device)).logits.float().cpu())
    assert torch.dist(*logits) < 0.01 * logits[0].norm()


@pytest.mark.gpu
def test_the_number_format_is_the_cards(both):
    wanted = torch.bfloat16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float32
    assert Settings().dtype("cuda") == wanted
    history = fit_alone(
        both[1], Trial(Settings(steps=2, batch_size=4)), taught(both[2]), pad=both[2].pad_token_id
    ).history
    assert all(map(math.isfinite, history.loss))

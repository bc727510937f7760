"""Ten architectures without weights: the published totals, and PEFT's counts."""

from __future__ import annotations

import pytest

from labkit import architectures
from labkit.architectures import Count
from labkit.common import InputError

pytestmark = pytest.mark.slow

ALL = list(architectures.catalogue())


@pytest.mark.parametrize("name", ALL)
def test_the_configuration_makes_the_published_number_of_parameters(name):
    model = architectures.on_meta(name)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) == architectures.catalogue()[name]["parameters"]


@pytest.mark.parametrize(
    "name, targets",
    [*((name, "all-linear") for name in ALL), *((name, ["q_proj", "v_proj"]) for name in ("Llama-3.2-1B", "phi-1.5"))],
)
def test_the_count_is_pefts(name, targets):
    assert architectures.count(name, 8, targets) == architectures.count_with_peft(name, 8, targets)


def test_there_are_ten_and_they_print_what_the_labs_say():
    assert len(ALL) == 10
    printed = architectures.count("Llama-3.2-1B", 8, ["q_proj", "v_proj"])
    assert printed == Count(851_968, 1_236_666_368) and f"{printed.share:.4%}" == "0.0689%"
    assert architectures.count("Llama-3.2-1B", 8, "all-linear").trainable == 5_636_096
    assert architectures.count("Llama-3.2-1B", 16, ["q_proj", "v_proj"]).trainable == 1_703_936
    assert architectures.count("phi-1.5", 8, ["q_proj", "v_proj"]).trainable == 1_572_864


@pytest.mark.parametrize(
    "args, says",
    [
        (("Llama-3.2-2B", 8, "all-linear"), "Llama-3.2-1B"),
        (("", 8, "all-linear"), "choose from"),
        (("SmolLM2-135M", 8, ["query"]), "no layer is named 'query'"),
        (("SmolLM2-135M", 0, ["q_proj"]), "rank is 0"),
        (("SmolLM2-135M", 193, "all-linear"), "1 to 192"),
    ],
)
def test_what_there_is_not_is_one_line(args, says):
    with pytest.raises(InputError, match=says) as caught:
        architectures.count(*args)
    assert "\n" not in str(caught.value)

"""A module run on another batch and another image, so that no two axes are alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tracing.modules import Runs, image
from vitc_inspect.audit.variants import VariantRuns
from vitc_inspect.tracing.dataflow import follow


def other_runs(run: Callable[..., Any], *given: Tensor) -> tuple[VariantRuns, Any, int]:
    """The runs, the step that made the map, and its number."""
    module = Runs(run).eval()
    inputs = given or (image(2, 3, 32, 32),)
    flow = follow(module, inputs, {})
    (number,) = [n for n, step in enumerate(flow.steps) if step.name.startswith("conv")][:1]
    made = flow.steps[number]
    return VariantRuns(flow, made.sources[0]), made, number


def tokens(module: nn.Module, x: Tensor) -> Tensor:
    return module.proj(x).flatten(2).transpose(1, 2)


@pytest.mark.parametrize(
    ("batch", "size"), [(False, False), (True, False), (False, True), (True, True)]
)
def test_only_what_is_asked_for_differs(batch: bool, size: bool) -> None:
    """proj makes 16 channels of 8×8 places; the tokens are (b, 64, 16)."""
    runs, made, number = other_runs(tokens)
    other = runs.same_step(number, made, batch=batch, size=size)
    assert other is not None
    images, channels, rows, columns = other.outputs[0].shape
    assert channels == 16
    assert (images == 2) == (not batch)
    assert ((rows, columns) == (8, 8)) == (not size)
    if size:
        assert len({images, channels, rows, columns}) == 4  # no two axes are alike
        assert rows not in (8, 16)
    last = runs.same_step(number + 2, made, batch=batch, size=size)
    assert last is not None
    assert last.outputs[0].shape == (images, rows * columns, 16)


def test_a_run_that_goes_another_way_ends_where_it_does() -> None:
    def runs_with_a_choice(module: nn.Module, x: Tensor) -> Tensor:
        x = module.proj(x)
        return x.flatten(2) if x.shape[-1] == 8 else x.mean(1)

    runs, made, number = other_runs(runs_with_a_choice)
    same = runs.same_step(number + 1, made, batch=True, size=False)
    assert same is not None
    assert runs.same_step(number + 1, made, batch=False, size=True) is None
    assert len(runs.run(made, batch=False, size=True).steps) == number + 1


def test_what_one_fixed_size_is_for_fails_there_and_leaves_the_steps_before() -> None:
    def added(module: nn.Module, x: Tensor) -> Tensor:
        return module.proj(x).flatten(2) + torch.zeros(1, 16, 64)

    runs, made, number = other_runs(added)
    flow = runs.run(made, batch=False, size=True)
    assert [step.name for step in flow.steps][number:] == ["conv2d", "flatten"]


def test_a_tensor_of_the_same_batch_is_lengthened_with_it() -> None:
    def beside(module: nn.Module, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return module.proj(x).flatten(1).sum(1) * y.sum(1) + z.sum()

    runs, made, number = other_runs(beside, image(2, 3, 32, 32), torch.ones(2, 5), torch.ones(4))
    flow = runs.run(made, batch=True, size=False)
    assert flow.steps[-1].outputs[0].shape == flow.steps[number].outputs[0].shape[:1] != (2,)


def test_the_inputs_are_left_as_they_are() -> None:
    x = image(2, 3, 32, 32)
    before = x.clone()
    runs, made, _ = other_runs(lambda module, x: tokens(module, x.mul_(2)), x)
    runs.run(made, batch=True, size=True)
    assert torch.equal(x, before)

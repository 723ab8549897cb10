"""What a place of any call's output reads: held against formulas, and the module left alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests import faulty
from tests.probes.stems import gradient_field
from vitc_inspect.common.errors import SpecError
from vitc_inspect.model.modules import build_stem
from vitc_inspect.probes.reach import Reach, output_of, reach
from vitc_inspect.stem.geometry import token_box
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.tracing.recorder import record_call


def an_image(side: int = 32) -> Tensor:
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))


def names(module: nn.Module, image: Tensor) -> list[str]:
    return [call.name for call in record_call(module, (image,)).calls]


def reached(module: nn.Module, name: str, place: tuple[int, ...]) -> Reach | None:
    image = an_image()
    call = names(module, image).index(name)
    return reach(module, (image,), {}, image=image, call=call, place=place)


def spans(found: Reach | None) -> tuple[int, ...]:
    assert found is not None
    return found.rows.start, found.rows.stop, found.columns.start, found.columns.stop


def test_a_token_of_ours_reads_what_the_formula_and_the_other_probe_say() -> None:
    spec = parse_stem("3x3/2:8, 3x3/2:8 gelu, 1x1:12", image_size=(32, 32))
    stem, image = build_stem(spec).eval(), an_image()
    call = names(stem, image).index("tokens")
    found = reach(stem, (image,), {}, image=image, call=call, place=(2 * 8 + 5,))
    box = token_box(spec, 2, 5)
    assert found is not None
    assert (found.rows, found.columns) == (box.clipped_rows, box.clipped_columns)
    np.testing.assert_allclose(found.heat, gradient_field(stem, image, 2, 5), rtol=1e-5)


@pytest.mark.parametrize(
    ("module", "name", "place", "wanted"),
    [
        (faulty.SlicedTable(), "proj", (2, 3), (8, 12, 12, 16)),
        (faulty.SlicedTable(), "mT", (2 * 8 + 3,), (8, 12, 12, 16)),
        (faulty.SlicedTable(), "add", (1 + 2 * 8 + 3,), (8, 12, 12, 16)),
        (faulty.Ordered("columns"), "reshape", (2 * 8 + 3,), (12, 16, 8, 12)),
        (faulty.Ordered(), "einops.rearrange", (2 * 8 + 3,), (8, 12, 12, 16)),
        (faulty.Overwritten(), "conv", (2, 3), (3, 6, 5, 8)),  # before its output is written over
        (faulty.Overwritten(), "norm", (2, 3), (3, 6, 5, 8)),
        (faulty.Encoded(), "encoder.norm2", (0,), (0, 32, 0, 32)),  # attention reads everything
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_modules_and_functions_are_looked_back_from(
    module: nn.Module, name: str, place: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    assert spans(reached(module.eval(), name, place)) == wanted


def test_a_scrambled_token_reads_several_patches() -> None:
    found = reached(faulty.Scrambled().eval(), "reshape", (5,))
    assert found is not None
    assert found.pixels > 16  # one patch of 4 x 4


@pytest.mark.parametrize("name", ["expand", "__getitem__"])
def test_no_gradient_leads_from_what_is_learned_alone(name: str) -> None:
    assert reached(faulty.SlicedTable().eval(), name, (0,)) is None


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ((2,), "has no place of 1 numbers"),
        ((8, 0), "place = 8: the most is 7"),
        ((0, -1), "place = -1: the least is 0"),
    ],
)
def test_a_place_that_is_not_there_is_refused(place: tuple[int, ...], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        reached(faulty.SlicedTable().eval(), "proj", place)


def test_a_gradient_whose_numbers_were_written_over_is_told() -> None:
    class WrittenOver(nn.Module):
        def forward(self, image):
            squashed = torch.sigmoid(image)
            squashed += 1  # sigmoid's gradient needs what stood here
            return squashed.mean(1)

    with pytest.raises(SpecError, match="needed for gradient computation has been modified"):
        reached(WrittenOver(), "mean", (0,))


def test_a_module_may_write_over_its_image() -> None:
    class Doubling(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 2, 2)

        def forward(self, image):
            return self.conv(image.mul_(2))

    assert spans(reached(Doubling(), "conv", (1, 2))) == (2, 4, 4, 6)


def test_nothing_runs_behind_the_call_that_is_looked_at() -> None:
    ran: list[str] = []

    class Telling(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, image):
            ran.append(self.name)
            return image + 1

    module, image = nn.Sequential(Telling("first"), Telling("second")), an_image()
    output_of(module, (image,), {}, call=0)
    assert ran == ["first"]


def test_an_output_is_kept_again_in_full_and_as_it_was() -> None:
    module, image = faulty.Overwritten().eval(), an_image()
    with torch.no_grad():
        before = module.norm(module.conv(image))[0]
    call = names(module, image).index("norm")
    kept = output_of(module, (image,), {}, call=call)
    assert kept is not None
    assert torch.equal(kept.values, before)


def test_the_module_is_left_as_it_was() -> None:
    """One that changes its weights, its buffers, its mode and the random numbers."""
    module, image = faulty.Remembering(), an_image()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    wants = [parameter.requires_grad for parameter in module.parameters()]
    drawn = torch.random.get_rng_state()
    given = image.clone()
    for call in range(len(names(module, image))):
        output_of(module, (image,), {}, call=call)
        place = (1, 1) if call < 3 else ()
        if call < 3:
            reach(module, (image,), {}, image=image, call=call, place=place)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert [parameter.requires_grad for parameter in module.parameters()] == wants
    assert all(parameter.grad is None for parameter in module.parameters())
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert torch.equal(image, given)
    assert (module.training, module.calls, module.history) == (True, 0, [])
    assert not any(layer._forward_hooks for layer in module.modules())


def test_a_gradient_that_is_no_number_is_not_taken_for_one():
    root = nn.Sequential(nn.Conv2d(3, 8, 4, 4, bias=False), Root())
    dark = torch.zeros(1, 3, 16, 16)
    last = len(record_call(root, (dark,)).calls) - 1
    with pytest.raises(SpecError, match="its gradient is nan at some pixels"):
        reach(root, (dark,), {}, image=dark, call=last, place=(1, 1))
    light = torch.rand(1, 3, 16, 16)
    assert reach(root, (light,), {}, image=light, call=last, place=(1, 1)).pixels == 16


class Root(nn.Module):
    """A square root, whose slope at 0 has no end."""

    def forward(self, x):
        """Run it."""
        return x.abs().sqrt()


class Checkpointed(nn.Sequential):
    """Runs its layers again for the gradient, as far as it needs to."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = checkpoint(super().forward, x, use_reentrant=False)
        return found.mean((2, 3))


def test_layers_that_checkpointing_runs_again_are_looked_back_through() -> None:
    found = reached(Checkpointed(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval(), "mean", ())
    assert found is not None
    assert found.pixels == 32 * 32


def test_what_torch_says_of_a_gradient_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("it cannot be formed.\n\nTip: ask again.")

    monkeypatch.setattr(torch.autograd, "grad", refuse)
    with pytest.raises(SpecError, match=r"gradient: it cannot be formed\. Choose a row before it"):
        reached(nn.Sequential(nn.Conv2d(3, 4, 3)), "0", (0, 0))

"""Modules that no stem looks like: each is told of truly, and none takes its report away."""

from __future__ import annotations

import copy
import csv
import io
import json
import pickle
import re
from html import unescape
from threading import Thread

import pytest
import torch
from einops.layers.torch import Rearrange
from torch import nn
from torch.overrides import handle_torch_function, has_torch_function

from tests.views.models import module_strip_svg
from vitc_inspect import SpecError, inspect_module, module_csv
from vitc_inspect.common.guard import STRICT_RULES
from vitc_inspect.inspection import module_inspection
from vitc_inspect.ui.panels.module_summary import module_table_html
from vitc_inspect.views.report_table import module_html, module_markdown, module_table
from vitc_inspect.views.terminal import columns


class Patches(nn.Module):
    """A sound patchify, 64 tokens of 16 numbers from 32×32 pixels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 4, 4)
        self.head = nn.Linear(16, 8)

    def tokens(self, x):
        return self.conv(x).flatten(2).transpose(1, 2)

    def forward(self, x):
        return self.head(self.tokens(x))


class Nested(Patches):
    """Puts sequences of 64 and of 5 tokens into one nested tensor."""

    layout = torch.strided

    def forward(self, x):
        tokens = self.tokens(x)[0]
        return self.head(torch.nested.nested_tensor([tokens, tokens[:5]], layout=self.layout))


class Jagged(Nested):
    layout = torch.jagged


class HoldsItself(Patches):
    def forward(self, x):
        made = {"tokens": self.head(self.tokens(x))}
        made["all"] = made
        return made


class Copied(Patches):
    """Runs a copy of its own layer, and one that went through pickle."""

    def forward(self, x):
        copies = [copy.deepcopy(self.head), pickle.loads(pickle.dumps(self.head))]
        assert all(hook.func.__name__ == "_do_nothing" for hook in _hooks(copies))
        return sum(each(self.tokens(x)) for each in copies)


def _hooks(layers):
    return [hook for layer in layers for hook in layer._forward_hooks.values()]


class Threaded(Patches):
    """Asks its head in other threads."""

    def forward(self, x):
        tokens, found = self.tokens(x), []
        threads = [Thread(target=lambda: found.append(self.head(tokens))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found[0]


class Differentiating(Patches):
    def forward(self, x):
        return super().forward(torch.func.grad(lambda image: self.conv(image).sum())(x))


class Sparse(Patches):
    """Has a sparse parameter and a sparse buffer."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.eye(16).to_sparse())
        self.register_buffer("once_more", torch.eye(16).to_sparse())

    def forward(self, x):
        tokens = self.tokens(x)[0].T  # (16, 64)
        return torch.sparse.mm(self.mix, torch.sparse.mm(self.once_more, tokens))


class WeightNormed(Patches):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.utils.weight_norm(self.head)


class Unwilling(Patches):
    """Has properties that raise."""

    @property
    def patch_size(self):
        raise RuntimeError("not yet known")

    embed_dim = patch_size


SOUND = [
    Nested, Jagged, HoldsItself, Copied, Threaded, Differentiating, Sparse, WeightNormed, Unwilling,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # nested tensors, weight_norm: prototypes and deprecations
@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_module_runs_and_nothing_is_said_against_it(kind):
    report = inspect_module(kind().eval(), torch.randn(1, 3, 32, 32))
    assert report.failure is None
    assert (report.faults, report.disagreements) == ((), ())
    assert report.audited
    assert json.loads(json.dumps(report.to_dict()))["kind"] == kind.__name__
    assert kind.__name__ in str(report) + report._repr_html_()
    assert module_csv(report)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [Nested, Jagged])
def test_a_nested_tensor_is_the_tensors_in_it(kind):
    report = inspect_module(kind().eval(), torch.randn(1, 3, 32, 32))
    assert [(value.path, value.shape) for value in report.outputs] == [
        ("0", (64, 8)),
        ("1", (5, 8)),
    ]
    head = report.row("head")
    assert [value.shape for value in head.call.inputs] == [(64, 16), (5, 16)]
    assert head.verdict == "not predicted"  # the rule for one shape does not stand for two
    assert head.call.bytes == 4 * 69 * 8


def test_layers_of_another_thread_are_named_and_not_judged():
    report = inspect_module(Threaded().eval(), torch.randn(1, 3, 32, 32))
    assert [layer.name for layer in report.never_called] == ["head"]
    assert report.never_called[0].reason.startswith("it ran in another thread")


def test_a_batch_of_no_images_has_tokens_and_no_faults():
    report = inspect_module(Patches().eval(), torch.randn(0, 3, 32, 32))
    assert report.outputs[0].shape == (0, 64, 8)
    assert report.audited
    assert report.faults == ()


def test_a_lazy_buffer_is_told_of_before_anything_runs():
    with pytest.raises(SpecError, match="running_mean gets its shape only when it first runs"):
        inspect_module(nn.LazyBatchNorm2d(affine=False), torch.randn(1, 3, 8, 8))


def test_an_audit_that_fails_leaves_the_report(monkeypatch):
    def fail(*_):
        raise IndexError("out of bounds.")

    monkeypatch.setattr(module_inspection, "audit_module", fail)
    monkeypatch.delenv(STRICT_RULES, raising=False)
    report = inspect_module(Patches().eval(), torch.randn(1, 3, 32, 32))
    assert [row.call.name for row in report.rows] == ["conv", "flatten", "transpose", "head"]
    assert not report.audited
    assert report.notes == (
        "Faults could not be looked for: the audit ended with IndexError: out of bounds.",
    )
    assert "No fault found" not in str(report)


def overridable(x, layer):
    """A function that asks torch's modes to take its place, as torch's own do."""
    if has_torch_function((x,)):
        return handle_torch_function(overridable, (x,), x, layer)
    return layer(x)


@pytest.mark.parametrize(
    ("layer", "macs"),
    [(nn.Linear(8, 4), 64 * 8 * 4), (nn.ReLU(), 0), (nn.Bilinear(8, 8, 4), None)],
)
def test_a_layer_called_inside_a_function_that_torch_hands_to_modes(layer, macs):
    """The mode is off in there: what was not heard is counted by its shapes, or not at all."""

    class Overrides(Patches):
        def __init__(self):
            super().__init__()
            self.inside = layer

        def forward(self, x):
            if not isinstance(self.inside, nn.Bilinear):
                return overridable(super().forward(x), self.inside)
            return overridable(super().forward(x), lambda y: self.inside(y, y))

    report = inspect_module(Overrides().eval(), torch.randn(1, 3, 32, 32))
    assert report.failure is None
    assert report.row("inside").call.macs == macs
    assert report.row("overridable").call.macs is None
    assert report.disagreements == ()


@pytest.mark.filterwarnings("ignore")
def test_what_was_compiled_runs_layer_by_layer_and_is_compiled_as_before():
    module, image = Patches().eval(), torch.randn(1, 3, 32, 32)
    compiled = torch.compile(module, backend="eager")
    report = inspect_module(compiled, image)
    assert [row.call.name for row in report.rows] == [
        "_orig_mod.conv", "flatten", "transpose", "_orig_mod.head",
    ]  # fmt: skip
    assert report.rows[1].call.source.text == "return self.conv(x).flatten(2).transpose(1, 2)"
    assert report.notes[0].startswith("torch.compile was left out for the run")
    assert torch.equal(compiled(image), module(image))


def test_a_run_that_raised_is_not_said_to_be_without_fault():
    report = inspect_module(Patches().eval(), torch.randn(1, 4, 32, 32))
    assert "No other fault found." in str(report)


def test_of_one_image_without_a_batch_every_map_is_kept():
    report = module_inspection.inspect_call(
        Patches().conv.eval(), [torch.randn(3, 32, 32)], keep_bytes=2**20, audit=False
    )
    assert report.rows[0].call.kept.values.shape == (16, 8, 8)
    whole = nn.Sequential(Patches().conv, nn.Flatten(1)).eval()
    report = module_inspection.inspect_call(whole, [torch.randn(3, 32, 32)], keep_bytes=2**20)
    assert report.row("1").call.kept.values.shape == (16, 64)


@pytest.mark.parametrize(("side", "patch", "table"), [(32, 4, 50), (224, 14, 197)])
def test_what_an_error_means_is_told_of_the_image_that_was_given(side, patch, table):
    """Without convolutions no stem is read, and the lengths alone allow other images."""
    count = side // patch

    class Short(nn.Module):
        def __init__(self):
            super().__init__()
            self.pos_embed = nn.Parameter(torch.zeros(1, table, 8))
            self.embed = nn.Linear(3 * patch * patch, 8)
            self.cls = nn.Parameter(torch.zeros(1, 1, 8))

        def forward(self, x):
            patches = nn.functional.unfold(x, patch, stride=patch).mT
            return torch.cat([self.cls, self.embed(patches)], dim=1) + self.pos_embed

    report = inspect_module(Short().eval(), torch.randn(1, 3, side, side))
    best = report.explanations[0]
    assert (best.numbers["image_height"], best.numbers["total_stride"]) == (side, patch)
    assert best.numbers["tokens"] == count**2 + 1
    assert {each.numbers["image_height"] for each in report.explanations} == {side}


def test_a_layer_of_einops_is_named_with_what_it_was_given():
    module = nn.Sequential(Rearrange("b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4)).eval()
    failure = inspect_module(module, torch.randn(1, 3, 30, 32)).failure
    assert failure.operation == "einops.Rearrange"
    assert [value.shape for value in failure.operands] == [(1, 3, 30, 32)]


class Rearranged(nn.Module):
    """A patchify of einops and nn.Linear that takes the first entries of its table."""

    def __init__(self, entries):
        super().__init__()
        split = Rearrange("b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4)
        self.embed = nn.Sequential(split, nn.LayerNorm(48), nn.Linear(48, 8), nn.LayerNorm(8))
        self.cls = nn.Parameter(torch.randn(1, 1, 8))
        self.pos = nn.Parameter(torch.randn(1, entries, 8))

    def forward(self, x):
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), self.embed(x)], dim=1)
        return tokens + self.pos[:, : tokens.shape[1]]


@pytest.mark.parametrize("images", [1, 2])
def test_a_cut_table_is_found_where_no_convolution_makes_the_patches(images):
    (fault,) = inspect_module(Rearranged(197).eval(), torch.randn(images, 3, 32, 48)).faults
    assert fault.kind == "position table"
    assert fault.sentence.startswith(
        "pos, the position table, has 197 entries for 97 tokens = 8×12 + 1. It is made for 14×14"
    )


def test_a_table_that_fits_such_patches_is_let_be():
    assert inspect_module(Rearranged(97).eval(), torch.randn(2, 3, 32, 48)).faults == ()


def test_an_argument_that_is_missing_is_named_with_how_to_give_it():
    class Masked(Patches):
        def forward(self, x, mask, scale):
            return super().forward(x) * mask * scale

    (meaning,) = inspect_module(Masked().eval(), torch.randn(1, 3, 32, 32)).explanations
    said = "Masked.forward needs mask and scale as well, and was not given them."
    assert meaning.sentence == said
    assert "--input mask=SHAPE" in meaning.fixes[0]


NAMES = {
    # a name of a layer, and how it is shown
    **{"new\nline": r"new\nline", "a\ttab": r"a\ttab", "cr\rx": r"cr\rx", "\x1b[31m": r"\x1b[31m"},
    **{
        "\u202eabc": r"\u202eabc",
        "\u2028ls": r"\u2028ls",
        "nul\0": r"nul\x00",
        "\ud800": r"\ud800",
    },
    **{name: name for name in ("<b>b</b>", "quo\"te's", "a|b", "`a`b", " a b ", "L" * 200)},
    **{name: name for name in ("日本語", "🔍🔍", "שלום", "e\u0301", r"new\\nline")},
}


@pytest.fixture(scope="module")
def oddly_named():
    """A report on layers of odd names, each once before the failure and once behind it."""

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            for name in NAMES:
                self.add_module(name, nn.Linear(2, 2))
                self.add_module(f"later {name}", nn.Linear(2, 2))
            self.add_module("too\nwide", nn.Linear(3, 2))

        def forward(self, x):
            for name in (*NAMES, "too\nwide", *(f"later {name}" for name in NAMES)):
                x = self.get_submodule(name)(x)
            return x

    return inspect_module(Named().eval(), torch.zeros(1, 2))


def test_whatever_a_layer_is_called_it_has_one_line_of_the_terminal(oddly_named):
    lines = module_table(oddly_named).split("\n")
    assert all(line.isprintable() for line in lines)
    rows = [line for line in lines if "  Linear  " in line]
    assert [row.split("  Linear  ")[0].rstrip() for row in rows] == [
        *(shown.rstrip() for shown in NAMES.values()),
        r"too\nwide",
        *(f"later {shown}".rstrip() for shown in NAMES.values()),
    ]
    assert len({columns(row.split("Linear  ")[0]) for row in rows}) == 1
    assert r"Raised RuntimeError in too\nwide" in module_table(oddly_named)


def test_whatever_a_layer_is_called_it_has_one_row_of_markdown_and_html(oddly_named):
    table = [line for line in module_markdown(oddly_named).split("\n") if line.startswith("|")]
    assert len(table) == 2 + 2 * len(NAMES) + 1
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {9}
    assert r"| \<b>b\</b> | Linear |" in table[2 + list(NAMES).index("<b>b</b>")]
    assert r"| \`a\`b | Linear |" in table[2 + list(NAMES).index("`a`b")]
    page = module_html(oddly_named)
    for shown in NAMES.values():
        assert unescape(page).count(f">{shown}</td><td") == 1
        assert unescape(page).count(f">later {shown}</td><td") == 1
    assert "<b>b" not in page


def test_csv_and_json_have_the_names_of_layers_as_they_are(oddly_named):
    layers = [*NAMES, "too\nwide", *(f"later {name}" for name in NAMES)]
    table = list(csv.DictReader(io.StringIO(module_csv(oddly_named), newline="")))
    assert [row["layer"] for row in table] == layers
    plain = json.loads(json.dumps(oddly_named.to_dict()))
    named = [row["name"] for row in (*plain["rows"], *plain["never_called"])]
    assert sorted(named) == sorted(layers)


def test_the_page_can_show_whatever_a_layer_is_called(oddly_named):
    """What is no text of Unicode cannot be sent."""
    drawn = module_table_html(oddly_named, "") + module_strip_svg(oddly_named, selected=None)
    assert drawn.encode()
    assert r"new\nline" in drawn
    assert "<b>b" not in drawn

"""Other counters beside the closed form: where they agree, and what each leaves out."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from tests.stem.specs import model, random_vit
from vitc_inspect.inspection.stem_inspection import inspect_vit
from vitc_inspect.model.modules import (
    build_vit,
)
from vitc_inspect.probes.other_counters import count_work, dispatcher
from vitc_inspect.stem.prediction import predict


@pytest.mark.parametrize("start", range(0, 120, 20))
def test_random_models_agree_in_every_row_and_every_complete_witness(start: int) -> None:
    for seed in range(start, start + 20):
        vit = random_vit(seed)
        report = inspect_vit(vit, "edges", device="cpu", seed=seed)
        assert report.disagreements == ()
        module = build_vit(vit, seed=seed)
        assert sum(p.numel() for p in module.parameters()) == report.prediction.params
        witnesses = count_work(vit, device="cpu")
        counts = {
            w.name: w.macs for w in witnesses if w.status == "complete" and w.name != "torchinfo"
        }
        assert set(counts.values()) == {report.prediction.macs}, (seed, counts)
        assert [w.status for w in witnesses[:3]] == ["complete"] * 3, (seed, witnesses)
        form, hooked, dispatched = (dict(w.layers) for w in witnesses[:3])
        assert form == hooked == dispatched, seed


@pytest.mark.parametrize("name", ["vit_c_4gf", "vit_p_1gf"])
def test_the_paper_s_models_agree_with_pytorchs_own_count(name: str) -> None:
    report = inspect_vit(model(name), device="cpu", keep_bytes=0)
    assert report.disagreements == ()
    form, hooked, dispatched, torchinfo, bare = count_work(model(name), device="cpu")
    assert form.macs == hooked.macs == dispatched.macs == report.prediction.macs
    assert {form.status, hooked.status, dispatched.status} == {"complete"}
    assert torchinfo.status == "partial"  # about a tenth of the work
    assert torchinfo.macs is not None
    assert torchinfo.macs < 0.2 * report.prediction.macs
    assert "block1.qkv, block1.attend" in torchinfo.reason
    attention = sum(n for layer, n in form.layers.items() if layer.endswith("attend"))
    assert (bare.macs, bare.status) == (report.prediction.macs - attention, "partial")
    assert "_scaled_dot_product_flash_attention_for_cpu" in bare.reason
    assert form.layers == hooked.layers == dispatched.layers
    assert sum(form.layers.values()) == form.macs
    width = model(name).stem.embed_dim
    assert torchinfo.layers["block1.qkv"] == (width + 1) * 3 * width  # as if for one token


def test_torchinfo_is_complete_where_it_counts_everything() -> None:
    """On a plain stem it differs by the biases and norms alone (FACTS, section 3)."""
    stem = model("vit_c_1gf").stem
    torchinfo = count_work(stem, device="cpu")[3]
    assert torchinfo.status == "complete"
    assert torchinfo.macs is not None
    assert predict(stem).macs < torchinfo.macs < 1.02 * predict(stem).macs


def test_an_operation_without_a_formula_never_looks_complete() -> None:
    class Cumulative(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cumsum(torch.cdist(x, x), dim=1)

    for witness in dispatcher(Cumulative(), torch.zeros(1, 4, 3)):
        assert witness.status == "partial"
        assert "aten.cumsum" in witness.reason


def test_the_counters_table_of_the_facts() -> None:
    """FACTS, section 3, ViT_C-4GF: FlopCounterMode 3.63 G, torchinfo 0.446 G.

    torchinfo was measured on torchvision's model, whose nn.MultiheadAttention it counts as
    nothing; ours has two linear layers in its place, which it counts for one token.
    """
    *_, torchinfo, bare = count_work(model("vit_c_4gf"), device="cpu")
    assert bare.macs is not None
    assert torchinfo.macs is not None
    assert round(bare.macs / 1e9, 2) == 3.63
    inside = sum(n for layer, n in torchinfo.layers.items() if layer.endswith(("qkv", "out")))
    assert round((torchinfo.macs - inside) / 1e9, 3) == 0.446


def test_a_witness_that_is_not_there_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchinfo", None)
    witness = count_work(model("vit_p_1gf").stem, device="cpu")[3]
    assert (witness.macs, witness.status) == (None, "unavailable")
    assert witness.reason == "It is not installed."

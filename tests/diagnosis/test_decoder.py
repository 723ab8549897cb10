"""Which of several errors is explained, and what is said where none is known."""

from __future__ import annotations

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn, zeros

from tests.diagnosis.errors import SUM, error_of
from tests.diagnosis.runs import WIDTH, Made, cut, embedding, run, tokens
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.diagnosis.explanation import RunFacts
from vitc_inspect.stem.presets import PRESETS


def test_of_two_errors_the_last_one_counts() -> None:
    first = error_of(lambda: zeros(1, 257, 8) + zeros(1, 197, 8))
    last = error_of(lambda: nn.MultiheadAttention(384, 5))
    assert explain_error(f"{first}\nDuring handling of the above:\n{last}")[0].kind == "heads"
    assert explain_error(f"{last}\n{first}")[0].kind == "position table"
    assert explain_error(f"{first}\nKeyError: 'x'")[0].kind == "position table"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "KeyError: 'pos_embed'",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "The size of tensor a must match the size of tensor b",
        "size of tensor a (x) must match the size of tensor b (y) at non-singleton dimension 1",
        "mat1 and mat2 shapes cannot be multiplied (0x0 and 0x0)",
        "shape '[]' is invalid for input of size 0",
        "Expected input batch_size (4) to match target batch_size (3).",
    ],
)
def test_what_is_not_known_gets_no_explanation(text: str) -> None:
    assert explain_error(text) == ()


def test_where_nothing_agrees_with_the_run_that_is_said() -> None:
    """Two lengths of which the run's own map makes neither, and no grid is usual."""
    model = Made(lambda m, x: tokens(m.stem(x))[:, :37] + torch.zeros(1, 53, WIDTH), stem=cut())
    (meaning, *others) = run(model, 1, 3, 64, 64).explanations
    assert (meaning.kind, meaning.likelihood) == ("not known", "possible")
    assert "37" in meaning.sentence
    assert "53" in meaning.sentence
    assert others == []


def test_an_error_of_the_module_s_own_is_not_explained() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        m.stem(rearrange(x, "b c (h p) (w q) -> b (c p q) h w", p=4, q=4))
        raise ValueError("later, for a reason of its own")

    assert run(Made(forward, stem=nn.Conv2d(48, 16, 1)), 1, 3, 64, 64).explanations == ()


def test_a_failing_rule_of_the_decoder_leaves_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.delenv("VITC_STRICT_RULES", raising=False)
    monkeypatch.setattr("vitc_inspect.inspection.module_report.explain_error", fails)
    report = run(embedding(50), 1, 3, 64, 64)
    assert report.failure is not None
    assert report.explanations == ()


def test_facts_may_be_given_without_a_run() -> None:
    """64 pixels at stride 16 are 4·4 tokens, so 17 came; no reading speaks of another image."""
    text = SUM.format(17, 50, 1)
    assert explain_error(text)[0].numbers["image_height"] != 96
    facts = RunFacts(inputs=((1, 3, 64, 64),))
    for each in explain_error(text, facts=facts):
        assert each.numbers.get("image_height", 64) == 64


@pytest.mark.parametrize("name", ["swin_t", "pvt_v2_b2", "levit_256", "xcit_s12_16"])
def test_a_stem_without_a_position_table_has_no_part_in_a_message_about_one(name: str) -> None:
    text = SUM.format(257, 197, 1)
    for each, alone in zip(
        explain_error(text, spec=PRESETS[name].stem), explain_error(text), strict=True
    ):
        assert "The given stem has no position table" in each.sentence
        assert each.sentence.startswith(alone.sentence)
        assert each.likelihood == "possible"
    own = explain_error(text, spec=PRESETS["vit_c_4gf"].stem)[0]
    assert "no position table" not in own.sentence
    assert own.likelihood == "likely"

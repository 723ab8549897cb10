"""Names that the checkpoint or the model lacks: prefixes, depth, libraries."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn

from tests.diagnosis.checkpoints import Holder, Shapes, loading, loading_state, vit
from tests.diagnosis.errors import ConvStem, Embedding
from vitc_inspect.diagnosis import explain_error


@pytest.mark.parametrize("norm", [True, False])
def test_patchify_weights_do_not_fit_a_convolutional_stem(norm: bool) -> None:
    stem, patchify = ConvStem(norm=norm), Embedding(width=64)
    best = loading_state(stem, patchify)[0]
    assert best.kind == "stem"
    assert "The model has a convolutional stem of 5 convolutions" in best.sentence
    assert "the checkpoint a patchify stem" in best.sentence
    best = loading_state(patchify, stem)[0]
    assert "The model has a patchify stem" in best.sentence


def test_a_prefix_before_every_name_is_seen() -> None:
    best = loading_state(ConvStem(), nn.ModuleDict({"module": ConvStem()}))[0]
    assert "The checkpoint's names begin with “module.”" in best.sentence
    best = loading_state(nn.ModuleDict({"module": ConvStem()}), ConvStem())[0]
    assert "The model's names begin with “module.”" in best.sentence


def test_a_class_token_that_one_of_the_two_lacks() -> None:
    model = Embedding()
    del model.cls_token
    best = loading_state(model, Embedding())[0]
    assert best.sentence == "The checkpoint has a class token, cls_token, and the model has none."


PREFIXES = [
    ("module.", ""),
    ("_orig_mod.", ""),
    ("_orig_mod.module.", ""),
    ("model.", ""),
    ("backbone.", "encoder."),
    ("student.backbone.", ""),
    ("", "base_model.model."),
    ("", "vision_model."),
    ("model.visual.trunk.", "net."),
]


@pytest.mark.parametrize(("theirs", "ours"), PREFIXES)
def test_a_prefix_is_found_and_its_fix_makes_the_names_the_models(theirs: str, ours: str) -> None:
    kept = {theirs + name: shape for name, shape in vit().items()}
    built = {ours + name: shape for name, shape in vit().items()}
    best = loading(kept, built)[0]
    assert (best.kind, best.likelihood) == ("names", "certain")
    weights = Holder(kept).state_dict()
    renamed: dict[str, Tensor] = eval(
        best.fixes[0].partition(": ")[2].removesuffix("."), {"weights": weights}
    )
    Holder(built).load_state_dict(renamed)


def test_of_two_models_in_one_file_one_is_taken() -> None:
    """DINO saves student and teacher, each with a head of its own."""
    kept: dict[str, tuple[int, ...]] = {}
    for owner in ("student", "teacher"):
        kept |= {f"{owner}.backbone.{name}": shape for name, shape in vit().items()}
        kept |= {f"{owner}.head.mlp.0.weight": (8, 8), f"{owner}.head.last.weight": (8, 8)}
    best = loading(kept, vit())[0]
    assert (best.kind, best.likelihood) == ("names", "likely")
    weights = Holder(kept).state_dict()
    renamed = eval(best.fixes[0].partition(": ")[2].removesuffix("."), {"weights": weights})
    Holder(vit()).load_state_dict(renamed)


@pytest.mark.parametrize(
    ("holder", "others", "likelihood"),
    [
        ("model", {"optimizer": {}, "epoch": 3}, "certain"),
        ("state_dict", {"epoch": 3, "arch": "vit"}, "certain"),
        ("model_state_dict", {}, "likely"),
        ("teacher", {"student": {}, "optimizer": {}}, "certain"),
    ],
)
def test_a_checkpoint_that_was_given_whole(
    holder: str, others: dict[str, Any], likelihood: str
) -> None:
    model = Holder(vit())
    with pytest.raises(RuntimeError) as error:
        model.load_state_dict({holder: model.state_dict(), **others})
    best = explain_error(str(error.value))[0]
    assert (best.kind, best.likelihood) == ("nested", likelihood)
    assert f"checkpoint['{holder}']" in best.fixes[0]


def without(shapes: Shapes, *names: str) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in shapes.items() if not name.startswith(names)}


@pytest.mark.parametrize(
    ("kept", "built", "kind", "says"),
    [
        (without(vit(), "head"), vit(), "head", "The model has a classifier, head.weight"),
        (vit(), without(vit(), "cls_token"), "class token", "The checkpoint has a class token"),
        (vit() | {"mask_token": (1, 1, 8)}, vit(), "mask token", "The checkpoint has a mask token"),
        (vit(), vit() | {"reg_token": (1, 4, 8)}, "registers", "The model has register tokens"),
        (vit(), vit() | {"blocks.0.ls1.gamma": (8,)}, "layer scale", "The model has layer scale"),
        (
            vit() | {"norm.weight": (8,), "norm.bias": (8,)},
            vit() | {"fc_norm.weight": (8,), "fc_norm.bias": (8,)},
            "pooling",
            "a norm after the mean of the tokens (fc_norm)",
        ),
        (
            vit() | {"blocks.0.attn.relative_position_index": (4, 4)},
            vit(),
            "buffers",
            "computed, not learned",
        ),
    ],
)
def test_names_that_say_by_themselves_what_one_of_the_two_lacks(
    kept: Shapes, built: Shapes, kind: str, says: str
) -> None:
    (only,) = loading(kept, built)
    assert only.kind == kind
    assert says in only.sentence


def test_names_of_another_library_are_told_by_its_name() -> None:
    theirs = {
        "vit.embeddings.cls_token": (1, 1, 8),
        "vit.embeddings.position_embeddings": (1, 5, 8),
        "vit.embeddings.patch_embeddings.projection.weight": (8, 3, 4, 4),
        "vit.encoder.layer.0.attention.attention.query.weight": (8, 8),
    }
    best = loading(theirs, vit())[0]
    assert best.kind == "names"
    assert "those of timm" in best.sentence
    assert "those of transformers" in best.sentence


def test_blocks_that_are_all_missing_are_no_other_depth() -> None:
    found = loading({"head.weight": (10, 192), "head.bias": (10,)}, vit())
    assert "depth" not in [each.kind for each in found]


def test_blocks_in_stages_are_counted_in_their_stage() -> None:
    """Twins: blocks.2.10 is the eleventh block of the third stage."""

    def shapes(*depths: int) -> dict[str, tuple[int, ...]]:
        names = [f"blocks.{stage}.{n}" for stage, depth in enumerate(depths) for n in range(depth)]
        return {f"{name}.{part}": (4,) for name in names for part in ("a.weight", "b.weight")}

    (only,) = loading(shapes(2, 2, 10), shapes(2, 2, 18))
    assert only.kind == "depth"
    assert "The model has 18 blocks in “blocks.2” and the checkpoint 10" in only.sentence


def test_blocks_in_chunks_are_other_names_of_the_same() -> None:
    """DINOv2 parts its blocks for FSDP; block_chunks=0 leaves them as they are."""
    names = '"blocks.0.0.norm1.weight", "blocks.0.1.norm1.weight". ', '"blocks.1.norm1.weight". '
    for missing, unexpected, chunks in ((*names, 0), (*names[::-1], 4)):
        text = (
            f"Missing key(s) in state_dict: {missing}Unexpected key(s) in state_dict: {unexpected}"
        )
        best = explain_error(text)[0]
        assert best.kind == "names"
        assert f"block_chunks={chunks}" in best.fixes[0]

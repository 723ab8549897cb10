"""Inspections of all vision transformers of four libraries: python -m benchmarks.families [NAME…].

Inspects every vision transformer of torchvision, timm, vit-pytorch and transformers that can be
built small and without a download, with random weights. The table has for each model its rows,
layers that disagree with the prediction, functions without a count, rules that failed, faults and
seconds. The script fails if an inspection raises or changes the output of a model. NAME selects
models by a part of their name, `--tsv` prints tab-separated values, `--times SECONDS` limits the
time of each model. Needs requirements-bench.txt.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import signal
import sys
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vitc_inspect.inspection.module_inspection import inspect_call
from vitc_inspect.inspection.module_report import ModuleReport

_COLUMNS = ("model", "rows", "differ", "uncounted", "unchecked", "faults", "seconds")


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A model to inspect."""

    name: str
    """Library and name of the model."""
    make: Callable[[], nn.Module]
    """Builds the model with random weights."""
    inputs: tuple[Any, ...] = ()
    """Positional arguments of its forward; a shape stands for random values."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of its forward."""


class _TooLong(BaseException):
    """Ends an inspection that takes too long; not an Exception, so no model catches it."""


def main() -> int:
    """Inspect the models and print a table."""
    parser = argparse.ArgumentParser(description="Inspect whole families of models.")
    parser.add_argument("names", nargs="*", help="parts of names; none means all")
    parser.add_argument("--tsv", action="store_true", help="print tabs instead of a table")
    parser.add_argument("--times", type=int, default=60, help="seconds that a model may take")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    _forgive_torchvision()
    print(_line(_COLUMNS, options.tsv))
    if not options.tsv:
        print("|---" * len(_COLUMNS) + "|")
    remarks: list[str] = []
    broken = built = 0
    started = time.perf_counter()
    for guest in _guests():
        if options.names and not any(part in guest.name for part in options.names):
            continue
        cells, said, sound = _visit(guest, options.times)
        built += 1
        broken += not sound
        remarks += [f"{guest.name}: {each}" for each in said]
        print(_line((guest.name, *cells), options.tsv), flush=True)
    print(f"\n{built} models in {time.perf_counter() - started:.0f} s, {broken} failed.\n")
    print("\n".join(remarks))
    return 1 if broken else 0


def _visit(guest: Guest, seconds: int) -> tuple[tuple[str, ...], list[str], bool]:
    """The cells of a model's row, remarks on it, and whether all went well."""
    nothing = ("",) * (len(_COLUMNS) - 2)
    torch.manual_seed(0)
    try:
        with _no_longer_than(seconds):
            module = guest.make().eval()
    except (_TooLong, Exception) as error:  # noqa: BLE001  # other versions build it otherwise
        return ("not built", *nothing[1:], ""), [f"not built: {_short(error)}"], True
    inputs = tuple(_drawn(each) for each in guest.inputs)
    kwargs = {name: _drawn(each) for name, each in guest.kwargs.items()}
    alone = _outcome(module, inputs, kwargs)
    start = time.perf_counter()
    try:
        with _no_longer_than(seconds):
            report = inspect_call(module, inputs, kwargs)
    except _TooLong:
        return ("too long", *nothing), [], True
    except Exception:  # noqa: BLE001  # the one thing that must not happen
        return ("CRASHED", *nothing), [traceback.format_exc()], False
    taken = time.perf_counter() - start
    said = _said(report)
    same = _same(alone, _outcome(module, inputs, kwargs))
    own_failure = isinstance(alone, BaseException)
    sound = same and (report.failure is not None) == own_failure
    if not sound:
        said.append("ANOTHER OUTCOME THAN ALONE")
    if not report.audited:
        said.append(f"NOT AUDITED: {report.notes[-1][:200]}")
        sound = False
    if own_failure:
        said.append(f"raises without an inspection: {_short(alone)}")
    unchecked = tuple(getattr(report, "unchecked", ()))
    cells = (
        str(len(report.rows)),
        str(len(report.disagreements)),
        " ".join(report.uncounted) or "0",
        str(len(unchecked) or ("0" if report.audited else "no audit")),
        " ".join(f"{fault.kind} ({fault.likelihood})" for fault in report.faults) or "0",
        f"{taken:.1f}",
    )
    return cells, said, sound


def _said(report: ModuleReport) -> list[str]:
    """The remarks of a report beyond its numbers."""
    failure = report.failure
    return [
        *([f"raised {failure.kind}: {failure.message[:200]}"] if failure else []),
        *report.disagreements[:5],
        *(f"unchecked: {each}" for each in getattr(report, "unchecked", ())[:5]),
        *(f"fault, {each.likelihood}: {each.kind}: {each.sentence}" for each in report.faults),
        *(note for note in report.notes if "could not be looked for" in note),
    ]


def _outcome(module: nn.Module, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What a model returns without an inspection, or what it raises."""
    torch.manual_seed(1)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            return module(*inputs, **kwargs)
    except Exception as error:  # noqa: BLE001  # it is the model's own
        return error
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _same(one: Any, other: Any) -> bool:
    """Whether two outcomes are equal, with tensors compared by value."""
    if isinstance(one, BaseException):
        return type(one) is type(other) and str(one) == str(other)
    if isinstance(one, Tensor) and not one.is_nested:
        return isinstance(other, Tensor) and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, Mapping):
        return all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other)


def _drawn(value: Any) -> Any:
    """Random values for a shape; anything else unchanged."""
    if isinstance(value, tuple) and all(type(size) is int for size in value):
        return torch.randn(value, generator=torch.Generator().manual_seed(0))
    return value


@contextmanager
def _no_longer_than(seconds: int) -> Iterator[None]:
    def end(*_: Any) -> None:
        raise _TooLong

    signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def _short(error: Any) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _line(cells: tuple[str, ...], tsv: bool) -> str:
    return "\t".join(cells) if tsv else f"| {' | '.join(cells)} |"


def _forgive_torchvision() -> None:
    """Let torchvision be imported with a torch that its compiled extension was not built for."""
    name = "torchvision._meta_registrations"
    try:
        importlib.import_module(name)
    except (ImportError, RuntimeError):
        for each in [each for each in sys.modules if each.partition(".")[0] == "torchvision"]:
            del sys.modules[each]
        sys.modules[name] = types.ModuleType(name)


# ---- the models -----------------------------------------------------------------------------


def _guests() -> Iterator[Guest]:
    for family in (_torchvision, _timm, _vit_pytorch, _transformers):
        with suppress(ImportError):
            yield from family()


def _torchvision() -> Iterator[Guest]:
    from torchvision import models
    from torchvision.models.vision_transformer import ConvStemConfig

    vit = models.vision_transformer.VisionTransformer
    small = {
        "image_size": 64, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 32,
        "mlp_dim": 64, "num_classes": 10,
    }  # fmt: skip
    image = ((1, 3, 64, 64),)
    yield Guest(name="torchvision/vit", make=lambda: vit(**small), inputs=image)
    stem = [ConvStemConfig(8, 3, 2), ConvStemConfig(16, 3, 2), ConvStemConfig(32, 3, 2)]
    yield Guest(
        name="torchvision/vit, convolutional stem",
        make=lambda: vit(**small, conv_stem_configs=stem),
        inputs=image,
    )
    swin = models.swin_transformer
    shape: dict[str, Any] = {
        "patch_size": [4, 4], "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4],
        "window_size": [4, 4], "num_classes": 10,
    }  # fmt: skip
    yield Guest(name="torchvision/swin", make=lambda: swin.SwinTransformer(**shape), inputs=image)
    yield Guest(
        name="torchvision/swin_v2",
        make=lambda: swin.SwinTransformer(
            **shape,
            block=swin.SwinTransformerBlockV2,
            downsample_layer=swin.PatchMergingV2,
        ),
        inputs=((1, 3, 72, 56),),
    )
    yield Guest(
        name="torchvision/maxvit",
        make=lambda: models.maxvit.MaxVit(
            input_size=(64, 64), stem_channels=8, partition_size=4, block_channels=[8, 16],
            block_layers=[1, 1], head_dim=4, stochastic_depth_prob=0.1, num_classes=10,
        ),
        inputs=image,
    )  # fmt: skip
    block = models.convnext.CNBlockConfig
    yield Guest(
        name="torchvision/convnext",
        make=lambda: models.ConvNeXt([block(8, 16, 2), block(16, None, 2)], num_classes=10),
        inputs=image,
    )
    yield Guest(
        name="torchvision/resnet18", make=lambda: models.resnet18(num_classes=10), inputs=image
    )
    yield Guest(
        name="torchvision/efficientnet_b0", make=lambda: models.efficientnet_b0(), inputs=image
    )
    yield Guest(
        name="torchvision/mvit_v2_s",
        make=lambda: models.video.mvit_v2_s(num_classes=10),
        inputs=((1, 3, 16, 224, 224),),
    )
    yield Guest(
        name="torchvision/swin3d_t",
        make=lambda: models.video.swin3d_t(num_classes=10),
        inputs=((1, 3, 4, 64, 64),),
    )


_TIMM: Mapping[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"depth": 3},
    "vit_tiny_r_s16_p8_224": {"depth": 2},
    "vit_small_patch14_dinov2": {"depth": 2, "img_size": 98},
    "vit_small_patch14_reg4_dinov2": {"depth": 2, "img_size": 98},
    "vit_small_patch16_dinov3": {"depth": 2, "img_size": 96},
    "vit_base_patch16_siglip_224": {"depth": 2, "img_size": 96},
    "vit_base_patch32_clip_224": {"depth": 2},
    "vit_srelpos_small_patch16_224": {"depth": 2},
    "vit_relpos_small_patch16_224": {"depth": 2},
    "vit_medium_patch16_gap_240": {"depth": 2},
    "vit_small_resnet26d_224": {"depth": 1},
    "vit_base_mci_224": {"depth": 2},
    "test_vit": {},
    "test_vit2": {},
    "test_vit3": {},
    "test_vit4": {},
    "flexivit_small": {"depth": 2},
    "samvit_base_patch16_224": {"depth": 2},
    "deit_tiny_distilled_patch16_224": {"depth": 2},
    "deit3_small_patch16_224": {"depth": 2},
    "cait_xxs24_224": {"depth": 2},
    "levit_128s": {},
    "levit_conv_128s": {},
    "pit_ti_224": {},
    "pit_ti_distilled_224": {},
    "convit_tiny": {"depth": 3, "local_up_to_layer": 2},
    "crossvit_9_240": {},
    "crossvit_9_dagger_240": {},
    "twins_pcpvt_small": {},
    "twins_svt_small": {},
    "xcit_nano_12_p16_224": {"depth": 2},
    "xcit_nano_12_p8_224": {"depth": 2, "img_size": 96},
    "swin_tiny_patch4_window7_224": {"depths": (2, 2, 2, 2), "embed_dim": 48},
    "swinv2_tiny_window8_256": {"depths": (2, 2, 2, 2), "embed_dim": 48},
    "swinv2_cr_tiny_224": {"depths": (2, 2, 2, 2), "embed_dim": 48},
    "swin_s3_tiny_224": {"depths": (2, 2, 2, 2), "embed_dim": 48},
    "beit_base_patch16_224": {"depth": 2, "embed_dim": 48, "num_heads": 3},
    "beitv2_base_patch16_224": {"depth": 2, "embed_dim": 48, "num_heads": 3},
    "maxvit_rmlp_pico_rw_256": {},
    "maxvit_tiny_tf_224": {"depths": (1, 1, 1, 1), "embed_dim": (32, 64, 96, 128)},
    "maxxvit_rmlp_nano_rw_256": {"depths": (1, 1, 1, 1)},
    "maxxvitv2_nano_rw_256": {"depths": (1, 1, 1, 1)},
    "coatnet_pico_rw_224": {},
    "coatnet_rmlp_nano_rw_224": {"depths": (1, 1, 1, 1)},
    "coat_tiny": {},
    "coat_lite_tiny": {},
    "mobilevit_xxs": {},
    "mobilevitv2_050": {},
    "convnext_atto": {},
    "convnextv2_atto": {},
    "pvt_v2_b0": {},
    "pvt_v2_b2_li": {"depths": (1, 1, 1, 1)},
    "tnt_s_patch16_224": {"depth": 2},
    "nest_tiny": {},
    "mvitv2_tiny": {},
    "mvitv2_small_cls": {},
    "efficientformer_l1": {},
    "efficientformerv2_s0": {},
    "davit_tiny": {"depths": (1, 1, 1, 1)},
    "focalnet_tiny_srf": {},
    "edgenext_xx_small": {},
    "poolformer_s12": {},
    "poolformerv2_s12": {},
    "caformer_s18": {},
    "convformer_s18": {},
    "volo_d1_224": {},
    "hiera_tiny_224": {},
    "sam2_hiera_tiny": {},
    "eva02_tiny_patch14_224": {"depth": 2},
    "eva_giant_patch14_224": {"depth": 2, "embed_dim": 64, "num_heads": 4},
    "visformer_tiny": {},
    "gcvit_xxtiny": {},
    "fastvit_t8": {},
    "efficientvit_b0": {},
    "efficientvit_m0": {},
    "tiny_vit_5m_224": {},
    "repvit_m0_9": {},
    "vitamin_small_224": {"img_size": 96},
    "naflexvit_base_patch16_gap": {"depth": 2},
    "aimv2_large_patch14_224": {"depth": 2, "embed_dim": 64, "num_heads": 4},
    "mixer_s32_224": {},
    "resmlp_12_224": {},
    "gmlp_ti16_224": {},
    "convmixer_768_32": {},
    "sequencer2d_s": {"layers": (1, 1, 1, 1)},
    "swiftformer_xs": {},
    "shvit_s1": {},
    "inception_next_atto": {},
    "mambaout_femto": {},
    "nextvit_small": {},
    "starnet_s1": {},
    "rdnet_tiny": {},
    "lambda_resnet26t": {},
    "halonet26t": {},
    "botnet26t_256": {},
    "resnet10t": {},
    "resnetv2_18": {},
    "regnetx_002": {},
    "efficientnet_b0": {},
    "tf_efficientnetv2_b0": {},
    "ghostnet_050": {},
    "mobilenetv4_hybrid_medium": {},
    "test_convnext": {},
    "test_nfnet": {},
    "test_resnet": {},
    "test_mambaout": {},
}


def _timm() -> Iterator[Guest]:
    import timm

    known = set(timm.list_models())
    for name, options in _TIMM.items():
        if name in known:
            side = options.get("img_size") or _side_of(name)
            yield Guest(
                name=f"timm/{name}",
                make=lambda name=name, options=options: timm.create_model(  # type: ignore[misc]
                    name, **{"num_classes": 10, **options}
                ),
                inputs=((1, 3, side, side),),
            )
    yield Guest(
        name="timm/vit, dynamic size",
        make=lambda: timm.create_model(
            "vit_tiny_patch16_224", depth=2, dynamic_img_size=True, dynamic_img_pad=True
        ),
        inputs=((1, 3, 100, 132),),
    )
    yield Guest(
        name="timm/swin, oblong",
        make=lambda: timm.create_model(
            "swin_tiny_patch4_window7_224", depths=(2, 2), num_heads=(2, 4), embed_dim=32,
            img_size=(112, 168),
        ),
        inputs=((2, 3, 112, 168),),
    )  # fmt: skip
    yield Guest(
        name="timm/convnext, odd image",
        make=lambda: timm.create_model("test_convnext"),
        inputs=((1, 3, 157, 131),),
    )


def _side_of(name: str) -> int:
    """Side of the image that a model is made for (pixels)."""
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    return int(config.input_size[-1]) if config else 224


def _vit_pytorch() -> Iterator[Guest]:
    importlib.import_module("vit_pytorch")
    vit = {
        "image_size": 64, "patch_size": 8, "num_classes": 10, "dim": 32, "depth": 2, "heads": 2,
        "mlp_dim": 64,
    }  # fmt: skip
    no_mlp = {key: value for key, value in vit.items() if key != "mlp_dim"}
    video = {
        "image_size": 32, "image_patch_size": 8, "frames": 4, "frame_patch_size": 2,
        "num_classes": 10, "dim": 32, "heads": 2, "mlp_dim": 64,
    }  # fmt: skip
    film = (1, 3, 4, 32, 32)
    image = (1, 3, 64, 64)
    other = {
        "cait.CaiT": {**vit, "cls_depth": 1},
        "jumbo_vit.JumboViT": vit,
        "ats_vit.ViT": {**vit, "max_tokens_per_depth": (32, 16)},
        "simple_vit_with_fft.SimpleViT": {**vit, "freq_patch_size": 8},
        "simple_vit_with_hyper_connections.SimpleViT": {**vit, "num_residual_streams": 2},
        "normalized_vit.nViT": vit,
        "vit_with_patch_merger.ViT": {**vit, "patch_merge_layer": 1, "patch_merge_num_tokens": 8},
        "xcit.XCiT": {**vit, "cls_depth": 1},
        "pit.PiT": {**vit, "depth": (1, 1)},
        "nest.NesT": {
            **{key: vit[key] for key in ("image_size", "patch_size", "num_classes", "dim")},
            "heads": 2, "num_hierarchies": 2, "block_repeats": (1, 1),
        },
        "cct.CCT": {
            "img_size": 64, "embedding_dim": 32, "num_layers": 2, "num_heads": 2, "mlp_ratio": 2,
            "num_classes": 10, "n_conv_layers": 2, "positional_embedding": "learnable",
        },
        "levit.LeViT": {
            "image_size": 64, "num_classes": 10, "dim": (32, 48, 64), "depth": 1,
            "heads": (2, 3, 4),
            "mlp_mult": 2,
        },
        "t2t.T2TViT": {
            "image_size": 64, "num_classes": 10, "dim": 32, "depth": 2, "heads": 2, "mlp_dim": 64,
        },
        "cross_vit.CrossViT": {
            "image_size": 96, "num_classes": 10, "sm_dim": 24, "lg_dim": 32, "sm_patch_size": 12,
            "lg_patch_size": 16, "depth": 1, "sm_enc_heads": 2, "lg_enc_heads": 2,
            "sm_enc_mlp_dim": 48, "lg_enc_mlp_dim": 64, "lg_enc_depth": 1,
        },
        "look_vit.LookViT": {
            "dim": 32, "image_size": 96, "num_classes": 10, "depth": 1, "heads": 2,
        },
        "rvt.RvT": vit,
        "simple_vit_with_patch_dropout.SimpleViT": vit,
        "wwt.WWT": {**no_mlp, "num_slots": 4},
        "vat_siglip.SigLIP": {
            "image_size": 56, "patch_size": 14, "dim": 48, "depth": 2, "heads": 4, "mlp_dim": 64,
        },
        "jet_vit.JetViT": {**vit, "dim_head": 16},
        "looped_vit.LoopedViT": {**vit, "pre_loop_depth": 1, "post_loop_depth": 1},
    }  # fmt: skip
    other["looped_vit.LoopedViT"].pop("depth")  # type: ignore[attr-defined]
    plain = (
        "vit.ViT", "simple_vit.SimpleViT", "deepvit.DeepViT", "local_vit.LocalViT",
        "parallel_vit.ViT", "vit_for_small_dataset.ViT", "learnable_memory_vit.ViT", "mp3.ViT",
        "simple_flash_attn_vit.SimpleViT", "simple_uvit.SimpleUViT", "vat.ViT",
        "simple_vit_with_qk_norm.SimpleViT", "simple_vit_with_register_tokens.SimpleViT",
        "simple_vit_with_value_residual.SimpleViT", "vit_with_patch_dropout.ViT", "vit_5.ViT",
        "simple_vit_with_relative_proj_pos_bias.SimpleViT", "vit_detpool.ViTDetPool",
        "simple_vit_with_specialized_cls.SimpleViT", "vit_with_decorr.ViT",
        "simple_vit_with_sparse_gating.SimpleViTWithSparseGating", "vit_with_keel_post_ln.ViT",
        "simple_vit_orthog_residual_update.SimpleViT",
        "simple_vit_attn_residual.SimpleViTAttnResidual",
        "attn_residual_with_dca_simple_vit.SimpleViT",
    )  # fmt: skip
    for name in plain:
        yield _from_vit_pytorch(name, vit, image)
    sides = {
        "cross_vit.CrossViT": 96,
        "look_vit.LookViT": 96,
        "vat_siglip.SigLIP": 56,
        "jet_vit.JetViT": 64,
    }
    for name, options in other.items():
        side = sides.get(name, 64)
        yield _from_vit_pytorch(name, options, (1, 3, side, side))
    yield _from_vit_pytorch(
        "max_vit.MaxViT",
        {"num_classes": 10, "dim": 16, "depth": (1, 1), "dim_head": 8, "window_size": 4},
        image,
    )
    yield _from_vit_pytorch(
        "max_vit_with_registers.MaxViT",
        {"num_classes": 10, "dim": 16, "depth": (1, 1), "dim_head": 8, "window_size": 4},
        image,
    )
    yield _from_vit_pytorch(
        "cvt.CvT",
        {
            "num_classes": 10, "s1_emb_dim": 16, "s2_emb_dim": 24, "s3_emb_dim": 32,
            "s3_depth": 1, "s2_depth": 1, "s2_heads": 2, "s3_heads": 2,
        },
        image,
    )  # fmt: skip
    yield _from_vit_pytorch(
        "twins_svt.TwinsSVT",
        {
            "num_classes": 10, "s1_emb_dim": 16, "s2_emb_dim": 16, "s3_emb_dim": 16,
            "s4_emb_dim": 16, "s3_depth": 1, "s4_depth": 1,
        },
        (1, 3, 224, 224),
    )  # fmt: skip
    four = {"dim": (16, 16, 32, 32), "depth": (1, 1, 1, 1), "num_classes": 10}
    yield _from_vit_pytorch("regionvit.RegionViT", four, (1, 3, 224, 224))
    crossing = {**four, "dim": (64, 64, 64, 64)}  # a quarter of it is split over four kernels
    yield _from_vit_pytorch("crossformer.CrossFormer", crossing, (1, 3, 224, 224))
    yield _from_vit_pytorch(
        "sep_vit.SepViT",
        {"num_classes": 10, "dim": 16, "depth": (1, 1, 1, 1), "heads": (1, 2, 2, 2)},
        (1, 3, 224, 224),
    )
    yield _from_vit_pytorch(
        "scalable_vit.ScalableViT",
        {
            "num_classes": 10, "dim": 16, "depth": (1, 1, 1, 1), "heads": (2, 2, 2, 2),
            "reduction_factor": (8, 4, 2, 1), "window_size": (64, 32, None, None),
        },
        (1, 3, 256, 256),
    )  # fmt: skip
    yield _from_vit_pytorch(
        "mobile_vit.MobileViT",
        {
            "image_size": (64, 64), "dims": [16, 24, 32], "num_classes": 10,
            "channels": [8, 8, 8, 8, 16, 16, 24, 24, 32, 32, 64],
        },
        image,
    )  # fmt: skip
    for name in ("na_vit", "na_vit_nested_tensor"):
        images = [[torch.randn(3, 32, 48), torch.randn(3, 64, 16)], [torch.randn(3, 24, 24)]]
        flat = [each for group in images for each in group]
        yield _from_vit_pytorch(f"{name}.NaViT", vit, images if name == "na_vit" else flat)
    yield _from_vit_pytorch("vit_3d.ViT", {**video, "depth": 2}, film)
    yield _from_vit_pytorch("simple_vit_3d.SimpleViT", {**video, "depth": 2}, film)
    yield _from_vit_pytorch("simple_flash_attn_vit_3d.SimpleViT", {**video, "depth": 2}, film)
    for variant in ("factorized_encoder", "factorized_self_attention"):
        options = {**video, "spatial_depth": 1, "temporal_depth": 1, "variant": variant}
        yield _from_vit_pytorch("vivit.ViViT", options, film)
    yield _from_vit_pytorch(
        "cct_3d.CCT",
        {
            "img_size": 32, "num_frames": 4, "embedding_dim": 32, "n_conv_layers": 1,
            "frame_kernel_size": 3, "num_layers": 1, "num_heads": 2, "num_classes": 10,
            "positional_embedding": "learnable",
        },
        film,
    )  # fmt: skip
    strip = {**vit, "seq_len": 64}
    strip.pop("image_size")
    yield _from_vit_pytorch("vit_1d.ViT", strip, (1, 3, 64))
    yield _from_vit_pytorch("simple_vit_1d.SimpleViT", strip, (1, 3, 64))
    cube = {**vit, "ndim": 3, "input_shape": (4, 16, 16), "patch_size": (2, 4, 4)}
    cube.pop("image_size")
    yield _from_vit_pytorch("vit_nd.ViTND", cube, (1, 3, 4, 16, 16))
    yield _from_vit_pytorch("vit_nd_rotary.ViTND", cube, (1, 3, 4, 16, 16))

    def masked() -> nn.Module:
        from vit_pytorch import MAE, ViT

        return MAE(
            encoder=ViT(**vit, pool="mean"), decoder_dim=16, decoder_depth=1, decoder_heads=2
        )

    yield Guest(name="vit_pytorch/mae.MAE", make=masked, inputs=(image,))

    def simmim() -> nn.Module:
        from vit_pytorch import ViT
        from vit_pytorch.simmim import SimMIM

        return SimMIM(encoder=ViT(**vit, pool="mean"))

    yield Guest(name="vit_pytorch/simmim.SimMIM", make=simmim, inputs=(image,))

    def encoded() -> nn.Module:
        from vit_pytorch.efficient import ViT

        layer = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True)
        short = {key: vit[key] for key in ("image_size", "patch_size", "num_classes", "dim")}
        return ViT(**short, transformer=nn.TransformerEncoder(layer, 2))

    yield Guest(name="vit_pytorch/efficient.ViT", make=encoded, inputs=(image,))


def _from_vit_pytorch(name: str, options: Mapping[str, Any], given: Any) -> Guest:
    file, kind = name.split(".")

    def make() -> nn.Module:
        module: nn.Module = getattr(importlib.import_module(f"vit_pytorch.{file}"), kind)(**options)
        return module

    variant = options.get("variant")
    whole = f"vit_pytorch/{name}{f', {variant}' if variant else ''}"
    return Guest(name=whole, make=make, inputs=(given,))


_SMALL = {
    "image_size": 64, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 64,
}  # fmt: skip
_STAGES = {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2}
_SWIN = {"image_size": 64, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
_DETR = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_queries": 8,
}  # fmt: skip
_FRAMES = {**_SMALL, "num_frames": 4}
_IMAGE, _FILM = (1, 3, 64, 64), (1, 4, 3, 64, 64)

_TRANSFORMERS: tuple[tuple[str, str, dict[str, Any], tuple[int, ...]], ...] = (
    # model, configuration, options, pixels
    ("ViTModel", "ViTConfig", _SMALL, _IMAGE),
    ("ViTForImageClassification", "ViTConfig", _SMALL, _IMAGE),
    ("ViTForMaskedImageModeling", "ViTConfig", {**_SMALL, "encoder_stride": 8}, _IMAGE),
    ("DeiTModel", "DeiTConfig", _SMALL, _IMAGE),
    ("DeiTForImageClassificationWithTeacher", "DeiTConfig", _SMALL, _IMAGE),
    ("BeitModel", "BeitConfig", {**_SMALL, "use_relative_position_bias": True}, _IMAGE),
    (
        "BeitForSemanticSegmentation",
        "BeitConfig",
        {**_SMALL, "num_hidden_layers": 4, "out_indices": [1, 2, 3, 4]},
        _IMAGE,
    ),
    ("Data2VecVisionModel", "Data2VecVisionConfig", _SMALL, _IMAGE),
    ("SwinModel", "SwinConfig", _SWIN, _IMAGE),
    ("SwinForMaskedImageModeling", "SwinConfig", {**_SWIN, "encoder_stride": 8}, _IMAGE),
    ("Swinv2Model", "Swinv2Config", _SWIN, _IMAGE),
    ("SwinModel", "SwinConfig", _SWIN, (1, 3, 72, 104)),
    ("DonutSwinModel", "DonutSwinConfig", _SWIN, _IMAGE),
    ("MaskFormerSwinModel", "MaskFormerSwinConfig", _SWIN, _IMAGE),
    (
        "Swin2SRForImageSuperResolution",
        "Swin2SRConfig",
        {"image_size": 32, "embed_dim": 16, "depths": [2], "num_heads": [2], "window_size": 4},
        (1, 3, 32, 32),
    ),
    ("Dinov2Model", "Dinov2Config", _SMALL, _IMAGE),
    ("Dinov2Model", "Dinov2Config", _SMALL, (1, 3, 96, 48)),
    ("Dinov2ForImageClassification", "Dinov2Config", _SMALL, _IMAGE),
    ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", _SMALL, _IMAGE),
    ("DINOv3ViTModel", "DINOv3ViTConfig", _SMALL, _IMAGE),
    (
        "DINOv3ConvNextModel",
        "DINOv3ConvNextConfig",
        {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]},
        _IMAGE,
    ),
    (
        "ViTMAEForPreTraining",
        "ViTMAEConfig",
        {
            **_SMALL,
            "decoder_hidden_size": 32,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 32,
        },
        _IMAGE,
    ),
    ("ViTMSNModel", "ViTMSNConfig", _SMALL, _IMAGE),
    ("IJepaModel", "IJepaConfig", _SMALL, _IMAGE),
    (
        "SamVisionModel",
        "SamVisionConfig",
        {**_SMALL, "window_size": 3, "global_attn_indexes": [1], "output_channels": 16},
        _IMAGE,
    ),
    (
        "Sam2VisionModel",
        "Sam2VisionConfig",
        {"fpn_hidden_size": 16, "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]]},
        _IMAGE,
    ),
    (
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {
            "hidden_sizes": [8, 16, 16, 32],
            "depths": [1, 1, 1, 1],
            "decoder_hidden_size": 16,
            "num_attention_heads": [1, 2, 2, 4],
        },
        _IMAGE,
    ),
    (
        "GLPNForDepthEstimation",
        "GLPNConfig",
        {
            "hidden_sizes": [8, 16, 16, 32],
            "depths": [1, 1, 1, 1],
            "decoder_hidden_size": 16,
            "num_attention_heads": [1, 2, 2, 4],
        },
        _IMAGE,
    ),
    ("ConvNextModel", "ConvNextConfig", _STAGES, _IMAGE),
    ("ConvNextV2Model", "ConvNextV2Config", _STAGES, _IMAGE),
    (
        "CvtModel",
        "CvtConfig",
        {"embed_dim": [16, 24, 32], "num_heads": [1, 2, 2], "depth": [1, 2, 3]},
        _IMAGE,
    ),
    (
        "LevitModel",
        "LevitConfig",
        {
            "image_size": 64,
            "hidden_sizes": [32, 48, 64],
            "num_attention_heads": [2, 3, 4],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
        },
        _IMAGE,
    ),
    (
        "PvtModel",
        "PvtConfig",
        {"image_size": 64, "hidden_sizes": [8, 16, 20, 32], "depths": [1, 1, 1, 1]},
        _IMAGE,
    ),
    (
        "PvtV2Model",
        "PvtV2Config",
        {"hidden_sizes": [16, 16, 20, 32], "depths": [1, 1, 1, 1]},
        _IMAGE,
    ),
    (
        "MobileViTModel",
        "MobileViTConfig",
        {"image_size": 64, "hidden_sizes": [16, 24, 32], "num_attention_heads": 2},
        _IMAGE,
    ),
    ("MobileViTV2Model", "MobileViTV2Config", {"image_size": 64, "width_multiplier": 0.5}, _IMAGE),
    (
        "DPTForDepthEstimation",
        "DPTConfig",
        {
            **_SMALL,
            "patch_size": 16,
            "num_hidden_layers": 4,
            "backbone_out_indices": [0, 1, 2, 3],
            "neck_hidden_sizes": [8, 8, 16, 16],
            "fusion_hidden_size": 16,
            "is_hybrid": False,
        },
        _IMAGE,
    ),
    (
        "DepthAnythingForDepthEstimation",
        "DepthAnythingConfig",
        {
            "backbone_config": {
                "model_type": "dinov2",
                **_SMALL,
                "patch_size": 14,
                "image_size": 70,
                "num_hidden_layers": 4,
                "out_features": ["stage1", "stage2", "stage3", "stage4"],
                "reshape_hidden_states": False,
            },
            "reassemble_hidden_size": 32,
            "patch_size": 14,
            "neck_hidden_sizes": [8, 8, 16, 16],
            "fusion_hidden_size": 16,
        },
        (1, 3, 70, 70),
    ),
    ("CLIPVisionModel", "CLIPVisionConfig", _SMALL, _IMAGE),
    ("CLIPVisionModelWithProjection", "CLIPVisionConfig", {**_SMALL, "projection_dim": 16}, _IMAGE),
    ("SiglipVisionModel", "SiglipVisionConfig", _SMALL, _IMAGE),
    ("ChineseCLIPVisionModel", "ChineseCLIPVisionConfig", _SMALL, _IMAGE),
    ("AltCLIPVisionModel", "AltCLIPVisionConfig", _SMALL, _IMAGE),
    ("OwlViTVisionModel", "OwlViTVisionConfig", _SMALL, _IMAGE),
    (
        "GroupViTVisionModel",
        "GroupViTVisionConfig",
        {
            "image_size": 64,
            "patch_size": 8,
            "hidden_size": 32,
            "depths": [1, 1, 1],
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "num_group_tokens": [8, 4, 0],
            "num_output_groups": [8, 4, 0],
        },
        _IMAGE,
    ),
    ("Aimv2VisionModel", "Aimv2VisionConfig", _SMALL, _IMAGE),
    (
        "XCLIPVisionModel",
        "XCLIPVisionConfig",
        {**_SMALL, "num_frames": 2, "mit_hidden_size": 32},
        (2, 3, 64, 64),
    ),
    ("VideoMAEModel", "VideoMAEConfig", _FRAMES, _FILM),
    ("TimesformerModel", "TimesformerConfig", _FRAMES, _FILM),
    ("VivitModel", "VivitConfig", {**_FRAMES, "tubelet_size": [2, 8, 8]}, _FILM),
    (
        "VitDetModel",
        "VitDetConfig",
        {
            **_SMALL,
            "window_size": 3,
            "window_block_indices": [0],
            "use_relative_position_embeddings": True,
        },
        _IMAGE,
    ),
    (
        "HieraModel",
        "HieraConfig",
        {
            "image_size": [64, 64],
            "embed_dim": 16,
            "depths": [1, 1, 1],
            "num_heads": [1, 2, 4],
            "query_stride": [2, 2],
            "masked_unit_size": [4, 4],
            "num_query_pool": 2,
        },
        _IMAGE,
    ),
    (
        "YolosModel",
        "YolosConfig",
        {**_SMALL, "image_size": [64, 64], "num_detection_tokens": 8},
        _IMAGE,
    ),
    (
        "YolosForObjectDetection",
        "YolosConfig",
        {**_SMALL, "image_size": [64, 64], "num_detection_tokens": 8},
        _IMAGE,
    ),
    (
        "PoolFormerModel",
        "PoolFormerConfig",
        {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]},
        _IMAGE,
    ),
    (
        "FocalNetModel",
        "FocalNetConfig",
        {"image_size": 64, "embed_dim": 16, "depths": [1, 1, 1, 1]},
        _IMAGE,
    ),
    (
        "SwiftFormerModel",
        "SwiftFormerConfig",
        {"image_size": 64, "depths": [1, 1, 1, 1], "embed_dims": [8, 16, 16, 32]},
        _IMAGE,
    ),
    (
        "EfficientNetModel",
        "EfficientNetConfig",
        {"image_size": 64, "width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640},
        _IMAGE,
    ),
    (
        "RegNetModel",
        "RegNetConfig",
        {
            "hidden_sizes": [8, 16, 16, 32],
            "depths": [1, 1, 1, 1],
            "embedding_size": 8,
            "groups_width": 8,
        },
        _IMAGE,
    ),
    (
        "ResNetModel",
        "ResNetConfig",
        {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "embedding_size": 8},
        _IMAGE,
    ),
    (
        "BitModel",
        "BitConfig",
        {
            "hidden_sizes": [32, 32, 64, 64],
            "depths": [1, 1, 1, 1],
            "embedding_size": 32,
            "num_groups": 8,
        },
        _IMAGE,
    ),
    (
        "MgpstrModel",
        "MgpstrConfig",
        {**_SMALL, "image_size": [32, 64], "patch_size": 4},
        (1, 3, 32, 64),
    ),
    (
        "ImageGPTModel",
        "ImageGPTConfig",
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
        (),
    ),
    (
        "VitPoseBackbone",
        "VitPoseBackboneConfig",
        {**_SMALL, "image_size": [64, 48], "patch_size": [8, 8]},
        (1, 3, 64, 48),
    ),
    (
        "PerceiverForImageClassificationConvProcessing",
        "PerceiverConfig",
        {
            "num_latents": 8,
            "d_latents": 32,
            "num_self_attends_per_block": 1,
            "num_self_attention_heads": 2,
            "num_cross_attention_heads": 1,
        },
        (1, 3, 224, 224),
    ),
    (
        "PerceiverForImageClassificationFourier",
        "PerceiverConfig",
        {
            "num_latents": 8,
            "d_latents": 32,
            "num_self_attends_per_block": 1,
            "num_self_attention_heads": 2,
            "num_cross_attention_heads": 1,
        },
        (1, 3, 224, 224),
    ),
    (
        "VJEPA2Model",
        "VJEPA2Config",
        {
            **_SMALL,
            "crop_size": 64,
            "frames_per_clip": 4,
            "tubelet_size": 2,
            "pred_hidden_size": 32,
            "pred_num_attention_heads": 2,
            "pred_num_hidden_layers": 1,
        },
        _FILM,
    ),
    ("PixioModel", "PixioConfig", _SMALL, _IMAGE),
    ("TextNetModel", "TextNetConfig", {}, _IMAGE),
    (
        "Mask2FormerModel",
        "Mask2FormerConfig",
        {
            "backbone_config": {
                "model_type": "swin",
                "image_size": 64,
                "embed_dim": 16,
                "depths": [1, 1, 1, 1],
                "num_heads": [2, 2, 4, 4],
                "window_size": 4,
                "out_features": ["stage1", "stage2", "stage3", "stage4"],
            },
            "feature_size": 32,
            "mask_feature_size": 32,
            "hidden_dim": 32,
            "encoder_layers": 1,
            "decoder_layers": 2,
            "num_attention_heads": 2,
            "num_queries": 4,
            "dim_feedforward": 32,
            "encoder_feedforward_dim": 32,
        },
        _IMAGE,
    ),
    (
        "MaskFormerModel",
        "MaskFormerConfig",
        {
            "backbone_config": {
                "model_type": "swin",
                "image_size": 64,
                "embed_dim": 16,
                "depths": [1, 1, 1, 1],
                "num_heads": [2, 2, 4, 4],
                "window_size": 4,
                "out_features": ["stage1", "stage2", "stage3", "stage4"],
            },
            "decoder_config": {"model_type": "detr", **_DETR},
            "fpn_feature_size": 32,
            "mask_feature_size": 32,
        },
        _IMAGE,
    ),
    *(
        (
            f"{kind}ForObjectDetection",
            f"{kind}Config",
            {
                **_DETR,
                "use_timm_backbone": False,
                "use_pretrained_backbone": False,
                "backbone": None,
                "backbone_config": {
                    "model_type": "resnet",
                    "hidden_sizes": [8, 16, 16, 32],
                    "depths": [1, 1, 1, 1],
                    "embedding_size": 8,
                    "out_features": ["stage4"],
                },
            },
            _IMAGE,
        )
        for kind in ("Detr", "ConditionalDetr", "DabDetr")
    ),
)


def _transformers() -> Iterator[Guest]:
    import transformers

    for model, configuration, options, pixels in _TRANSFORMERS:
        if not hasattr(transformers, model):
            continue

        def make(
            model: str = model, name: str = configuration, options: Any = options
        ) -> nn.Module:
            config = getattr(transformers, name)(**options)
            module: nn.Module = getattr(transformers, model)(config)
            return module

        kwargs: dict[str, Any] = {"pixel_values": pixels}
        if model.startswith("Perceiver"):
            kwargs = {"inputs": pixels}
        elif model == "ImageGPTModel":
            kwargs = {"input_ids": torch.arange(32)[None]}
        elif model == "VJEPA2Model":
            kwargs = {"pixel_values_videos": pixels}
        elif model == "GroupViTVisionModel":
            kwargs = {"pixel_values": pixels}
        name = f"transformers/{model}"
        if pixels and pixels[-2] != pixels[-1]:
            name += f", {pixels[-2]}×{pixels[-1]}"
        yield Guest(name=name, make=make, kwargs=kwargs)


if __name__ == "__main__":
    sys.exit(main())

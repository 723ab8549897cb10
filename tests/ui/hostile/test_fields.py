"""Every field of every call with values of a wrong type, without bound, or absurd."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import pytest

from tests.ui.hostile.client import MARK, SMALL, Client, sentence_of
from tests.ui.hostile.ordinary import module_still_right, still_right

DEEP: Any = reduce(lambda inner, _: [inner], range(900), 1)
LONG = "9" * 100_000
ROW = {
    "kernel_size": "4",
    "stride": "4",
    "padding": "0",
    "dilation": "1",
    "groups": "1",
    "out_channels": "8",
    "bias": "1",
    "norm": "none",
    "activation": "none",
}
CASES: list[tuple[str, dict[str, Any], str]] = [
    # the function, what of an ordinary request is changed, and the begin of the sentence; empty
    # where the value is ignored or fits
    ("predict", {"preset": 3}, "preset = "),
    ("predict", {"preset": {"a": MARK}}, "preset = "),
    ("predict", {"preset": DEEP}, "preset = "),
    ("predict", {"stem": None}, "stem = "),
    ("predict", {"stem": 4}, "stem = "),
    ("predict", {"stem": ["4x4/4:8"]}, "stem = "),
    ("predict", {"stem": {"toString": MARK}}, "stem = "),
    ("predict", {"stem": math.nan}, "stem = "),
    ("predict", {"stem": DEEP}, "stem = "),
    ("predict", {"rows": None}, "convs = "),
    ("predict", {"rows": []}, "convs = "),
    ("predict", {"rows": "rows"}, "convs = "),
    ("predict", {"rows": [None]}, "proj.out_channels = "),
    ("predict", {"rows": [[ROW]]}, "proj.out_channels = "),
    ("predict", {"rows": [{}] * 2000}, "conv1.out_channels = "),
    ("predict", {"rows": [{**ROW, "kernel_size": MARK}]}, "proj.kernel_size = "),
    ("predict", {"rows": [{**ROW, "stride": 0}]}, "proj.stride = "),
    ("predict", {"rows": [{**ROW, "padding": -1}]}, "proj.padding = "),
    ("predict", {"rows": [{**ROW, "dilation": "1e3"}]}, "proj.dilation = "),
    ("predict", {"rows": [{**ROW, "groups": "3"}]}, "proj.groups = "),
    ("predict", {"rows": [{**ROW, "out_channels": LONG}]}, "proj.out_channels = "),
    ("predict", {"rows": [{**ROW, "norm": MARK}]}, "proj.norm = "),
    ("predict", {"rows": [{**ROW, "activation": "__class__"}]}, "proj.activation = "),
    ("predict", {"rows": [{**ROW, "bias": {}}]}, ""),
    ("predict", {"rows": [{**ROW, MARK: MARK}]}, ""),
    ("predict", {"height": "", "width": ""}, "image_size = "),
    ("predict", {"height": True}, "image_height = "),
    ("predict", {"height": 3.5}, "image_height = "),
    ("predict", {"height": math.inf}, "image_height = "),
    ("predict", {"height": -(10**100)}, "image_height = "),
    ("predict", {"width": LONG}, "image_width = "),
    ("predict", {"width": MARK}, "image_width = "),
    ("predict", {"width": "٣٢"}, "image_width = "),
    ("predict", {"in_channels": [3]}, "in_channels = "),
    ("predict", {"in_channels": "3; 4"}, "in_channels = "),
    ("predict", {"in_channels": 10**18}, "in_channels = "),
    ("predict", {"class_token": "maybe"}, ""),
    ("predict", {"class_token": DEEP}, ""),
    ("predict", {"position_table": {}}, ""),
    ("predict", {"encoder": "1"}, "num_heads = "),
    ("predict", {"encoder": "1", "depth": "-1"}, "depth = "),
    ("predict", {"encoder": "1", "depth": "2", "num_heads": "3", "mlp_ratio": "4"}, "num_heads = "),
    ("predict", {"encoder": "1", "depth": "2", "num_heads": "2", "mlp_ratio": "1e999"}, "mlp_r"),
    ("predict", {"encoder": "1", "depth": "2", "num_heads": "2", "mlp_ratio": "-4"}, "mlp_ratio"),
    ("predict", {"encoder": "1", "depth": "2", "num_heads": "2", "mlp_ratio": MARK}, "mlp_ratio"),
    (
        "predict",
        {"encoder": "1", "depth": "2", "num_heads": "2", "mlp_ratio": "4", "attention": MARK},
        "attention = ",
    ),
    ("predict", {"image": 7}, "image = "),
    ("predict", {"image": ["ramp"]}, "image = "),
    ("predict", {"image": MARK}, "image = "),
    ("predict", {"image": "ramp\0"}, "image = "),
    ("predict", {"image": "a" * 10**6}, "image = "),
    ("predict", {"seed": "-1"}, "seed = "),
    ("predict", {"seed": 2**64}, "seed = "),
    ("predict", {"seed": LONG}, "seed = "),
    ("predict", {"seed": False}, "seed = "),
    ("predict", {"dtype": None}, "dtype = "),
    ("predict", {"dtype": "torch.float32"}, "dtype = "),
    ("predict", {"dtype": ["float32"]}, "dtype = "),
    ("predict", {"weights": {"file": "a"}}, "weights = "),
    ("predict", {"norm_statistics": MARK}, "norm_statistics = "),
    ("predict", {"fit": MARK}, "fit = "),
    ("picture", {"image": MARK}, "image = "),
    ("picture", {"fit": ["pad"]}, "fit = "),
    ("picture", {"height": 10**9}, "image_height = "),
    ("predict", {"view": MARK}, ""),
    ("predict", {"view": "__init__"}, ""),
    ("predict", {"layer": MARK}, ""),
    ("predict", {"layer": DEEP}, ""),
    ("predict", {"unfolded": "yes"}, ""),
    ("predict", {"panel_width": math.nan}, ""),
    ("predict", {"panel_width": -math.inf}, ""),
    ("predict", {"panel_width": 10**300}, ""),
    ("predict", {"panel_width": "wide"}, ""),
    ("predict", {"aspect": 0}, ""),
    ("predict", {"aspect": math.nan}, ""),
    ("predict", {"aspect": [1]}, ""),
    ("predict", {"sizes": ["1"] * 3000}, ""),
    ("predict", {"reading": 10**300}, ""),
    ("predict", {"self": 1, "cls": 2, "message": 3, "__class__": "x"}, ""),
    ("run", {"stem": DEEP}, "stem = "),
    ("run", {"device": ""}, "device = "),
    ("run", {"device": 3}, "device = "),
    ("run", {"device": MARK}, "device = "),
    ("run", {"device": "meta"}, "device = "),
    ("run", {"device": "cpu:99999999999"}, "device = "),
    ("run", {"dtype": MARK}, "dtype = "),
    ("run", {"weights": "file:nothing.pt"}, "weights = "),
    ("run", {"weights": f"file:{MARK}"}, "weights = "),
    ("run", {"weights": "file:" + "../" * 1000}, "weights = "),
    ("run", {"layer": MARK}, ""),
    ("run", {"view": "cell", "cell": "9,99999,99999"}, ""),
    ("run", {"view": "cell", "cell": MARK}, ""),
    ("run", {"view": "cell", "cell": "-1,-1,-1"}, ""),
    ("run", {"view": "cell", "cell": LONG}, ""),
    ("run", {"view": "maps", "cell": "9" * 30}, ""),
    ("run", {"view": "maps", "cell": [1, 2, 3]}, ""),
    ("run", {"view": "tokens", "token": "99,99"}, ""),
    ("run", {"view": "tokens", "token": MARK}, ""),
    ("run", {"view": "tokens", "token": "-1"}, ""),
    ("run", {"view": "tokens", "token": {"x": 1}}, ""),
    ("run", {"view": "pixels", "layer": "../.."}, ""),
    ("run", {"sorting": MARK}, ""),
    ("run", {"sorting": 3, "scale": 4}, ""),
    ("run", {"scale": "__class__"}, ""),
    ("run", {"part": MARK}, ""),
    ("run", {"part": "panel", "view": MARK}, ""),
    ("run", {"panel_width": math.nan, "view": "cell"}, ""),
    ("run", {"aspect": math.nan, "part": "panel"}, ""),
    ("run", {"aspect": -math.inf, "part": "panel"}, ""),
    ("run", {"ticket": "t" * 10**6}, ""),
    ("run", {"ticket": {"a": DEEP}}, ""),
    ("witnesses", {"stem": ""}, "stem = "),
    ("witnesses", {"device": MARK}, "device = "),
    ("time", {"seed": ""}, "seed = "),
    ("time", {"device": "gpu"}, "device = "),
    ("time", {"ticket": MARK * 1000}, ""),
    ("explain", {"text": None}, ""),
    ("explain", {"text": MARK}, ""),
    ("explain", {"text": DEEP}, ""),
    ("explain", {"text": "(" * 10**6}, ""),
    ("explain", {"text": "\ud800\0\u202e" * 10**5}, ""),
    ("explain", {"text": f"mat1 and mat2 shapes cannot be multiplied ({LONG}x3 and 4x5)"}, ""),
    ("explain", {"text": f"size mismatch for {MARK}: copying a param with shape [1, 2]"}, ""),
    ("explain", {"text": f"shape '[1, {MARK}]' is invalid for input of size 12"}, ""),
    ("explain", {"text": "shape '[1, 7]' is invalid for input of size 12", "stem": DEEP}, ""),
    ("save", {"layer": ""}, ""),
    ("save", {"layer": MARK}, ""),
    ("save", {"layer": "../../etc/passwd"}, ""),
    ("save", {"layer": 10**300}, ""),
    ("cancel", {"ticket": None}, ""),
    ("cancel", {"ticket": "another visitor's"}, ""),
    ("cancel", {"ticket": DEEP}, ""),
    ("progress", {"ticket": ""}, ""),
    ("progress", {"ticket": MARK}, ""),
    ("progress", {"ticket": [0] * 1000}, ""),
]
OF_MODULES: list[tuple[str, dict[str, Any], str]] = [
    ("show", {"image": MARK}, "image = "),
    ("show", {"image": "/etc/passwd"}, "image = "),
    ("show", {"image": 3}, "image = "),
    ("show", {"image": "upload-1"}, "missing"),
    ("show", {"sizes": "1,3,32,32"}, ""),
    ("show", {"sizes": [MARK]}, "input = "),
    ("show", {"sizes": [[1, 3, 32, 32]]}, "input = "),
    ("show", {"sizes": ["1,3,-32,32"]}, "input = "),
    ("show", {"sizes": ["0,3,32,32"]}, "input = "),
    ("show", {"sizes": ["1,3,99999,99999"]}, "input = "),
    ("show", {"sizes": [LONG]}, "input = "),
    ("show", {"sizes": ["1,3,32,32"] * 50}, "input = "),
    ("show", {"sizes": ["1," * 1000 + "1"]}, "input = "),
    ("show", {"sizes": ["nan,3,32,32"]}, "input = "),
    ("show", {"sizes": ["image=1,3,32,32"]}, "input = "),
    ("show", {"sizes": ["1,1,1,1"]}, ""),
    ("show", {"layer": MARK}, ""),
    ("show", {"layer": LONG}, ""),
    ("show", {"view": MARK}, ""),
    ("show", {"view": "reach", "token": MARK}, ""),
    ("show", {"view": "reach", "token": "9" * 30}, ""),
    ("show", {"view": "reach", "token": "-1,-1"}, ""),
    ("show", {"view": "pixels", "panel_width": math.nan}, ""),
    ("show", {"cell": MARK}, ""),
    ("show", {"cell": "9" * 5000}, ""),
    ("show", {"sorting": MARK, "scale": MARK}, ""),
    ("show", {"aspect": math.nan}, ""),
    ("show", {"reading": -1, "part": "panel"}, ""),
    ("show", {"reading": math.inf, "part": MARK}, ""),
    ("show", {"module": "os:system", "file": "/etc/passwd", "device": "cuda"}, ""),
    ("reload", {"module": "os:system"}, ""),
    ("reload", {"sizes": [None]}, "input = "),
    ("reload", {"image": DEEP}, "image = "),
    ("changed", {"reading": MARK}, ""),
    ("changed", {"files": ["/etc/passwd"]}, ""),
    ("save", {"layer": MARK}, ""),
    ("save", {"layer": "/flatten:1\0"}, ""),
    ("save", {"sizes": ["x"]}, "input = "),
    ("show", {"fit": MARK}, "fit = "),
    ("picture", {"fit": MARK}, "fit = "),
    ("picture", {"sizes": ["x"]}, "input = "),
    ("picture", {"sizes": ["1,3,999999999,1"]}, ""),
    ("picture", {"image": "random"}, "image = "),
    ("save", {"image": MARK}, "image = "),
    ("cancel", {"ticket": MARK}, ""),
    ("progress", {"ticket": DEEP}, ""),
]


def named(cases: list[tuple[str, dict[str, Any], str]]) -> list[str]:
    """A name for each case: the function, the fields, and what is given."""
    return [f"{function} {', '.join(given)} {str(given)[:40]!a}" for function, given, _ in cases]


def check(answer: dict[str, Any], said: str) -> None:
    if said == "missing":
        assert answer == {"missing_picture": True}
    else:
        assert "error" in answer or said == ""
        assert "error" not in answer or (said and sentence_of(answer).startswith(said)), answer


@pytest.mark.parametrize(("function", "given", "said"), CASES, ids=named(CASES))
def test_a_field_of_the_stems_page(
    stems: Client, function: str, given: dict[str, Any], said: str
) -> None:
    check(stems.call(function, {**SMALL, **given}), said)
    still_right(stems)


@pytest.mark.parametrize(("function", "given", "said"), OF_MODULES, ids=named(OF_MODULES))
def test_a_field_of_a_modules_page(
    module: Client, function: str, given: dict[str, Any], said: str
) -> None:
    check(module.call(function, {"image": "ramp", **given}), said)
    module_still_right(module)

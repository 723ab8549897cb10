"""What each axis of a weight counts, by its name and shape: width, window, heads, classes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt

from vitc_inspect.diagnosis.explanation import by, looks_like_width


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """A weight whose shapes in the checkpoint and in the model differ."""

    name: str
    """Its name in the state dict."""
    saved: tuple[int, ...]
    """Its shape in the checkpoint."""
    built: tuple[int, ...]
    """Its shape in the model."""

    @property
    def text(self) -> str:
        """Its name and both shapes, as a clause."""
        saved, built = (by(shape) or "one number" for shape in (self.saved, self.built))
        return f"{self.name} is {saved} in the checkpoint and {built} in the model"


@dataclass(frozen=True, kw_only=True)
class Clue:
    """One axis along which a weight differs, and what the axis counts."""

    mismatch: Mismatch
    """The weight."""
    axis: int
    """Index of the axis."""
    label: str
    """What the axis counts: "width", "decoder width", "window", …; empty if unknown."""
    saved: int
    """Size in the checkpoint, in the unit of the label."""
    built: int
    """Size in the model."""


TABLE = re.compile(
    r"pos_?emb|pos_?enc|position|abs_pos|time_emb|temporal|frame_emb|(?:^|[._])(?:pos(?!_proj)|pe)(?:$|[._])",
    re.IGNORECASE,
)
"""Names of position tables, including those of frames."""
_FRAMES = re.compile(r"time_emb|temporal|frame_emb", re.IGNORECASE)
_RELATIVE = re.compile(r"rel(?:ative)?_|attention_bias|bias_table|attn_mask|cpb|coords", re.I)
_TOWERS = (
    ("decoder ", re.compile(r"(?:^|[._])decoder(?!_embed\b)", re.I)),
    ("text ", re.compile(r"(?:^|\.)(?:text(?:_model|_encoder)?|token_embedding)(?:[._]|$)", re.I)),
    ("predictor ", re.compile(r"(?:^|\.)predictor", re.I)),
)  # fmt: skip
_KERNEL = re.compile(r"(?:^|[._])(?:weight|kernel)$")
_BIAS = r"[._](?:bias|beta)$"
_WEIGHT = r"[._](?:weight|kernel)$"
_HEAD = (
    r"(?:(?:^|\.)(?:heads?|head_dist|classifier|mlp_head|linear_head|output_layer|conv_seg"
    r"|class_embed|class_labels_classifier\.layers)"
    r"|^(?:module\.|model\.|backbone\.)*fc)"
    r"(?:\.(?:fc|heads?|l|linear|out_proj|classifier|\d+))?"
)
_UP = r"(?:fc1|linear_1|linear1|lin1|c_fc|pwconv1|intermediate\.dense|mlp\.0|ffn\.0|w1)"
_DOWN = r"(?:fc2|linear_2|linear2|lin2|c_proj|pwconv2|(?<!attention\.)output\.dense|mlp\.3|w2|w3)"
_TAKEN = r"(?:query|key|value|q|k|v|[qkv]_proj|to_[qkv])"
_GIVEN = (
    r"(?:(?:attn|attention|self_attn|self_attention|msa)\.(?:proj|out)|out_proj|to_out(?:\.0)?"
    r"|attention\.output\.dense|projection_layer)"
)
_TOKEN = (
    r"(?:cls|class|dist|distillation|mask|reg|register|storage)_?(?:tokens?|embedding|pos_embed)$"
)

_MEANINGS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), tuple(labels.split("|")))
    for pattern, labels in (
        # MAE
        (r"decoder_embed" + _WEIGHT, "decoder width|width"),
        (r"decoder_embed" + _BIAS, "decoder width"),
        (r"decoder_pred" + _WEIGHT, "pixels|width"),
        (r"decoder_pred" + _BIAS, "pixels"),
        # windows: Swin, Swin-V2, BEiT, SAM and ViTDet
        (r"relative_position_bias_table$", "table|heads"),
        (r"relative_position_bias_table$", "heads|2·-1·window|2·-1·window"),
        (r"relative_coords_table$", "|2·-1·window|2·-1·window|"),
        (r"relative_position_index$", "area|area"),
        (r"attn_mask$", "windows|area|area"),
        (r"rel_pos_[hw]$", "2·-1·side|head width"),
        (r"attention_biases$", "heads|square"),
        (r"attention_bias_idxs$", "square|square"),
        (r"logit_scale$", "heads||"),
        # ConViT: a gate per head between position and content
        (r"pos_proj" + _WEIGHT, "heads|"),
        (r"(?:pos_proj\.bias|gating_param)$", "heads"),
        (r"cpb_mlp\.\d" + _WEIGHT, "heads|"),
        # tokens
        (r"mask_token$", "||mask width"),
        (r"mask_token$", "|mask width"),
        (_TOKEN, "|added|width"),
        (_TOKEN, "added|width"),
        (_TOKEN, "width"),
        # blocks
        (r"(?:qkv|in_proj|to_qkv)" + _WEIGHT, "3·inner|width"),
        (r"(?:qkv|in_proj|to_qkv)" + _BIAS, "3·inner"),
        (rf"(?:^|\.){_TAKEN}" + _WEIGHT, "inner|width"),
        (rf"(?:^|\.){_TAKEN}" + _BIAS, "inner"),
        (_GIVEN + _WEIGHT, "width|inner"),
        (_GIVEN + _BIAS, "width"),
        (r"mlp\.w12" + _WEIGHT, "2·hidden|width"),
        (r"mlp\.w12" + _BIAS, "2·hidden"),
        (rf"(?:^|\.){_UP}" + _WEIGHT, "hidden|width"),
        (rf"(?:^|\.){_UP}" + _BIAS, "hidden"),
        (rf"(?:^|\.){_DOWN}" + _WEIGHT, "width|hidden"),
        (rf"(?:^|\.){_DOWN}" + _BIAS, "width"),
        (r"downsample\.reduction" + _WEIGHT, "2·width|4·width"),
        (r"downsample\.norm[._]", ""),
        (r"(?:mlp|ffn)\.norm\.(?:weight|bias)$", "hidden"),
        (r"(?:attn|attention)\.norm\.(?:weight|bias)$", "inner"),
        (r"(?:^|[._])[qk]_norm\.(?:weight|bias)$", "head width"),
        (r"(?:^|[._])(?:norm\w*|ln_\w+|layer_?norm\w*|layernorm_\w+)\.(?:weight|bias)$", "width"),
        (r"(?:gamma(?:_\d)?|lambda\d?|lambda_\d|layer_scale\w*|scale_factor)$", "width"),
        # head, projections and patch embedding
        (_HEAD + _WEIGHT, "classes|width"),
        (_HEAD + _WEIGHT, "classes||kernel|kernel"),
        (_HEAD + _BIAS, "classes"),
        (r"(?:^|\.)(?:visual|vision)?\.?proj$", "width|out"),
        (r"text_projection(?:\.weight)?$", "text width|out"),
        (r"(?:patch_?emb|to_patch)\S*" + _WEIGHT, "width|pixels"),
        (r"(?:patch_?emb\S*|conv_proj|(?:^|\.)proj(?:ection)?)" + _BIAS, "width"),
    )
)
"""Names of weights, and what each axis counts; "3·inner" is three times the inner width."""


def clues_of(mismatch: Mismatch) -> Iterator[Clue]:
    """Return every axis along which a weight differs; none if the ranks differ."""
    if len(mismatch.saved) != len(mismatch.built):
        return
    labels = _labels(mismatch)
    tower = _tower(mismatch)
    for axis, (saved, built) in enumerate(zip(mismatch.saved, mismatch.built, strict=True)):
        if saved == built:
            continue
        label, pair = _count(labels[axis], saved, built)
        if label in ("width", "hidden", "inner"):
            label = tower + label
        yield Clue(mismatch=mismatch, axis=axis, label=label, saved=pair[0], built=pair[1])


def _tower(mismatch: Mismatch) -> str:
    """Prefix for the part of the model that a weight belongs to; empty for the image encoder."""
    if mismatch.name.endswith("positional_embedding") and 77 in (
        mismatch.saved[0],
        mismatch.built[0],
    ):
        return "" if "visual" in mismatch.name else "text "  # length of CLIP's text
    return next((word for word, pattern in _TOWERS if pattern.search(mismatch.name)), "")


def is_kernel(mismatch: Mismatch) -> bool:
    """Whether a weight is a 2-d or 3-d convolution kernel rather than a table.

    >>> table = Mismatch(name="pos_embed", saved=(1, 14, 14, 768), built=(1, 14, 14, 512))
    >>> kernel = Mismatch(name="proj.weight", saved=(8, 3, 16, 16), built=(8, 3, 14, 14))
    >>> is_kernel(table), is_kernel(kernel)
    (False, True)
    """
    other = TABLE.search(mismatch.name) or _RELATIVE.search(mismatch.name)
    ranks = {len(mismatch.saved), len(mismatch.built)}
    return bool(_KERNEL.search(mismatch.name)) and not other and ranks <= {4, 5}


def reads_image(mismatch: Mismatch) -> bool:
    """Whether a convolution can read an image, by its input channels."""
    return is_kernel(mismatch) and max(mismatch.saved[1], mismatch.built[1]) <= _MOST_BANDS


_MOST_BANDS = 16
"""Most channels of an image, as of multispectral satellites."""


def is_table(mismatch: Mismatch) -> bool:
    """Whether a weight is a table of absolute positions or of frames."""
    return bool(TABLE.search(mismatch.name)) and not _RELATIVE.search(mismatch.name)


def window_of(rows: int) -> tuple[int, int] | None:
    """Window size and class-token entries, from the length of a relative position table.

    A window of w × w tokens has (2w − 1)² offsets; BEiT adds 3 for its class token.

    >>> window_of(169), window_of(732), window_of(200)
    ((7, 0), (14, 3), None)
    """
    for more in (0, 3):
        side = isqrt(max(0, rows - more))
        if side > 1 and side % 2 and side**2 + more == rows:
            return (side + 1) // 2, more
    return None


def _count(label: str, saved: int, built: int) -> tuple[str, tuple[int, int]]:
    """What an axis counts, and both sizes; the label is empty if the numbers contradict it."""
    if label == "table":
        windows = window_of(saved), window_of(built)
        if windows[0] and windows[1] and windows[0][1] == windows[1][1]:
            return "window", (windows[0][0], windows[1][0])
        return "offsets", (saved, built)
    if label == "area":
        for more in (0, 1):  # the index of BEiT has a row for the class token
            sides = isqrt(max(0, saved - more)), isqrt(max(0, built - more))
            if min(sides) and (sides[0] ** 2 + more, sides[1] ** 2 + more) == (saved, built):
                return "window", sides
        return "", (saved, built)
    if label == "square":  # LeViT has one bias per offset
        sides = isqrt(saved), isqrt(built)
        whole = (sides[0] ** 2, sides[1] ** 2) == (saved, built)
        return ("square", sides) if whole else ("", (saved, built))
    if label.startswith("2·-1·"):
        if saved % 2 and built % 2:
            return label.removeprefix("2·-1·"), ((saved + 1) // 2, (built + 1) // 2)
        return "", (saved, built)
    factor, _, word = label.rpartition("·")
    times = int(factor or 1)
    if saved % times or built % times:
        return "", (saved, built)
    return word, (saved // times, built // times)


def _labels(mismatch: Mismatch) -> tuple[str, ...]:
    """What each axis of a weight counts."""
    rank = len(mismatch.saved)
    for pattern, labels in _MEANINGS:
        if len(labels) == rank and pattern.search(mismatch.name):
            return labels
    if is_kernel(mismatch):
        return _labels_of_kernel(mismatch)
    if is_table(mismatch):
        return _labels_of_table(mismatch)
    return ("",) * rank


def _labels_of_kernel(mismatch: Mismatch) -> tuple[str, ...]:
    """Labels of (out, in, [frames,] height, width) of a convolution."""
    frames = ("tubelet",) if len(mismatch.saved) == 5 else ()
    if not reads_image(mismatch):
        return ("", "", *frames, "kernel", "kernel")
    patches = all(side % 2 == 0 for side in (*mismatch.saved[-2:], *mismatch.built[-2:]))
    whole = patches or re.search(r"patch|conv_proj|projection", mismatch.name)
    return ("width" if whole else "", "channels", *frames, "kernel", "kernel")


def _labels_of_table(mismatch: Mismatch) -> tuple[str, ...]:
    """Labels of (1, tokens, width), (tokens, width), or a channels-last or -first map."""
    count = "frames" if _FRAMES.search(mismatch.name) else "tokens"
    rank = len(mismatch.saved)
    if rank == 2:
        return (count, "width")
    if rank == 3 and 1 in (mismatch.saved[1], mismatch.built[1]) and mismatch.saved[0] > 1:
        return (count, "", "width")  # (tokens, 1, width), batch second
    if rank == 3:
        return ("", count, "width")
    if rank == 4:
        return ("", "rows", "columns", "width") if _channels_last(mismatch) else (
            "", "width", "rows", "columns",
        )  # fmt: skip
    return ("",) * rank


def _channels_last(mismatch: Mismatch) -> bool:
    """Whether a 4-d table is (1, rows, columns, width) rather than (1, width, rows, columns)."""
    doubts = []
    for last in (True, False):
        doubt = 0
        for shape in (mismatch.saved, mismatch.built):
            *grid, width = shape[1:] if last else (*shape[2:], shape[1])
            doubt += 2 * (grid[0] != grid[1]) + (not looks_like_width(width))
        doubts.append(doubt)
    return doubts[0] <= doubts[1]

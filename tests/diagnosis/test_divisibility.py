"""Images that patches do not divide, and maps that windows do not divide."""

from __future__ import annotations

import re

import pytest
from einops import rearrange
from torch import Tensor, zeros
from torch.nn import functional as F

from tests.diagnosis.errors import SWIN_LIKE, best_of, explain, words
from vitc_inspect.diagnosis import explain_error

CUT = "b c (h p) (w q) -> b (h w) (p q c)"
WINDOWS = "b (x v) (y w) c -> (b x y) (v w) c"
WINDOWS_FIRST = "b c (x v) (y w) -> (b x y) (v w) c"


@pytest.mark.parametrize(
    ("shape", "pattern", "lengths", "kind", "says"),
    [
        # a map in windows, its channels last and first
        ((1, 3, 3, 384), SWIN_LIKE, {"h": 24, "w_h": 7, "w_w": 7}, "window", "3 = 0·7 [+] 3"),
        ((1, 10, 14, 96), WINDOWS, {"v": 7, "w": 7}, "window", "10×14 positions .* 10 = 1·7 [+] 3"),
        ((1, 96, 14, 15), WINDOWS_FIRST, {"v": 7, "w": 7}, "window", "15 = 2·7 [+] 1"),
        ((2, 64, 20, 20), WINDOWS_FIRST, {"v": 7, "w": 7}, "window", "20 = 2·7 [+] 6"),
        # an image in patches
        ((1, 3, 225, 300), CUT, {"p": 16, "q": 16}, "image size", "225 = 14·16 [+] 1 and 300"),
        ((2, 1, 28, 28), CUT, {"p": 8, "q": 8}, "image size", "28 = 3·8 [+] 4"),
        (
            (1, 225, 224, 3),
            "b (h p) (w q) c -> b (h w) (p q c)",
            {"p": 16, "q": 16},
            "image size",
            "225 = 14·16 [+] 1",
        ),
    ],
)
def test_what_an_axis_is_follows_from_the_pattern_and_the_shape(
    shape: tuple[int, ...], pattern: str, lengths: dict[str, int], kind: str, says: str
) -> None:
    best = best_of(lambda: rearrange(zeros(shape), pattern, **lengths))
    assert best.kind == kind
    assert re.search(says, best.sentence)
    assert "7×7 pixels" not in " ".join(best.fixes)  # a map is never resized as an image


@pytest.mark.parametrize(
    ("shape", "pattern"),
    [((1, 3, 3, 8), WINDOWS), ((1, 10, 15, 20), WINDOWS), ((1, 20, 14, 15), WINDOWS_FIRST)],
)
def test_a_map_that_is_padded_as_said_divides_into_windows(
    shape: tuple[int, ...], pattern: str
) -> None:
    def cut(x: Tensor) -> Tensor:
        return rearrange(x, pattern, v=7, w=7)

    x = zeros(shape)
    best = best_of(lambda: cut(x))
    call = re.search(r"F\.pad\(x, \([\d, ]+\)\)", best.fixes[0])
    assert call
    assert cut(eval(call[0], {"F": F, "x": x})).shape[1] == 49


@pytest.mark.parametrize("shape", [(1, 3, 225, 300), (1, 3, 8, 40), (1, 1, 33, 16)])
def test_an_image_that_is_resized_or_cropped_as_said_is_cut(shape: tuple[int, ...]) -> None:
    def cut(x: Tensor) -> Tensor:
        return rearrange(x, CUT, p=16, q=16)

    image = zeros(shape)
    best = best_of(lambda: cut(image))
    sizes = re.findall(r"(\d+)×(\d+)", best.fixes[0])
    assert sizes
    for size in sizes:
        cut(F.interpolate(image, tuple(map(int, size))))
    for fix in best.fixes[1:]:
        cut(eval(fix.partition(": ")[2].removesuffix("."), {"image": image}))


def test_two_numbers_alone_are_certain_of_nothing() -> None:
    for pair in ("3 in chunks of 7", "225 in chunks of 16", "1152 in chunks of 15"):
        for explanation in explain_error(f"can't divide axis of length {pair}"):
            assert explanation.likelihood != "certain"
    assert explain_error("can't divide axis of length 3 in chunks of 7")[0].kind == "window"
    assert explain_error("can't divide axis of length 8 in chunks of 4") == ()  # it does


@pytest.mark.parametrize(
    ("text", "kind", "says", "fix"),
    [
        (
            "img_size 225 should be divided by patch_size 16.",
            "image size",
            "225 = 14·16 + 1",
            "224 = 14·16",
        ),
        (
            "Grid size must be divisible by partition size. Got grid size of (8, 8) and"
            " partition size of 7",
            "window",
            "8 = 1·7 + 1",
            "partition_size=8",
        ),
        (
            "Input size (10, 10) of block 3 is not divisible by partition size 7.",
            "window",
            "10 = 1·7 + 3",
            "224 = 32·7",
        ),
        (
            "input image H and W should be divisible by 8, instead got 225 (h) and 300 (w)",
            "image size",
            "300 = 37·8 + 4",
            "224×296 or 232×304",
        ),
    ],
)
def test_what_models_assert_of_themselves_is_known(
    text: str, kind: str, says: str, fix: str
) -> None:
    best = explain_error(f"AssertionError: {text}")[0]
    assert best.kind == kind
    assert says in best.sentence
    assert any(fix in line for line in best.fixes)


def test_an_oblong_image_is_not_resized_to_a_square() -> None:
    best = explain(lambda: zeros(1, 3, 100, 130).reshape(1, 3, 6, 16, 8, 16))[0]
    assert best.fixes[0] == "Resize the image to 96×128 or 112×144 pixels."
    for height, width in re.findall(r"(\d+)×(\d+)", best.fixes[0]):
        rows, columns = int(height) // 16, int(width) // 16
        image = zeros(1, 3, int(height), int(width))
        assert image.reshape(1, 3, rows, 16, columns, 16).numel() == image.numel()


@pytest.mark.parametrize(
    ("target", "size", "kind", "says"),
    [
        ("[1, 1, 18, 7, 18, 7]", 16384, "image size", "128 = 18·7 + 2"),  # of a grey image
        # CSWin: stripes of 14×12 on a map of 14×14
        ("[1, 192, 1, 14, 1, 12]", 192 * 14 * 14, "window", "14 = 1·12 + 2"),
    ],
)
def test_what_is_cut_follows_from_the_shape(target: str, size: int, kind: str, says: str) -> None:
    best = explain_error(f"shape '{target}' is invalid for input of size {size}")[0]
    assert best.kind == kind
    assert says in best.sentence


@pytest.mark.parametrize(
    ("text", "kind", "likelihood", "says"),
    [
        (
            "Dinov2 requires input shape to be divisible by 14, but got"
            " torch.Size([4, 3, 832, 832])",
            "image size",
            "certain",
            "826×826 or 840×840",
        ),
    ],
)
def test_what_models_say_is_known_and_no_surer_than_it_is(
    text: str, kind: str, likelihood: str, says: str
) -> None:
    best = explain_error(text)[0]
    assert (best.kind, best.likelihood) == (kind, likelihood)
    assert says in words(best)

"""Notations and links that are hostile or malformed, sent to a running app."""

from __future__ import annotations

import pytest

from tests.ui.hostile.client import MARK, SMALL, Client, request_of, sentence_of
from tests.ui.hostile.ordinary import still_right

NOTATIONS = {
    "empty": ("", "found the end of the text"),
    "blank": (" \t ", "found the end of the text"),
    "NUL": ("\0", "expected the kernel"),
    "NUL behind": ("4x4/4:8\0", "expected"),
    "newline": ("4x4/4:8\n4x4/4:8", ""),
    "half of a character": ("4x4/4:8 \ud800", "expected"),
    "right to left": ("\u202e8:4/4x4", "expected the kernel"),
    "zero width": ("4\u200bx4/4:8", "expected"),
    "digits of another script": ("٤x٤/٤:٨", ""),
    "superscripts": ("4²x4/4:8", "expected"),
    "full width": ("４x４:８", ""),
    "combining signs": ("4x4/4:8" + "\u0301" * 500, "expected"),
    "emoji": ("🦙" * 1000, "expected the kernel"),
    "HTML": (MARK, "expected the kernel"),
    "HTML behind": (f"4x4/4:8 {MARK}", "expected"),
    "entities": ("&lt;script&gt;", "expected the kernel"),
    "template": ("{{7*7}}${7*7}#{7*7}", "expected the kernel"),
    "format": ("{0.__class__}%s%n", "expected the kernel"),
    "Python": ("__import__('os').system('true')", "expected the kernel"),
    "SQL": ("4x4'; DROP TABLE stems;--", "expected"),
    "path": ("../../../../etc/passwd", "expected the kernel"),
    "shell": ("$(reboot)`reboot`", "expected the kernel"),
    "JSON": ('{"kernel": 4}', "expected the kernel"),
    "escape": ("\x1b[31m4x4/4:8", "expected the kernel"),
    "a million letters": ("a" * 10**6, "1,000,000 characters"),
    "a million digits": ("9" * 10**6, "1,000,000 characters"),
    "a million digits of a stride": (f"4x4/{'9' * 10**6}:8", "1,000,006 characters"),
    "a million blanks": (" " * 10**6 + "4x4/4:8", ""),
    "a million commas": ("," * 10**6, "1,000,000 characters"),
    "a million brackets": ("(" * 10**6, "1,000,000 characters"),
    "ten thousand layers": (", ".join(["1x1:1"] * 10_000), "69,998 characters"),
    "ten thousand words": ("4x4/4:8" + " bn" * 10_000, ""),
    "no channels": ("4x4/4", "expected"),
    "zero channels": ("4x4/4:0", "the least is 1"),
    "zero kernel": ("0x0:8", "the least is 1"),
    "zero stride": ("4x4/0:8", "the least is 1"),
    "negative kernel": ("-4x-4:8", "expected the kernel"),
    "negative stride": ("4x4/-4:8", "expected"),
    "negative padding": ("4x4/4p-1:8", "expected"),
    "fraction": ("4.5x4.5:8", "expected"),
    "exponent": ("4e9x4e9:8", "expected"),
    "infinity": ("infxinf:inf", "expected"),
    "hexadecimal": ("0x10/4:8", "is not square"),
    "octal": ("010x010/4:8", ""),
    "underscores": ("1_0x1_0:8", "expected"),
    "channels of 20 digits": ("4x4/4:99999999999999999999", "at most 9 digits"),
    "kernel of 20 digits": ("99999999999999999999x99999999999999999999:8", "at most 9 digits"),
    "kernel over the image": ("33x33p0:8", "32"),
    "dilation over the image": ("3x3 d1000:8", "expected"),
    "kernel not square": ("3x5:8", ""),
    "groups that do not divide": ("4x4/4:8 g7", "7"),
    "groups of 0": ("4x4/4:8 g0", "the least is 1"),
    "groups of 20 digits": ("4x4/4:8 g99999999999999999999", ""),
    "two norms": ("4x4/4:8 bn ln", ""),
    "two activations": ("4x4/4:8 relu gelu", ""),
    "bias and none": ("4x4/4:8 bias nobias", ""),
    "comma at the end": ("4x4/4:8,", "found the end of the text"),
    "two commas": ("4x4/4:8,,4x4:8", "expected the kernel"),
    "too much memory": ("1x1:65536, 1x1:65536", ""),
    "too long a run": ("31x31/1:4096, 31x31/1:4096", ""),
    "code that runs a program": ("nn.Conv2d(__import__('os').system('true'), 8, 3)", "line 1: "),
    "code that reads a file": ("nn.Conv2d(*open('/etc/passwd'), 8, 3)", "line 1: "),
    "code that ends the server": ("nn.Conv2d(exit(), f'{exit()}', 3)", "line 1: "),
    "code of another image": ("nn.Conv2d(1, 8, 4, 4)", "takes 1"),
    "code that is half typed": ("nn.Conv2d(3, 8", "was never closed"),
    "code with HTML": (f"nn.Conv2d(3, 8, '{MARK}')", "not a whole number"),
    "code with half of a character": ("nn.Conv2d(3, 8, 4)\ud800", "line 1: "),
    "code of ten thousand brackets": ("nn.Conv2d" + "(" * 10_000, "brackets"),
    "code of ten thousand calls": ("nn.Conv2d" + "(1)" * 10_000, "line 1: "),
    "code of ten thousand digits": (f"nn.Conv2d(3, 0x{'f' * 10_000}, 3)", "digits"),
    "code of a million letters": ("nn.Conv2d(3, 8, 4)#" + "a" * 10**6, "1,000,019 characters"),
    "printout of ten thousand modules": ("(0): A(\n" * 5_000, "line "),
    "printout of a million layers": ("(0): 1000000 x ReLU()", "5,000 layers"),
    "all at once": ("16384x16384/16384p16384:65536 g65536 d16384", ""),
}
"""By what they are, notations and a part of the sentence about each; empty for one of several."""


@pytest.mark.parametrize(("text", "said"), NOTATIONS.values(), ids=NOTATIONS)
def test_a_notation(stems: Client, text: str, said: str) -> None:
    for function in ("predict", "run"):
        answer = stems.call(function, {**SMALL, "stem": text})
        assert "error" in answer or said == ""
        assert "error" not in answer or said in sentence_of(answer)
    still_right(stems)


LINKS = {
    "nothing": ("", ""),
    "of an old page": ("foo=1&bar=2&stem=4x4/4:8", ""),
    "HTML in each field": (
        "&".join(f"{name}={MARK}" for name in ("stem", "size", "layer", "view", "cell", "token")),
        "image_size = ",
    ),
    "script as a stem": ("stem=%3Cscript%3Ealert(1)%3C/script%3E", "stem = "),
    "script as a preset": (f"preset={MARK}", "preset = "),
    "prototype as a preset": ("preset=__proto__", "preset = "),
    "no preset": ("preset=resnet50", "preset = "),
    "field twice": ("size=32&size=0", ""),
    "size of one side": ("size=32", ""),
    "size of three": ("size=32x32x32", "image_width = "),
    "size of words": ("size=bigxbig", "image_size = "),
    "size of 0": ("size=0", "image_size = "),
    "negative size": ("size=-32x-32", "image_size = "),
    "size of a hundred thousand": ("size=100000", "image_size = "),
    "size of 5,000 digits": (f"size={'9' * 5000}", "image_size = "),
    "size of the most pixels": ("size=16384&stem=1x1:65536", ""),
    "no channels": ("channels=0", "in_channels = "),
    "channels of words": ("channels=three", "in_channels = "),
    "negative channels": ("channels=-3", "in_channels = "),
    "seed of 40 digits": (f"seed={'1' * 40}", "seed = "),
    "seed of words": ("seed=NaN", "seed = "),
    "device of no machine": ("device=cuda:99", ""),
    "device with a path": ("device=../../dev/null", ""),
    "number format": ("dtype=int8", "dtype = "),
    "attribute as a number format": ("dtype=__class__", "dtype = "),
    "weights that are a path": ("weights=file:/etc/passwd", ""),
    "weights above": ("weights=file:../../../etc/passwd", ""),
    "weights of no kind": ("weights=zeros", "weights = "),
    "statistics of no kind": ("norm_statistics=world", "norm_statistics = "),
    "a fit of no kind": ("fit=world", "fit = "),
    "image that is a path": ("image=/etc/passwd", "image = "),
    "image at an address": ("image=http://169.254.169.254/", "image = "),
    "image as a file's address": ("image=file:///etc/passwd", "image = "),
    "image that was never opened": ("image=upload-0123", "missing"),
    "encoder of no numbers": ("encoder=a,b,c,d", "depth = "),
    "encoder of too many layers": ("encoder=999999,4,4,softmax", "depth = "),
    "encoder without heads": ("encoder=1,0,4,softmax", "num_heads = "),
    "encoder of an infinite ratio": ("encoder=1,4,inf,softmax", "mlp_ratio = "),
    "encoder of a ratio of nothing": ("encoder=1,4,nan,softmax", "mlp_ratio = "),
    "encoder of no attention": ("encoder=1,4,4,none", "attention = "),
    "encoder of three": ("encoder=1,2,3", ""),
    "bytes that are no text": ("stem=%ff%fe%00", "stem = "),
    "half of a character": ("stem=%ed%a0%80", "stem = "),
    "percent signs": ("stem=%%%25&size=%", ""),
    "signs of a query": ("?&&==&;;#", ""),
    "long": ("stem=" + "4x4/4:8," * 7_000, ""),
}
"""By what they are, query strings and the begin of the sentence about each."""


@pytest.mark.parametrize(("query", "said"), LINKS.values(), ids=LINKS)
def test_a_link(stems: Client, query: str, said: str) -> None:
    answer = stems.http.get("/?" + query)
    assert answer.status_code in (200, 400)
    assert "vitc-hostile" not in answer.text
    for function in ("predict", "run"):
        answer = stems.call(function, request_of(query))
        if said == "missing":
            assert answer == {"missing_picture": True}
        else:
            assert "error" in answer or said == ""
            assert "error" not in answer or sentence_of(answer).startswith(said)
    still_right(stems)

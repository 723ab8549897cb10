"""Every option of the terminal's way in, with values that nobody should give."""

from __future__ import annotations

import pytest

from vitc_inspect import cli
from vitc_inspect.cli import options

SMALL = ("16x16/16:4", "--image-size", "16", "--device", "cpu")
ODD = {
    "1e308": "1e308",
    "-1e308": "-1e308",
    "1e400": "1e400",
    "nan": "nan",
    "inf": "inf",
    "-1": "-1",
    "1e-320": "1e-320",
    "0x10": "0x10",
    "1_0": "1_0",
    "empty": "",
    "space": " ",
    "5,000 digits": "9" * 5_000,
    "5,000 digits below 0": "-" + "9" * 5_000,
    "long": "x" * 100_000,
    "surrogate": "\ud800",
    "signs": "\x1b[31m\n\t\u202e",
    "nul": "a\0b",
    "other digits": "٣",
    "pair": f"{'9' * 5_000}x{'9' * 5_000}",
    "axes": ",".join(["999999999"] * 600),
    "wide": ",".join(["999999999"] * 60),
    "ones": ",".join(["1"] * 65),
    "file": "no/such/file.py:name",
}
OPTIONS = [
    action.option_strings[0] for action in options.parser()._actions if action.option_strings
    and action.nargs != 0 and action.option_strings[0] not in ("--explain", "--class-token")
]  # fmt: skip


def call(arguments, capsys):
    try:
        code = cli.main(arguments)
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("option", [*OPTIONS, "stem"])
def test_a_value_is_used_or_refused_in_a_sentence(option, odd, capsys):
    arguments = [f"{option}={ODD[odd]}"]
    if option == "stem":
        arguments = ["--image-size", "16", "--", ODD[odd]]
    elif option not in ("--module", "--input", "--preset"):
        stem, beside = SMALL[:1], [*SMALL[1:], "--heads", "1", "--depth", "1", "--mlp-ratio", "1"]
        arguments = [*stem, *beside, *arguments]
    elif option == "--input":
        arguments = ["--module", "torch.nn:Identity", *arguments]
    elif option == "--module":
        arguments = ["--input", "1,3", *arguments]
    code, out, err = call(arguments, capsys)
    assert code in (0, 2)
    assert (code == 0) == (err == "")
    if code:
        assert out == ""
        assert err.count("\n") == 1
        assert err.rstrip("\n").isprintable()
        assert len(err) < 3_000


@pytest.mark.parametrize("odd", ODD)
def test_whatever_is_to_be_explained_is_read(odd, capsys):
    code, out, err = call([f"--explain={ODD[odd]}"], capsys)
    assert (code, err) == (1, "")
    assert out.startswith("vitc_inspect does not know this error.")


@pytest.mark.parametrize("odd", ODD)
def test_words_that_have_no_place_are_refused_in_a_sentence(odd, capsys):
    for words in ([*SMALL, "more", ODD[odd]], [*SMALL, f"--no-such-option={ODD[odd]}"]):
        code, out, err = call(words, capsys)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.rstrip("\n").isprintable()
        assert len(err) < 3_000


@pytest.mark.parametrize(
    ("ratio", "message"),
    [
        ("1e308", "mlp_ratio = 1e+308: the hidden layer would have inf numbers,"),  # 4·1e308
        ("1e307", "mlp_ratio = 1e+307: the hidden layer would have 4.0e+307 numbers,"),
        (
            "1e12",
            "mlp_ratio = 1000000000000: the hidden layer would have 4,000,000,000,000 numbers,",
        ),
        ("nan", "mlp_ratio = nan: it is not a finite number. Use 4."),
        ("1e-320", "mlp_ratio = 1e-320: the hidden layer would have 0 numbers,"),
        ("-1", "mlp_ratio = -1: the hidden layer would have -4 numbers,"),
    ],
)
def test_a_ratio_that_makes_no_layer(ratio, message, capsys):
    stem = [*SMALL, "--heads", "1", "--depth", "1"]
    code, _, err = call([*stem, f"--mlp-ratio={ratio}"], capsys)
    assert code == 2
    assert err.startswith(message)

"""Format numbers, units and shapes."""

from __future__ import annotations

from collections.abc import Sequence

from vitc_inspect.stem.prediction import LayerPrediction, Prediction

_PREFIXES = ((10**6, "M"), (10**9, "G"), (10**12, "T"))
_BYTE_UNITS = ((2**10, "KiB"), (2**20, "MiB"), (2**30, "GiB"))


def shape(sizes: Sequence[int]) -> str:
    """Format a shape.

    >>> shape((48, 112, 112))
    '48×112×112'
    """
    return "×".join(map(str, sizes))


def count(number: int) -> str:
    """Format a count with at most four digits and a prefix; in full below a million.

    >>> count(1296), count(435326976), count(1021488)
    ('1,296', '435 M', '1.02 M')
    """
    return f"{number:,}" if number < 10**6 else _scaled(number, _PREFIXES, 1000)


def brief(number: int) -> str:
    """Format a count with at most four digits and a prefix, also below a million.

    >>> brief(75648), brief(768), brief(435326976)
    ('75.6 k', '768', '435 M')
    """
    return count(number) if number < 1000 else _scaled(number, ((1000, "k"), *_PREFIXES), 1000)


def size(number: int) -> str:
    """Format a number of bytes.

    >>> size(2408448), size(600)
    ('2.30 MiB', '600 B')
    """
    return f"{number} B" if number < 2**10 else _scaled(number, _BYTE_UNITS, 1024)


def seconds(duration: float) -> str:
    """Format a time.

    >>> seconds(0.00171), seconds(0.0000034), seconds(2.5)
    ('1.71 ms', '3.40 µs', '2.50 s')
    """
    for unit, name in ((1.0, "s"), (1e-3, "ms")):
        if duration >= 0.9995 * unit:
            return f"{_three_digits(duration / unit)} {name}"
    return f"{_three_digits(duration / 1e-6)} µs"


def percent(part: float) -> str:
    """Format a fraction as a percentage; small ones get one more digit.

    >>> percent(0.8897), percent(0.0041), percent(0), percent(0.00002)
    ('89 %', '0.4 %', '0 %', '< 0.1 %')
    """
    if 0 < part < 0.0005:
        return "< 0.1 %"
    return f"{100 * part:.0f} %" if part >= 0.0995 or part == 0 else f"{100 * part:.1f} %"


def number(value: float, digits: int = 4) -> str:
    """Format a measured number with a given number of digits, or as "inf" or "nan".

    >>> number(-0.123412), number(0.00000045), number(float("-inf"))
    ('−0.1234', '4.5e−7', '−inf')
    """
    return f"{value:.{digits}g}".replace("e-0", "e-").replace("e+0", "e").replace("-", "−")


def tokens_sentence(prediction: Prediction) -> str:
    """Say how the sequence length is computed.

    >>> from vitc_inspect import conv_stem, predict
    >>> tokens_sentence(predict(conv_stem()))
    '197 tokens = 14 × 14 + 1 class token'
    """
    rows, columns = prediction.grid_size
    prefix = " + 1 class token" if prediction.num_prefix_tokens else ""
    return f"{prediction.seq_len:,} tokens = {rows} × {columns}{prefix}"


def unread(layer: LayerPrediction) -> str:
    """Say which rows and columns of its input a layer never reads; empty if none.

    >>> from vitc_inspect import PRESETS, predict
    >>> unread(predict(PRESETS["vitpose_b"].stem).layer("proj"))
    'proj never reads 2 of 256 rows (254, 255) and 2 of 192 columns (190, 191)'
    """
    parts = []
    for positions, whole, name in (
        (layer.unread_rows, layer.in_shape[1:2], "row"),
        (layer.unread_columns, layer.in_shape[2:3], "column"),
    ):
        if positions:
            parts.append(f"{len(positions)} of {whole[0]} {name}s ({listed(positions)})")
    return f"{layer.name} never reads {' and '.join(parts)}" if parts else ""


def most_work(prediction: Prediction) -> str:
    """Name the convolution of the stem with the most MACs, or all of them if tied.

    >>> from vitc_inspect.stem.spec import conv_stem
    >>> from vitc_inspect.stem.prediction import predict
    >>> most_work(predict(conv_stem()))
    'Most MACs of the stem: conv2, conv3 and conv4, 130,056,192 each'
    """
    convs = [layer for layer in prediction.layers if layer.kind == "conv"]
    most = max(layer.macs for layer in convs)
    names = [layer.name for layer in convs if layer.macs == most]
    if len(names) == 1:
        return f"Most MACs of the stem: {names[0]}, {most:,}"
    return f"Most MACs of the stem: {', '.join(names[:-1])} and {names[-1]}, {most:,} each"


def plural(number: int, noun: str) -> str:
    """Format a count with its noun.

    >>> plural(1, "channel"), plural(3, "channel")
    ('1 channel', '3 channels')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(positions: Sequence[int]) -> str:
    """List positions in ascending order: all if few, else a range or the first ones.

    >>> listed((190, 191)), listed((3, 4, 5, 6, 7)), listed((1, 3, 5, 7, 9))
    ('190, 191', '3 … 7', '1, 3, 5, … 9')
    """
    if len(positions) <= 4:
        return ", ".join(map(str, positions))
    first, last = positions[0], positions[-1]
    if last - first + 1 == len(positions):
        return f"{first} … {last}"
    return f"{first}, {positions[1]}, {positions[2]}, … {last}"


def _scaled(number: int, units: Sequence[tuple[int, str]], base: int) -> str:
    """A number in the first unit that leaves it, rounded, below the next one."""
    fitting = (pair for pair in units if round(number / pair[0]) < base)
    unit, name = next(fitting, units[-1])
    return f"{_three_digits(number / unit)} {name}"


def _three_digits(number: float) -> str:
    """A number below 1000 (or just rounded to it) with three significant digits."""
    decimals = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{decimals}f}"

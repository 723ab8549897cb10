"""Numbers, units and shapes in words, and the report as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vitc_inspect.stem.paper import PRINTED, PRINTED_CORRELATIONS
from vitc_inspect.stem.prediction import LayerPrediction, Prediction

if TYPE_CHECKING:  # the paper's tables are printed without torch
    from vitc_inspect.inspection.stem_report import Report, Row
    from vitc_inspect.probes.other_counters import Witness
    from vitc_inspect.probes.timing import Timing

_PREFIXES = ((10**6, "M"), (10**9, "G"), (10**12, "T"))
_BYTE_UNITS = ((2**10, "KiB"), (2**20, "MiB"), (2**30, "GiB"))


def shape(sizes: Sequence[int]) -> str:
    """Write a shape.

    >>> shape((48, 112, 112))
    '48×112×112'
    """
    return "×".join(map(str, sizes))


def count(number: int) -> str:
    """Write a count in at most four digits and a prefix; below a million in full.

    >>> count(1296), count(435326976), count(1021488)
    ('1,296', '435 M', '1.02 M')
    """
    return f"{number:,}" if number < 10**6 else _scaled(number, _PREFIXES, 1000)


def brief(number: int) -> str:
    """Write a count in at most four digits and a prefix, also below a million.

    >>> brief(75648), brief(768), brief(435326976)
    ('75.6 k', '768', '435 M')
    """
    return count(number) if number < 1000 else _scaled(number, ((1000, "k"), *_PREFIXES), 1000)


def size(number: int) -> str:
    """Write a number of bytes.

    >>> size(2408448), size(600)
    ('2.30 MiB', '600 B')
    """
    return f"{number} B" if number < 2**10 else _scaled(number, _BYTE_UNITS, 1024)


def seconds(duration: float) -> str:
    """Write a time.

    >>> seconds(0.00171), seconds(0.0000034), seconds(2.5)
    ('1.71 ms', '3.40 µs', '2.50 s')
    """
    for unit, name in ((1.0, "s"), (1e-3, "ms")):
        if duration >= 0.9995 * unit:
            return f"{_three_digits(duration / unit)} {name}"
    return f"{_three_digits(duration / 1e-6)} µs"


def percent(part: float) -> str:
    """Write a fraction in hundredths, small ones with a digit more.

    >>> percent(0.8897), percent(0.0041), percent(0), percent(0.00002)
    ('89 %', '0.4 %', '0 %', '< 0.1 %')
    """
    if 0 < part < 0.0005:
        return "< 0.1 %"
    return f"{100 * part:.0f} %" if part >= 0.0995 or part == 0 else f"{100 * part:.1f} %"


def number(value: float, digits: int = 4) -> str:
    """Write a measured number in so many digits; "inf" and "nan" as what they are.

    >>> number(-0.123412), number(0.00000045), number(float("-inf"))
    ('−0.1234', '4.5e−7', '−inf')
    """
    return f"{value:.{digits}g}".replace("e-0", "e-").replace("e+0", "e").replace("-", "−")


def tokens_sentence(prediction: Prediction) -> str:
    """Say where the sequence length comes from.

    >>> from vitc_inspect import conv_stem, predict
    >>> tokens_sentence(predict(conv_stem()))
    '197 tokens = 14 × 14 + 1 class token'
    """
    rows, columns = prediction.grid_size
    prefix = " + 1 class token" if prediction.num_prefix_tokens else ""
    return f"{prediction.seq_len:,} tokens = {rows} × {columns}{prefix}"


def verdict(row: Row) -> str:
    """Say in a word how prediction and observation compare."""
    if row.predicted is None:
        return "not predicted"
    if row.observed is None:
        return "never ran"
    return "agrees" if row.agrees else "differs"


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


def weights(report: Report) -> str:
    """Say where the weights are from, and what BatchNorm normalised by where there is one."""
    source = f"weights of {report.weights}" if report.weights else f"seed {report.seed}"
    if report.init != "torch" and not report.weights:
        source = f"{source} ({report.init})"
    norms = any(conv.norm == "batch" for conv in report.spec.convs)
    by = {"image": "this image", "stored": "what it stores"}[report.norm_statistics]
    return f"{source}; BatchNorm by {by}" if norms else source


def not_finite(report: Report) -> str:
    """Say which layer first has values that are no finite numbers; empty if none has."""
    layer = report.first_not_finite
    if layer is None:
        return ""
    later = sum(call.finite is False for call in report.trace.records) - 1
    after = f", and {plural(later, 'layer')} after it too" if later else ""
    return (
        f"{layer.name} is the first layer with values that are not finite (least {layer.low},"
        f" largest {layer.high}){after}"
    )


def terminal_table(report: Report) -> str:
    """Draw a report for the terminal: the stem, a line for each layer, the totals."""
    prediction, spec = report.prediction, report.spec
    header = ("layer", "predicted", "observed", "", "params", "MACs", "field")
    body = _folded(report.rows)
    widths = [max(len(line[i]) for line in [header, *body]) for i in range(len(header))]
    height, width = spec.image_size
    lines = [
        f"image {height}×{width}, {plural(spec.in_channels, 'channel')}; {report.device}"
        f" ({report.device_title}), {prediction.dtype}, {weights(report)}",
        *report.notes,
        "",
        _line(header, widths),
        *(_line(cells, widths) for cells in body),
        "",
        f"{tokens_sentence(prediction)}, width {prediction.embed_dim},"
        f" stride {prediction.total_stride}, receptive field {prediction.receptive_field} px",
        f"{count(prediction.stem_params)} params in the stem,{_with_rest(prediction)};"
        f" {count(prediction.macs)} MACs = {count(2 * prediction.macs)} FLOPs"
        " (bias, norm, activation and softmax not counted);"
        f" {count(prediction.activations)} activations",
        *([f"{most_work(prediction)}."] if len(prediction.spec.convs) > 1 else []),
        *(sentence for layer in prediction.layers if (sentence := unread(layer))),
        *filter(None, [not_finite(report)]),
        *(report.disagreements or ("Every shape, parameter, MAC and byte is as predicted.",)),
    ]
    return "\n".join(lines)


def most_work(prediction: Prediction) -> str:
    """Say which convolution of the stem multiplies most, or which of them do, each as much.

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


def _with_rest(prediction: Prediction) -> str:
    """The params of the whole, and what it has besides the convolutions."""
    spec, vit = prediction.spec, prediction.vit
    parts = [
        *(["class token"] if spec.class_token else []),
        *(["position table"] if spec.position_table else []),
        *([plural(vit.depth, "block"), "classifier"] if vit else []),
    ]
    without = "" if spec.position_table else " and no position table"
    if not parts:
        return " which has no class token and no position table"
    listed = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
    return f" {count(prediction.params)} with {listed}{without}"


def _folded(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The rows' cells, those of equal blocks in one line: "block1 … block11"."""
    lines: list[tuple[str, ...]] = []
    blocks: dict[str, list[Row]] = {}
    for row in rows:
        block = row.predicted.block if row.predicted else None
        if block and block != "head":
            blocks.setdefault(block, []).append(row)
            continue
        if blocks:
            lines.append(_block_line(blocks))
            blocks = {}
        lines.append(_cells(row))
    return lines


def _block_line(blocks: dict[str, list[Row]]) -> tuple[str, ...]:
    """All blocks in one line: what comes out of the last, and what they cost together."""
    rows = [row for block in blocks.values() for row in block]
    layers = [row.predicted for row in rows if row.predicted]
    names = list(blocks)
    name = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
    _, predicted, observed, *_ = _cells(rows[-1])
    word = next((verdict(row) for row in rows if verdict(row) != "agrees"), "agrees")
    params, macs = sum(layer.params for layer in layers), sum(layer.macs for layer in layers)
    return name, predicted, observed, word, f"{params:,}", count(macs), _cells(rows[-1])[-1]


def _cells(row: Row) -> tuple[str, ...]:
    predicted, observed = row.predicted, row.observed
    return (
        row.name,
        shape(predicted.out_shape) if predicted else "not predicted",
        shape(observed.out_shape[1:]) if observed else "never ran",
        verdict(row),
        f"{predicted.params:,}" if predicted else "",
        count(predicted.macs) if predicted else "",
        str(predicted.receptive_field) if predicted else "",
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """One line: the name and the verdict to the left, the rest to the right."""
    padded = [
        cell.ljust(width) if column in (0, 3) else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def witness_table(witnesses: Sequence[Witness]) -> str:
    """Draw every count of one model for the terminal, with its convention and its shortfall."""
    lines = []
    for witness in witnesses:
        macs = "none" if witness.macs is None else f"{witness.macs:,}"
        lines.append(f"{witness.name:<27} {macs:>18}  {witness.status}: {witness.convention}")
        if witness.reason:
            lines.append(f"{'':<27} {'':>18}  {witness.reason}")
    return "\n".join(lines)


def time_table(timing: Timing) -> str:
    """Draw the time of every layer for the terminal, with its spread and what it follows."""
    bare, names = timing.bare, [layer.name for layer in timing.layers]
    width = max(map(len, ["layer", *names]))
    lines = [
        f"{seconds(bare.median)} for the bare forward pass, middle half {seconds(bare.low)} to"
        f" {seconds(bare.high)}, {plural(timing.rounds, 'run')} on {timing.device}"
        f" ({timing.device_title}), {timing.prediction.dtype};"
        f" {seconds(timing.hooked.median)} with a clock at each layer",
        "",
        f"{'layer':<{width}}  {'median':>8}  middle half",
    ]
    for layer in timing.layers:
        spread = layer.spread
        if layer.resolved:
            half = f"{seconds(spread.low)} to {seconds(spread.high)}"
            lines.append(f"{layer.name:<{width}}  {seconds(spread.median):>8}  {half}")
        else:
            lines.append(f"{layer.name:<{width}}  {'':>8}  too short to be told")
    lines.append("")
    for quantity, title in (("macs", "MACs"), ("activations", "activations")):
        r = timing.correlation(quantity)
        found = "too few layers to tell" if r is None else f"r = {r:.2f} over the layers"
        lines.append(
            f"time against {title}: {found}; the paper has {PRINTED_CORRELATIONS[quantity]} over"
            " whole models on a GPU"
        )
    lines.append(f"a layer that does nothing measures {seconds(timing.floor)}")
    return "\n".join(lines)


def paper_table() -> str:
    """Draw the paper's Tables 1 and 3 beside our exact numbers, misprints named."""
    titles = ("", "", "MACs", "printed", "params", "printed", "acts", "printed")
    rows: list[tuple[str, ...]] = [titles]
    notes = []
    for row in PRINTED:
        verdicts = row.verdicts()
        cells = [row.table, row.row]
        for quantity, number in row.numbers().items():
            word = {"rounds to it": "", "about": "about ", "misprint": "not "}[verdicts[quantity]]
            cells += [f"{number:,}", f"{word}{getattr(row, quantity)}"]
        rows.append(tuple(cells))
        if row.misprint:
            notes.append(f"{row.table}, {row.row}: {row.misprint}.")
    widths = [max(len(cells[i]) for cells in rows) for i in range(len(titles))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in rows
    ]
    return "\n".join((*lines, "", *notes))


def plural(number: int, noun: str) -> str:
    """Write a number of things.

    >>> plural(1, "channel"), plural(3, "channel")
    ('1 channel', '3 channels')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(positions: Sequence[int]) -> str:
    """List positions in ascending order, all if few, else their ends or their beginning.

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

"""Estimate how long a run takes, from its work and from earlier runs on the same machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from statistics import median
from threading import Lock

from vitc_inspect.stem.prediction import Prediction
from vitc_inspect.stem.smaller import too_large

DEFAULT_MAX_SECONDS = 600
"""Bound for one run where none is given (seconds)."""
COUNTED_RUNS = 4
"""How many runs counting by every witness is like."""
TIMED_RUNS = 46
"""How many runs timing the layers is like."""

# Rates of one core of a present CPU; earlier runs correct them.
_MACS_A_SECOND = 20e9
_BYTES_A_SECOND = 400e6  # of outputs written, which norms and activations mostly are
_PARAMS_A_SECOND = 100e6  # of weights drawn
_START = 0.05  # seconds that any run takes
_LEAST_WORK = 0.05  # seconds of work below which a run says nothing about the machine
_KEPT_RATIOS = 9


def work_seconds(prediction: Prediction) -> float:
    """Estimate the time of a run on one core of a present CPU, without its start (seconds)."""
    return (
        prediction.macs / _MACS_A_SECOND
        + prediction.bytes / _BYTES_A_SECOND
        + prediction.params / _PARAMS_A_SECOND
    )


class RunTimes:
    """Estimates of the time of runs; each finished run corrects those of its device and dtype."""

    def __init__(self) -> None:
        """Start with no run known."""
        self._ratios: dict[tuple[str, str], deque[float]] = {}
        self._lock = Lock()

    def seconds(self, prediction: Prediction, device: str) -> float:
        """Estimate the time of a run.

        Args:
            prediction: Prediction of what is run, in the dtype of the run.
            device: Device as requested.

        Returns:
            Seconds, from the MACs, outputs and params and the median of the last runs.

        >>> from vitc_inspect.stem.presets import PRESETS
        >>> from vitc_inspect.stem.prediction import predict
        >>> prediction, times = predict(PRESETS["vit_c_4gf"].stem), RunTimes()
        >>> round(times.seconds(prediction, "cpu"), 2)
        0.12
        >>> times.learn(prediction, "cpu", 1.05)
        >>> round(times.seconds(prediction, "cpu"), 2)
        1.05
        """
        with self._lock:
            ratio = median(self._ratios.get((device, prediction.dtype), [1.0]))
        return _START + ratio * work_seconds(prediction)

    def learn(self, prediction: Prediction, device: str, seconds: float) -> None:
        """Take into account how long a run took; a very short one says nothing.

        Args:
            prediction, device: As in `seconds`.
            seconds: How long it took.
        """
        work = work_seconds(prediction)
        if work < _LEAST_WORK or seconds <= _START:
            return
        with self._lock:
            key = (device, prediction.dtype)
            self._ratios.setdefault(key, deque(maxlen=_KEPT_RATIOS))
            self._ratios[key].append((seconds - _START) / work)


def check_seconds(
    prediction: Prediction, seconds_of: Callable[[Prediction], float], *, most: float
) -> float:
    """Return the estimated time of a run if it is within the bound.

    Args:
        prediction: Prediction of what is run.
        seconds_of: Estimates the time of a run (seconds).
        most: The longest run that is allowed (seconds).

    Raises:
        SpecError: field "image_size", or "conv2.out_channels" where no smaller image fits, with
            the numbers and the largest value found that fits.
    """
    seconds = seconds_of(prediction)
    if seconds <= most:
        return seconds
    reason = f"the run would take about {duration(seconds)}, the most is {duration(most)}"
    costs = {stage.name: prediction.layer(stage.name).macs or 0 for stage in prediction.spec.stages}
    raise too_large(prediction, reason, costs=costs, fits=lambda other: seconds_of(other) <= most)


def duration(seconds: float) -> str:
    """Write a time with a unit that suits it.

    >>> duration(0.21), duration(3.4), duration(280), duration(600), duration(12_150)
    ('0.2 s', '3 s', '4.7 min', '10 min', '3.4 h')
    """
    if seconds < 1:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.{int(seconds < 600)}f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:,.1f} days"

"""Time from an event to its paint in a real browser: python -m benchmarks.page_latency.

Times are measured inside the page, from the change of the control to the first message after the
frame that paints the answer.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterable

import torch
from playwright.sync_api import Page

from tests.chromium import browser
from tests.served import served
from vitc_inspect.tracing.hooks import KeptOutput
from vitc_inspect.views.maps import wall

_RUNS = 40

# A message posted from an animation frame is delivered after that frame has been painted.
_AFTER_PAINT = """
window.afterPaint = (done) => requestAnimationFrame(() => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => done(performance.now());
  port2.postMessage(null);
});
"""

_MEASURE = """
async ([selector, value, kind]) => {
  const root = document.querySelector('.vi');
  const state = (wanted) => new Promise((done) => {
    const look = () => {
      if (!wanted.includes(root.dataset.state)) return;
      watch.disconnect();
      window.afterPaint(done);
    };
    const watch = new MutationObserver(look);
    watch.observe(root, { attributes: true, attributeFilter: ['data-state'] });
  });
  const control = root.querySelector(selector);
  const predicted = state(['predicted']);
  const confirmed = state(['confirmed']);
  const start = performance.now();
  control.value = value;
  control.dispatchEvent(new Event(kind, { bubbles: true }));
  return [await predicted - start, await confirmed - start];
}
"""

# Runs a statement and waits until the panel it changes has been painted.
_CLICK = """
async (statement) => {
  const panel = document.querySelector('[data-slot=panel]');
  const shown = new Promise((done) => {
    const watch = new MutationObserver(() => {
      watch.disconnect();
      window.afterPaint(done);
    });
    watch.observe(panel, { childList: true });
  });
  const start = performance.now();
  new Function(statement)();
  return await shown - start;
}
"""


def main() -> int:
    """Print a table of medians and 95th percentiles, in milliseconds."""
    with served("--port", "7979") as app, browser() as chromium:
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.add_init_script(_AFTER_PAINT)
        page.goto(app.address)
        page.wait_for_selector(".vi[data-state=confirmed]")
        empty = [
            page.evaluate(
                "new Promise((d) => { const t = performance.now();"
                " window.afterPaint((e) => d(e - t)); })"
            )
            for _ in range(_RUNS)
        ]
        print(f"| {'event (ViT_C-4GF at about 224 pixels)':<42} | median ms | p95 ms |")
        print(f"|{'-' * 44}|-----------|--------|")
        _line("nothing at all: the next frame", empty)
        sizes = [str(224 + i % 2) for i in range(1, _RUNS + 1)]
        slider = [_change(page, "[data-slider]", size) for size in sizes]
        _line("slider: prediction painted", (first for first, _ in slider))
        _line("slider: everything painted, report cached", (last for _, last in slider[2:]))
        fresh = [_change(page, "[data-field=seed]", str(1000 + i)) for i in range(_RUNS)]
        _line("seed: prediction painted", (first for first, _ in fresh))
        _line("seed: everything painted, new run", (last for _, last in fresh))
        stem = "3x3/2:{} bn relu, 3x3/2:96 bn relu, 3x3/2:192 bn relu, 3x3/2:384 bn relu, 1x1:384"
        texts = [_change(page, "[data-field=stem]", stem.format(48 + i % 7)) for i in range(_RUNS)]
        _line("text: prediction painted", (first for first, _ in texts))
        _line("text: everything painted", (last for _, last in texts))
        layers = ("conv2", "act1", "proj", "conv1", "tokens")
        clicks = [page.evaluate(_CLICK, _layer(layers[i % len(layers)])) for i in range(_RUNS)]
        _line("click on a layer: its wall painted", clicks)
        page.evaluate(_CLICK, _layer("conv1"))
        maps, cells, tokens = [], [], []
        for i in range(_RUNS):
            maps.append(page.evaluate(_CLICK, _at(".wall img", 0.1 + i / 50, 0.5)))
            page.evaluate(_CLICK, "document.querySelector('[data-map=\"\"]').click()")
        _line("click on a map of the wall: large", maps)
        page.evaluate(_CLICK, _layer("conv4"))
        for i in range(_RUNS):
            page.evaluate(_CLICK, _at(".wall img", 0.1 + i / 50, 0.3))
            cells.append(page.evaluate(_CLICK, _at("[data-plane]", 0.5, 0.1 + i / 50)))
            page.evaluate(_CLICK, "document.querySelector('[data-view=maps]').click()")
            page.evaluate(_CLICK, "document.querySelector('[data-map=\"\"]').click()")
        _line("click on a cell of conv4: taken apart", cells)
        page.evaluate(_CLICK, "document.querySelector('[data-view=tokens]').click()")
        for i in range(_RUNS):
            tokens.append(
                page.evaluate(_CLICK, _at("[data-token-map]", (i % 13 + 0.5) / 14, 0.2 + i % 2 / 2))
            )
        _line("click on a token: its fields and likeness", tokens)
    _line("drawing a wall of 48×112×112, in Python", _wall_times())
    return 0


def _wall_times() -> list[float]:
    """Time from the kept output of a layer to its PNG, on one core (ms)."""
    kept = KeptOutput(values=torch.randn(48, 112, 112), step=1, dropped=0)
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        wall(kept)
        times.append(1000 * (time.perf_counter() - start))
    return times


def _layer(name: str) -> str:
    """A click on a row of the table."""
    return f"""document.querySelector('tr[data-layer="{name}"] button').click()"""


def _at(selector: str, x: float, y: float) -> str:
    """A click at fractions of the width and the height of an element."""
    return f"""
      const box = document.querySelector('{selector}').getBoundingClientRect();
      const at = {{ clientX: box.left + {x} * box.width, clientY: box.top + {y} * box.height }};
      const event = new MouseEvent('click', {{ bubbles: true, ...at }});
      document.querySelector('{selector}').dispatchEvent(event);"""


def _change(page: Page, selector: str, value: str) -> tuple[float, float]:
    first, last = page.evaluate(_MEASURE, [selector, value, "input"])
    return first, last


def _line(name: str, times: Iterable[float]) -> None:
    ordered = sorted(times)
    p95 = ordered[int(0.95 * (len(ordered) - 1))]
    print(f"| {name:<42} | {statistics.median(ordered):9.0f} | {p95:6.0f} |")


if __name__ == "__main__":
    sys.exit(main())

"""Time from an event to its paint in a real browser: python -m benchmarks.page_latency.

The smallest page of Gradio with a handler (trivial_page) is measured in the same run, and each
median is also told as a ratio to it. Times are measured inside the page, from the change of the
control to the first message after the frame that paints the answer.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

import torch
from playwright.sync_api import Page

from tests.chromium import browser
from tests.served import ROOT, served, serving
from vitc_inspect.model.modules import build_stem
from vitc_inspect.stem.spec import conv_stem
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

_NEXT_FRAME = """
new Promise((done) => {
  const start = performance.now();
  window.afterPaint((end) => done(end - start));
})
"""

# Moves the slider thirty times, 20 ms apart, and waits until the last value's run is painted.
_THIRTY = """
async (from) => {
  const root = document.querySelector('.vi');
  const slider = root.querySelector('[data-slider]');
  for (let i = 1; i <= 30; i += 1) {
    slider.value = from + i;
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    await new Promise((done) => setTimeout(done, 20));
  }
  const start = performance.now();
  const settled = () => root.dataset.state === 'confirmed' &&
    root.querySelector('h2').textContent.includes(String(from + 30));
  while (!settled()) await new Promise((done) => setTimeout(done, 2));
  return await new Promise((done) => window.afterPaint(done)) - start;
}
"""

# Time from an input of the slider to the paint of its copy, on the page of trivial_page.
_TRIVIAL = """
async (value) => {
  const copy = document.querySelector('textarea, input[type=text]');
  const shown = new Promise((done) => {
    const look = () => {
      if (copy.value !== value) return requestAnimationFrame(look);
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => done(performance.now());
      port2.postMessage(null);
    };
    look();
  });
  const slider = document.querySelector('input[type=range]');
  const start = performance.now();
  slider.value = value;
  slider.dispatchEvent(new Event('input', { bubbles: true }));
  return await shown - start;
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
    """Print a table of medians, 95th percentiles and ratios to a trivial handler."""
    trivial = _trivial_times()
    forward, drawing = _forward_times(), _wall_times()
    times: dict[str, list[float]] = {"slider of a page of its own: its copy painted": trivial}
    with served("--port", "7979") as app, browser() as chromium:
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.add_init_script(_AFTER_PAINT)
        page.goto(app.address)
        page.wait_for_selector(".vi[data-state=confirmed]")
        times["nothing at all: the next frame"] = [page.evaluate(_NEXT_FRAME) for _ in range(_RUNS)]
        times |= _changes(page)
        times |= _clicks(page)
    times["bare forward of the stem, in Python"] = forward
    times["drawing a wall of 48×112×112, in Python"] = drawing
    _print(times, trivial=statistics.median(trivial))
    least = sum(map(statistics.median, (trivial, forward, drawing)))
    new = statistics.median(times["seed: everything painted, new run"])
    print(f"\nEverything painted after a new run: {new / least:.1f} × trivial + forward + drawing")
    return 0


def _trivial_times() -> list[float]:
    """Time from an input to its paint on the smallest page of Gradio with a handler (ms)."""
    command = [sys.executable, "-m", "benchmarks.trivial_page", "7978"]
    with serving(command, cwd=ROOT, environment=os.environ) as app, browser() as chromium:
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.goto(app.address)
        page.wait_for_selector("input[type=range]")
        return [page.evaluate(_TRIVIAL, str(224 + i % 2)) for i in range(1, _RUNS + 1)]


def _changes(page: Page) -> dict[str, list[float]]:
    """Times after a change of size, seed or stem, and after thirty events of the slider."""
    sizes = [str(224 + i % 2) for i in range(1, _RUNS + 1)]
    slider = [_change(page, "[data-slider]", size) for size in sizes]
    fresh = [_change(page, "[data-field=seed]", str(1000 + i)) for i in range(_RUNS)]
    stem = "3x3/2:{} bn relu, 3x3/2:96 bn relu, 3x3/2:192 bn relu, 3x3/2:384 bn relu, 1x1:384"
    texts = [_change(page, "[data-field=stem]", stem.format(48 + i % 7)) for i in range(_RUNS)]
    return {
        "slider: prediction painted": [first for first, _ in slider],
        "slider: everything painted, report cached": [last for _, last in slider[2:]],
        "seed: prediction painted": [first for first, _ in fresh],
        "seed: everything painted, new run": [last for _, last in fresh],
        "text: prediction painted": [first for first, _ in texts],
        "text: everything painted": [last for _, last in texts],
        "thirty slider events: settled after the last": [
            page.evaluate(_THIRTY, 200 + 40 * (i % 2)) for i in range(10)
        ],
    }


def _clicks(page: Page) -> dict[str, list[float]]:
    """Times after clicks on layers, maps, cells, tabs and tokens."""
    layers = ("conv2", "act1", "proj", "conv1", "tokens")
    rows = [page.evaluate(_CLICK, _layer(layers[i % len(layers)])) for i in range(_RUNS)]
    page.evaluate(_CLICK, _layer("conv1"))
    maps, cells, tabs, tokens = [], [], [], []
    for i in range(_RUNS):
        maps.append(page.evaluate(_CLICK, _at(".wall img", 0.1 + i / 50, 0.5)))
        page.evaluate(_CLICK, "document.querySelector('[data-map=\"\"]').click()")
    page.evaluate(_CLICK, _layer("conv4"))
    for i in range(_RUNS):
        page.evaluate(_CLICK, _at(".wall img", 0.1 + i / 50, 0.3))
        cells.append(page.evaluate(_CLICK, _at("[data-plane]", 0.5, 0.1 + i / 50)))
        page.evaluate(_CLICK, "document.querySelector('[data-view=maps]').click()")
        page.evaluate(_CLICK, "document.querySelector('[data-map=\"\"]').click()")
    for i in range(_RUNS):
        view = ("cost", "length")[i % 2]
        tabs.append(page.evaluate(_CLICK, f"document.querySelector('[data-view={view}]').click()"))
    page.evaluate(_CLICK, "document.querySelector('[data-view=tokens]').click()")
    for i in range(_RUNS):
        at = _at("[data-token-map]", (i % 13 + 0.5) / 14, 0.2 + i % 2 / 2)
        tokens.append(page.evaluate(_CLICK, at))
    return {
        "click on a layer: its wall painted": rows,
        "click on a map of the wall: large": maps,
        "click on a cell of conv4: taken apart": cells,
        "click on the tabs Cost and Length": tabs,
        "click on a token: its fields and likeness": tokens,
    }


def _forward_times() -> list[float]:
    """Time of a forward pass of the stem alone (ms)."""
    stem = build_stem(conv_stem()).eval()
    image = torch.randn(1, 3, 224, 224)
    times = []
    with torch.inference_mode():
        for _ in range(_RUNS):
            start = time.perf_counter()
            stem(image)
            times.append(1000 * (time.perf_counter() - start))
    return times


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


def _print(times: dict[str, list[float]], *, trivial: float) -> None:
    """Print medians and 95th percentiles, and the medians over that of the trivial handler."""
    print(f"| {'event (ViT_C-4GF at about 224 pixels)':<46} | median ms | p95 ms | ratio |")
    print(f"|{'-' * 48}|-----------|--------|-------|")
    for name, each in times.items():
        ordered = sorted(each)
        p95 = ordered[int(0.95 * (len(ordered) - 1))]
        median = statistics.median(ordered)
        print(f"| {name:<46} | {median:9.0f} | {p95:6.0f} | {median / trivial:5.1f} |")


if __name__ == "__main__":
    sys.exit(main())

"""The smallest Gradio page with a handler, which the page's times are compared with.

It is started by page_latency; by itself: python -m benchmarks.trivial_page PORT.
"""

from __future__ import annotations

import sys

import gradio as gr
import torch  # noqa: F401  # as the page that is compared with it does


def main(port: int) -> None:
    """Serve a slider whose value a handler copies into a text box, until interrupted."""
    with gr.Blocks() as page:
        slider = gr.Slider(16, 512, 224, step=1, label="side")
        copy = gr.Textbox("224", label="copy")
        slider.change(str, slider, copy, queue=False, show_progress="hidden")
    _, address, _ = page.launch(
        server_port=port, quiet=True, prevent_thread_lock=True, run_history=False
    )
    print(f"A slider is at {address}", flush=True)
    page.block_thread()


if __name__ == "__main__":
    main(int(sys.argv[1]))

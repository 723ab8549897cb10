"""Memory of the app while it inspects many stems: python -m benchmarks.memory.

Every request has another stem, so each needs a forward pass and none is answered from the cache.
Memory is the resident set size of the app's process.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import httpx

from tests.served import served

_RUNS = 900
_EVERY = 100
_SESSIONS = 30


def main() -> int:
    """Print the resident set size (MiB) after every hundred runs."""
    chance = random.Random(0)
    with served("--port", "7978") as app, httpx.Client(timeout=60) as client:
        config = client.get(f"{app.address}config").json()
        page = next(part["id"] for part in config["components"] if part["type"] == "html")
        print("| runs | resident MiB |")
        print("|------|--------------|")
        print(f"| {0:4} | {_resident(app.pid):12.0f} |")
        for run in range(1, _RUNS + 1):
            channels = [chance.randrange(8, 96) for _ in range(3)]
            stem = ", ".join(f"3x3/2:{c} bn relu" for c in channels) + ", 1x1:192"
            request = {
                "stem": stem,
                "height": str(chance.randrange(64, 384)),
                "width": str(chance.randrange(64, 384)),
                "in_channels": "3",
                "class_token": "1",
                "image": chance.choice(("photo", "ramp", "edges")),
                "device": "auto",
                "dtype": "float32",
                "seed": str(run),
            }
            for function in ("predict", "run"):
                answer = client.post(
                    f"{app.address}gradio_api/component_server/",
                    json={
                        "data": request,
                        "component_id": page,
                        "session_hash": f"visitor{run % _SESSIONS}",
                        "fn_name": function,
                    },
                )
                answer.raise_for_status()
                assert "error" not in answer.json()
            if run % _EVERY == 0:
                print(f"| {run:4} | {_resident(app.pid):12.0f} |", flush=True)
    return 0


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    sys.exit(main())

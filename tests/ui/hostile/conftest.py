"""Two running apps that get every hostile input, and what has to hold at the end of them all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.served import free_port, served
from tests.ui.hostile.client import ALLOWED_GROWTH, Client, resident
from tests.ui.hostile.guests import GOOD_MODULE, write_module
from tests.ui.hostile.weights import write_good

TOKEN = "to-ken"


@contextmanager
def _bounded(*arguments: str) -> Iterator[Client]:
    """An app that has to be the same process at the end, and not to have grown without bound."""
    with served("--port", str(free_port()), "--device", "cpu", *arguments) as app:
        client = Client(app)
        before = resident(app.pid)
        yield client
        grown = resident(app.pid) - before
        assert before > 0
        assert grown < ALLOWED_GROWTH, f"{grown:,.0f} MiB more than at the start"
        assert client.http.get("/config").status_code == 200
        client.http.close()


@pytest.fixture(scope="package")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights that the stems' app is started with, and that changes under it."""
    return write_good(tmp_path_factory.mktemp("weights") / "stem.safetensors")


@pytest.fixture(scope="package")
def stems(weights_file: Path) -> Iterator[Client]:
    """The page of stems, with a token and a file of weights."""
    with _bounded("--token", TOKEN, "--weights", str(weights_file), "--max-seconds", "60") as app:
        yield app


@pytest.fixture(scope="package")
def module_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the module that the module's app is started with."""
    path = tmp_path_factory.mktemp("module") / "net.py"
    write_module(path, GOOD_MODULE)
    return path


@pytest.fixture(scope="package")
def module(module_file: Path) -> Iterator[Client]:
    """The page of a module, whose runs may take a few seconds, as its users start it."""
    given = ("--module", f"{module_file}:Net", "--input", "1,3,32,32", "--token", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("VITC_STRICT_RULES", raising=False)  # a guest may break a rule of ours
        with _bounded(*given, "--max-seconds", "4") as app:
            yield app

"""The order of the files: each imports only from those above it, and few load anything heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.sources import ORDER, PACKAGE, ROOT, modules_imported, source_files

AT_THE_EDGE = {"__main__": "ui", "app": "ui"}
"""What starts the program may also import this, and all above it."""

TORCH = frozenset({"model", "tracing", "probes", "audit", "inspection"})
MAY_IMPORT = {
    "torch": TORCH,
    "einops": TORCH,
    "safetensors": frozenset({"model"}),
    "gradio": frozenset({"ui", "app"}),
    "matplotlib": frozenset({"common", "views"}),
}
"""The only places of each heavy library."""


def place(path: Path) -> str:
    """Where in the order a file stands: its wing, or its module at the top."""
    parts = path.relative_to(PACKAGE).parts if path.is_relative_to(PACKAGE) else path.parts[-1:]
    return parts[0].removesuffix(".py")


def faults(where: str, source: str, package: str = "vitc_inspect") -> list[str]:
    """What a file in this place of the order must not import, in sentences."""
    found = []
    highest = ORDER.index(AT_THE_EDGE.get(where, where))
    for name in sorted(modules_imported(source, package)):
        library, *inner = name.split(".")
        if where not in MAY_IMPORT.get(library, {where}):
            found.append(f"{where} imports {library}")
        if library != "vitc_inspect" or not inner:
            continue
        if inner[0] not in ORDER:
            found.append(f"{where} imports {inner[0]}, which is not in the order")
        elif ORDER.index(inner[0]) > highest:
            found.append(f"{where} imports {inner[0]}, which stands below it")
    return found


def test_every_file_has_a_place_in_the_order() -> None:
    places = {place(path) for path in source_files()}
    assert places <= {*ORDER, *AT_THE_EDGE}


@pytest.mark.parametrize(
    "path",
    [path for path in source_files() if place(path) in {*ORDER, *AT_THE_EDGE}],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_file_imports_only_what_stands_above_it(path: Path) -> None:
    package = ".".join(path.parent.relative_to(ROOT).parts)
    assert faults(place(path), path.read_text(encoding="utf-8"), package) == []


@pytest.mark.parametrize(
    ("where", "source", "fault"),
    [
        ("stem", "from vitc_inspect.common.errors import SpecError", None),
        ("stem", "from vitc_inspect.stem import arithmetic", None),
        ("stem", "from vitc_inspect.model.modules import build_stem", "model, which stands below"),
        ("stem", "from vitc_inspect import model", "model, which stands below"),
        ("stem", "import vitc_inspect.model.modules as m", "model, which stands below"),
        ("stem", "from . import model", "model, which stands below"),
        ("stem", "from .model import modules", "model, which stands below"),
        ("stem", "def f():\n    from vitc_inspect.model import x", "model, which stands below"),
        ("stem", "if TYPE_CHECKING:\n    from vitc_inspect.model import x", "model, which stands"),
        ("stem", "import_module('vitc_inspect.model')", "model, which stands below"),
        ("views", "from vitc_inspect.views.text import count", None),
        ("views", "from vitc_inspect.ui.page import page", "ui, which stands below"),
        ("views", "import torch", "views imports torch"),
        ("views", "from torch import nn", "views imports torch"),
        ("views", "import gradio as gr", "views imports gradio"),
        ("views", "import matplotlib", None),
        ("inspection", "import torch", None),
        ("inspection", "import matplotlib.pyplot", "inspection imports matplotlib"),
        ("stem", "import torch.nn", "stem imports torch"),
        ("common", "from matplotlib import cbook", None),
        ("common", "from einops import rearrange", "common imports einops"),
        ("model", "from einops.layers.torch import Rearrange", None),
        ("ui", "import gradio", None),
        ("ui", "importlib.import_module('torch')", "ui imports torch"),
        ("app", "import gradio", None),
        ("app", "import torch", "app imports torch"),
        ("cli", "import gradio", "cli imports gradio"),
        ("cli", "from vitc_inspect.ui import page", "ui, which stands below"),
        ("__main__", "from vitc_inspect.cli import main", None),
        ("cli", "from vitc_inspect.cellar import wine", "cellar, which is not in the order"),
    ],
)
def test_a_fault_is_found_and_nothing_else(where: str, source: str, fault: str | None) -> None:
    found = faults(where, source)
    if fault is None:
        assert found == []
    else:
        assert len(found) == 1
        assert fault in found[0]


def dotted(path: Path) -> str:
    """The name by which a file is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports_among(sources: dict[str, str]) -> dict[str, set[str]]:
    """Which of these modules each of them imports.

    Args:
        sources: Python by dotted name of the module.
    """
    graph = {}
    for name, source in sources.items():
        imported = modules_imported(source, name.rpartition(".")[0])
        graph[name] = (imported | {one.rpartition(".")[0] for one in imported}) & sources.keys()
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, each beside the next; empty where none do."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_files_import_each_other_in_a_circle() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    assert circle(imports_among({dotted(path): path.read_text("utf-8") for path in files})) == []


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ({"v.a": "from v.b import x", "v.b": "import v.c", "v.c": ""}, False),
        ({"v.a": "from v.b import x", "v.b": "def f():\n    from v.a import y"}, True),
        ({"v.a": "from v import b", "v.b": "import v.c", "v.c": "from v.a import z"}, True),
        ({"v.a": "from . import b", "v.b": "from .a import z"}, True),
    ],
)
def test_a_circle_is_found(sources: dict[str, str], found: bool) -> None:
    assert bool(circle(imports_among(sources))) == found


@pytest.mark.parametrize(
    "wing", [*(name for name in ORDER if (PACKAGE / name).is_dir()), "ui/panels"]
)
def test_a_wing_begins_with_its_sentence(wing: str) -> None:
    sentence = ast.get_docstring(ast.parse((PACKAGE / wing / "__init__.py").read_text("utf-8")))
    assert sentence is not None
    assert sentence.splitlines()[0].endswith(".")


def test_no_wing_hides_a_public_name() -> None:
    import vitc_inspect

    assert set(ORDER) & set(vitc_inspect.__all__) == set()


def test_relative_imports_of_a_folder_are_understood() -> None:
    assert modules_imported("from .text import count", "vitc_inspect.views") == {
        "vitc_inspect.views.text.count"
    }
    assert modules_imported("from ..stem.spec import StemSpec", "vitc_inspect.views") == {
        "vitc_inspect.stem.spec.StemSpec"
    }


def test_a_new_file_has_no_place_until_it_is_given_one() -> None:
    assert place(PACKAGE / "cellar.py") not in {*ORDER, *AT_THE_EDGE}
    assert place(PACKAGE / "cellar" / "wine.py") not in {*ORDER, *AT_THE_EDGE}
    assert place(PACKAGE / "views" / "wine.py") == "views"
    assert place(ROOT / "app.py") == "app"


def loaded_after(code: str) -> set[str]:
    """Libraries in memory after running the code in a Python of its own."""
    script = f"import sys\n{code}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


HEAVY = {"torch", "einops", "gradio", "matplotlib", "numpy", "PIL"}


@pytest.mark.parametrize(
    "code",
    [
        "import vitc_inspect",
        "from vitc_inspect import conv_stem, predict; assert predict(conv_stem()).seq_len == 197",
        "from vitc_inspect import PRESETS, explain_totals, parse_stem, format_stem, predict\n"
        "explain_totals(predict(parse_stem(format_stem(PRESETS['vit_c_4gf'].stem))))",
        "import vitc_inspect.stem.memory",
        "from vitc_inspect.cli import main; main(['--explain', 'embed_dim must be divisible by"
        " num_heads', '--preset', 'vit_c_4gf'])",
    ],
    ids=["import", "predict", "explain", "memory", "diagnose"],
)
def test_nothing_heavy_is_loaded_to_predict(code: str) -> None:
    loaded = loaded_after(code)
    assert "vitc_inspect" in loaded
    assert loaded & HEAVY == set()


def test_running_a_stem_does_load_torch() -> None:
    assert "torch" in loaded_after("from vitc_inspect import inspect_stem")


def test_the_front_door_offers_what_it_names() -> None:
    script = "import vitc_inspect as v; assert all(hasattr(v, n) for n in v.__all__); print(dir(v))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert "inspect_stem" in done.stdout


def test_the_front_door_has_no_other_names() -> None:
    import vitc_inspect

    with pytest.raises(AttributeError, match="no attribute 'cellar'"):
        vitc_inspect.cellar  # noqa: B018

"""The wings of the package in their order, its files, and what each imports."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vitc_inspect"


ORDER = (
    "common",
    "stem",
    "diagnosis",
    "model",
    "tracing",
    "probes",
    "audit",
    "views",
    "inspection",
    "cli",
    "ui",
)
"""The wings of the package, and the terminal's way in: each imports only those before it."""


def source_files() -> list[Path]:
    """Every file of the package but its front door, and app.py once it is there."""
    front_door = PACKAGE / "__init__.py"
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if path != front_door]
    return files + [path for path in (ROOT / "app.py",) if path.exists()]


def modules_imported(source: str, package: str = "vitc_inspect") -> set[str]:
    """Dotted names of all that a source imports, wherever in the file and however written.

    Args:
        source: Python.
        package: Dotted name of the folder the file lies in, for relative imports.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and (
            getattr(node.func, "attr", None) == "import_module"
            or getattr(node.func, "id", None) in ("import_module", "__import__")
        ):
            names |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    return names

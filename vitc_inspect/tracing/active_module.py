"""A module that is running while its calls are recorded."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import CodeType
from typing import Any

from torch import nn

from vitc_inspect.tracing.call_builder import Row
from vitc_inspect.tracing.leaf_modules import Role

Given = tuple[tuple[Any, ...], Mapping[str, Any]]
"""Arguments by place and by name."""


class ActiveModule:
    """A module that is running."""

    __slots__ = (
        "code", "handling", "layer", "name", "own", "row", "sealed", "suspended", "watched",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        layer: nn.Module,
        code: CodeType | None,
        row: Row | None,
        own: bool,
        role: Role | None,
    ) -> None:
        self.name, self.layer, self.code, self.row = name, layer, code, row
        self.own = own  # the row is the module's, not that of a layer around it
        self.sealed = row is not None and role != "open"  # its functions are part of its row
        self.watched = role == "leaf"  # they may be of layers whose hooks do not run
        self.suspended: Given | None = None  # the arguments, where the mode is off
        self.handling = sys.exc_info()[1]  # the exception that the caller is handling

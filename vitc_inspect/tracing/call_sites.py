"""Find where a function was called in the user's code, and forwards that ran without a hook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import CodeType, FrameType
from typing import Any

from torch import nn

from vitc_inspect.tracing.active_module import ActiveModule
from vitc_inspect.tracing.tracebacks import CodeLine, owner_of


class CallSites:
    """The stack frames above the functions that a module calls, read while it runs."""

    def __init__(
        self, names: Mapping[int, str], active: Sequence[ActiveModule], entry: CodeType
    ) -> None:
        """Read nothing yet.

        Args:
            names: Name of each module by its id.
            active: The modules that are running; the caller keeps it up to date.
            entry: The code that called the module; nothing above it is read.
        """
        self.called_directly: set[str] = set()  # modules, by .forward()
        self.unregistered: dict[str, None] = {}  # classes of modules that the module does not hold
        self._names, self._active, self._entry = names, active, entry
        self._owners: dict[str, str] = {}  # of files

    def line_of(
        self, frame: FrameType | None, forward: CodeType | None
    ) -> tuple[CodeLine, FrameType | None]:
        """Find the line outside torch and einops that called a function.

        The way up ends where the running module's forward was called. A line of one of torch's
        layers stands in where there is no other.

        Args:
            frame: The frame that called the function.
            forward: Code of the running module's forward.

        Returns:
            The line, and the frame of the function of einops on the way, or None.
        """
        user: CodeLine | None = None
        layer: CodeLine | None = None
        last: CodeLine = ("", 0)
        library: FrameType | None = None
        arrived = False  # at the forward of the module that is running
        while frame is not None:
            code = frame.f_code
            owner = self._owners.get(code.co_filename)
            if owner is None:
                owner = self._owners[code.co_filename] = owner_of(code.co_filename)
            # above a layer whose forward hook did not run stands whoever called it
            if owner == "here" or (owner == "calling" and (arrived or user)):
                break
            arrived = arrived or code is forward
            last = (code.co_filename, frame.f_lineno)
            if owner == "calling":
                pass
            elif owner == "einops" and user is None:
                library = frame
            elif owner == "layer" and layer is None:
                layer = last
            elif owner == "user" and user is None:
                user = last
            if code.co_name == "forward" and code is not forward:
                self._unhooked(frame.f_locals.get("self"))
            frame = frame.f_back
        return user or layer or last, library

    def find_unhooked(self, frame: FrameType | None, forward: CodeType | None) -> None:
        """Find forwards that run without a forward hook, up to that of the running module."""
        while frame is not None and (running := frame.f_code) is not forward:
            if running is self._entry:
                return
            if running.co_name == "forward":
                self._unhooked(frame.f_locals.get("self"))
            frame = frame.f_back

    def _unhooked(self, layer: Any) -> None:
        """The forward of a module is running, maybe without its hook."""
        if not isinstance(layer, nn.Module):
            return
        name = self._names.get(id(layer))
        if name is None:
            self.unregistered[type(layer).__name__] = None
        elif all(each.name != name for each in self._active):
            self.called_directly.add(name)

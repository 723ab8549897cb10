"""Layers that were not called, each with the reason, and notes on anything unusual."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from vitc_inspect.tracing.leaf_modules import can_be_called
from vitc_inspect.tracing.listener import Run
from vitc_inspect.tracing.module_tree import Contents
from vitc_inspect.tracing.recording import NOT_REACHED, Failure, NeverCalled
from vitc_inspect.tracing.torch_internals import is_compiled

_NOT_COMPILED = (
    "torch.compile was left out for the run: its layers ran one by one, as hooks need it."
)


def never_called(run: Run, failure: Failure | None) -> tuple[NeverCalled, ...]:
    """List every layer that was not called, with the reason.

    Args:
        run: The run, once the module has returned or raised.
        failure: How it ended, where it raised.
    """
    silent = [name for name in run.roles if name and name not in run.called]
    used = _used_parameters(run) if silent else frozenset()
    return tuple(
        NeverCalled(
            name=name,
            kind=type(run.layers[name]).__name__,
            reason=_reason(name, run, used, failure),
        )
        for name in silent
    )


def _used_parameters(run: Run) -> frozenset[int]:
    """Parameters that functions were given, by id; those of opaque layers too."""
    quiet = (
        row.layer
        for row in run.rows
        # its truth is for the user's class to say
        if row.layer is not None and row.returned and run.roles[row.name] == "opaque"
    )
    given = (id(each) for layer in quiet for each in layer.parameters(recurse=False))
    return frozenset((*run.used, *given))


def _reason(name: str, run: Run, used: frozenset[int], failure: Failure | None) -> str:
    """Why a layer was not called, as far as that can be known."""
    layers = run.layers
    layer = layers[name]
    above = [name.rpartition(".")[0]]
    while above[-1]:
        above.append(above[-1].rpartition(".")[0])
    owner = above[0]
    if any(isinstance(layers[each], torch.jit.ScriptModule) for each in (name, *above)):
        return "it is compiled by torch.jit, which calls no hooks"
    if isinstance(layers[owner], nn.MultiheadAttention) and owner in run.called:
        return "nn.MultiheadAttention reads its weights itself and never calls it"
    if name in run.elsewhere:
        return "it ran in another thread, of which only its forward hook tells: not followed"
    if name in run.sites.called_directly:
        return "its .forward() was called directly, which calls no hooks: call the module"
    if any(id(parameter) in used for parameter in layer.parameters(recurse=False)):
        return "its weights were used without calling it"
    if any(each in run.called for each in layers if each.startswith(f"{name}.")):
        return "only layers inside it were called"
    if failure is not None:
        return NOT_REACHED
    silent = [
        each
        for each in above
        if each and each not in run.called and can_be_called(type(layers[each]))
    ]
    if silent:
        return f"{silent[-1]}, which holds it, was never called"
    return "the forward pass does not use it"


# ---- notes ----------------------------------------------------------------------------------


def shared_notes(contents: Contents) -> tuple[str, ...]:
    """Describe each module that is registered under more than one name."""
    return tuple(
        f"{name} is the same module as {first}: its rows have that name, and both share the same"
        " parameters; make two modules if that is not intended."
        for name, first in contents.repeats
    )


def fast_path_notes(layers: Mapping[str, nn.Module]) -> tuple[str, ...]:
    """Say that attention or a compiled module will run differently while it is recorded.

    Call it before the run, since recording switches these fast paths off.

    Args:
        layers: Every module inside, by its name.
    """
    compiled = any(map(is_compiled, layers.values()))
    notes = (_NOT_COMPILED,) if compiled else ()
    fused = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)
    found = any(isinstance(layer, fused) and not layer.training for layer in layers.values())
    if not found or not torch.backends.mha.get_fastpath_enabled():
        return notes
    return (
        *notes,
        "PyTorch's fused attention was switched off for the run, since it calls no hooks; in use"
        " PyTorch may take it, unless torch.backends.mha.set_fastpath_enabled(False) forbids it.",
    )


def unregistered_notes(run: Run) -> tuple[str, ...]:
    """Describe each kind of module that ran without being registered in the module."""
    return tuple(
        f"A {kind} ran that is not registered in the module, as one in a plain list is not:"
        " its parameters are neither counted nor trained."
        for kind in run.sites.unregistered
    )

"""The editor: a row of controls for each convolution of the stem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

from vitc_inspect.stem.spec import conv_names
from vitc_inspect.ui.panels.elements import button
from vitc_inspect.views.html import Markup, fill, join, tag

_NORMS = {"none": "–", "batch": "bn", "layer": "ln"}
_YES_NO = {"1": "yes", "0": "no"}
_ACTIVATIONS = {"none": "–", **{name: name for name in ("relu", "gelu", "silu", "hardswish")}}


def editor_html(rows: Sequence[Mapping[str, str]]) -> Markup:
    """Draw a row of controls for each convolution, filled with the given texts."""
    names = conv_names(len(rows))
    lines = (
        _editor_row(name, tuple(row.items()), removable=len(rows) > 1)
        for name, row in zip(names, rows, strict=True)
    )
    return join(*lines)


@lru_cache(maxsize=256)  # most rows stay as they are while a person changes one
def _editor_row(name: str, fields: tuple[tuple[str, str], ...], *, removable: bool) -> Markup:
    row = dict(fields)
    default_bias = "1" if row["norm"] == "none" else "0"
    more = (row["dilation"], row["groups"], row["bias"]) != ("1", "1", default_bias)
    number = partial(_number, name, row)
    return fill(
        '<div class="{}" data-row="{name}"><span class="row-name">{name}</span>{}{}{}{}{}{}{}'
        '<div class="extra"><label>dilation {}</label><label>groups {}</label>'
        '<label>bias {}</label><div class="row-actions">{}</div></div></div>',
        "row open" if more else "row",
        *map(number, ("kernel_size", "stride", "padding", "out_channels")),
        *(_select(name, row, "norm", _NORMS), _select(name, row, "activation", _ACTIVATIONS)),
        button("⋯", css="more", data_more=True, aria_label=f"more of {name}", aria_expanded=more),
        *(number("dilation"), number("groups"), _select(name, row, "bias", _YES_NO)),
        join(*_actions(name, removable=removable)),
        name=name,
    )


def _actions(name: str, *, removable: bool) -> list[Markup]:
    """What can be done with a row: move it, insert one before it, remove it."""
    actions = [
        button("↑", data_move=-1, aria_label=f"move {name} up"),
        button("↓", data_move=1, aria_label=f"move {name} down"),
        button("Insert before", data_insert=True, aria_label=f"insert before {name}"),
    ]
    if removable:
        actions.append(button("Remove", data_remove=True, aria_label=f"remove {name}"))
    return actions


def _number(name: str, row: Mapping[str, str], field: str) -> Markup:
    """A field for a whole number between two buttons, which a finger hits."""
    quantity = field.replace("_", " ")
    return fill(
        '<span class="stepper">{}<input type="number" inputmode="numeric" min="{}" step="1"'
        ' value="{}" data-part="{}" aria-label="{}"/>{}</span>',
        button("−", data_step=-1, tabindex=-1, aria_label=f"one less {quantity} of {name}"),
        *(0 if field == "padding" else 1, row[field], field, f"{name} {quantity}"),
        button("+", data_step=1, tabindex=-1, aria_label=f"one more {quantity} of {name}"),
    )


def _select(name: str, row: Mapping[str, str], field: str, titles: Mapping[str, str]) -> Markup:
    options = [
        tag("option", title, value=key, selected=key == row[field]) for key, title in titles.items()
    ]
    return tag("select", *options, data_part=field, aria_label=f"{name} {field}")

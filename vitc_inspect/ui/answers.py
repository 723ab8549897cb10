"""Answers of both pages' servers, and the error messages when something fails."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.guard import guarded, reason_of
from vitc_inspect.common.worker import WorkerFailed
from vitc_inspect.ui.pictures import MissingPicture
from vitc_inspect.ui.worker_queues import RunStopped
from vitc_inspect.views.html import fill, tag

Answer = dict[str, Any]
"""What is sent to the browser: texts and HTML by name."""

_LOG = logging.getLogger(__name__)
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # which JSON can ask for, and no answer may hold


@contextmanager
def answering(refused: Callable[[SpecError], Answer]) -> Iterator[Answer]:
    """Fill in an answer in the block; an exception raised there becomes the answer.

    An unexpected exception becomes one sentence, and is logged with its traceback.

    Args:
        refused: Makes the answer where a choice cannot be used.
    """
    answer: Answer = {}
    try:
        yield answer
    except MissingPicture:
        answer["missing_picture"] = True
    except SpecError as error:
        answer.update(refused(error))
    except RunStopped as stopped:
        answer["error"] = _alert("run", str(stopped))
    except Exception as error:  # noqa: BLE001  # the last resort, at one place for both pages
        _LOG.exception("A request could not be answered.")
        reason = str(error) if isinstance(error, WorkerFailed) else reason_of(error)
        answer.clear()
        answer["error"] = _alert("program", _failed("This could not be worked out", reason))
    readable = _readable(answer)
    answer.clear()
    answer.update(readable)


def drawn(what: str, draw: Callable[..., str], *args: Any, **kwargs: Any) -> str:
    """Draw a part of the page; if it fails, say so in its place and keep the rest.

    Args:
        what: What the part is, for example "The panel".
        draw: Makes its HTML.
        args, kwargs: What it is given.

    Raises:
        SpecError, MissingPicture: As `draw`: these are answers, and no failure of it.
    """

    def attempt() -> str | SpecError | MissingPicture:
        try:
            return draw(*args, **kwargs)
        except (SpecError, MissingPicture) as answer:
            return answer
        except Exception:
            _LOG.exception("%s could not be drawn.", what)
            raise

    found, reason = guarded(attempt)
    if isinstance(found, Exception):
        raise found
    if found is None:
        sentence = _failed(f"{what} could not be drawn", reason or "")
        return tag("p.remark.warning", sentence, role="alert")
    return found


def _alert(field: str, sentence: str) -> Answer:
    """An error that no control is to blame for, with a button to try again."""
    html = fill(
        '<p role="alert">{} <button type="button" data-retry>Try again</button></p>', sentence
    )
    return {"field": field, "html": html, "suggestion": []}


def _failed(what: str, reason: str) -> str:
    """That this program failed, and at what."""
    return (
        f"{what}: {reason}. This is a fault of vitc_inspect; the terminal it runs in has"
        " the traceback."
    )


def _readable(value: Any) -> Any:
    """The same without halves of characters, which cannot be sent."""
    if isinstance(value, str):
        text = str(value)
        try:
            text.encode()  # ten times as fast as looking for them
        except UnicodeEncodeError:
            return _HALF_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", text)
        return text
    if isinstance(value, dict):
        return {_readable(key): _readable(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_readable(part) for part in value]
    return value

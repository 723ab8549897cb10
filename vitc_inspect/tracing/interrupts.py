"""Exceptions that end a run but are not failures of the module: Ctrl+C and `EndOfRun`."""

from __future__ import annotations

import dis


class EndOfRun(BaseException):
    """Raised by this package to end a run early."""


def is_to_pass(error: BaseException) -> bool:
    """Whether an exception is not a failure of the module: Ctrl+C or `EndOfRun`.

    An interrupt arises between two lines; a KeyboardInterrupt that a `raise` has made is the
    module's own, like any exception.

    Source:
        docs.python.org, library/dis, RAISE_VARARGS; library/signal, default_int_handler.
    """
    if isinstance(error, EndOfRun):
        return True
    last = error.__traceback__
    if not isinstance(error, KeyboardInterrupt) or last is None:
        return isinstance(error, KeyboardInterrupt)
    while last.tb_next is not None:
        last = last.tb_next
    return dis.opname[last.tb_frame.f_code.co_code[last.tb_lasti]] != "RAISE_VARARGS"

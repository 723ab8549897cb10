"""Files of modules: a good one, and hostile ones."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent

from tests.ui.hostile.client import MARK

GOOD_MODULE = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, 16, 4, stride=4)

    def forward(self, image):
        return self.proj(image).flatten(2).transpose(1, 2)
"""


def write_module(path: Path, text: str | bytes) -> None:
    """Replace the file at once, as an editor does."""
    draft = path.with_name("draft")
    draft.write_bytes(text if isinstance(text, bytes) else text.encode())
    os.replace(draft, path)


def at_import(lines: str) -> str:
    """A good module whose file does something first."""
    return dedent(lines) + GOOD_MODULE


def in_forward(lines: str) -> str:
    """A good module whose forward does something first."""
    inside = "".join(f"        {line}\n" for line in dedent(lines).strip().splitlines())
    return GOOD_MODULE.replace("        return", inside + "        return")


def returning(value: str, before: str = "") -> str:
    """A good module whose forward returns something else."""
    kept = "tokens = self.proj(image).flatten(2).transpose(1, 2)"
    head, _, _ = GOOD_MODULE.rpartition("        return")
    return f"{dedent(before)}{head}        {kept}\n        return {value}\n"


MADE = "cannot be made"
RAISED = "The forward pass raised"
DIED = "ended its process"
RUNS = "layers run"
ENDLESS = "not over after 4 s"
DAMAGED = {"no paths", "no modules", "a limit of recursion"}
"""Modules in whose process no other code works."""

FILES: dict[str, tuple[str | bytes, str]] = {
    # what cannot be read
    "nothing": ("", MADE),
    "NUL bytes": (bytes(1000), MADE),
    "bytes that are no text": (b"# \xff\xfe\nNet = 1\n", MADE),
    "another encoding": (b"# coding: rot13\nvzcbeg bf\n", MADE),
    "an encoding of no kind": (b"# coding: hostile\n", MADE),
    "half of a line": ("class Net(", MADE),
    "tabs and blanks": ("if 1:\n\tx = 1\n        y = 2\n", MADE),
    "a thousand brackets": ("(" * 1000, MADE),
    "a hundred thousand minus signs": ("x = " + "-" * 100_000 + "1", MADE),
    "a number of 5,000 digits": ("x = " + "9" * 5000, MADE),
    "HTML": (MARK, MADE),
    "no such name": ("import torch\n", MADE),
    "a number": ("Net = 3\n", MADE),
    "a name of HTML": (f"Net = {MARK!r}\n", MADE),
    "a function that needs more": ("def Net(a, b): pass\n", MADE),
    "a function that makes nothing": ("def Net(): pass\n", MADE),
    "a class of no module": ("class Net: pass\n", MADE),
    "a module without its start": (
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self): pass\n",
        MADE,
    ),
    "an import of nothing": ("import hostile_that_is_not_there\n", MADE),
    "an import of itself": ("from net import Net\n", ""),
    # what is raised
    "an exception at its import": (at_import("raise ValueError('<b>no</b>')"), MADE),
    "KeyboardInterrupt at its import": (at_import("raise KeyboardInterrupt"), ""),
    "SystemExit at its import": (at_import("import sys; sys.exit('bye')"), ""),
    "GeneratorExit at its import": (at_import("raise GeneratorExit"), ""),
    "an exception of its own kind": (
        at_import("class E(BaseException):\n    def __str__(self): raise self\nraise E()"),
        "",
    ),
    "a message of HTML": (in_forward(f"raise ValueError({MARK!r})"), RAISED),
    "a message of a megabyte": (in_forward("raise ValueError('x' * 10**6)"), RAISED),
    "a message that raises": (
        in_forward("class E(Exception):\n    def __str__(self): raise self\nraise E()"),
        RAISED,
    ),
    "a long chain of causes": (
        in_forward(
            """
            error = None
            for _ in range(2000):
                new = ValueError("x")
                new.__cause__ = error
                error = new
            raise error
            """
        ),
        RAISED,
    ),
    "KeyboardInterrupt": (in_forward("raise KeyboardInterrupt"), ""),
    "SystemExit": (in_forward("raise SystemExit(0)"), ""),
    "StopIteration": (in_forward("raise StopIteration"), RAISED),
    "recursion without end": (in_forward("return self.forward(image)"), RAISED),
    "recursion through the module": (in_forward("return self(image)"), ""),
    "more memory than there is": (in_forward("import torch; torch.empty(10**15)"), RAISED),
    "MemoryError": (in_forward("raise MemoryError"), ""),
    # what does not end, or ends the process
    "a loop at its import": (at_import("while True: pass"), ENDLESS),
    "a loop in its forward": (in_forward("while True: pass"), ENDLESS),
    "an exit at its import": (at_import("import os; os._exit(0)"), DIED),
    "an exit in its forward": (in_forward("import os; os._exit(3)"), DIED),
    "a fault in native code": (in_forward("import ctypes; ctypes.string_at(0)"), DIED),
    "SIGKILL": (in_forward("import os; os.kill(os.getpid(), 9)"), DIED),
    "SIGTERM": (in_forward("import os; os.kill(os.getpid(), 15)"), DIED),
    "SIGKILL of its group": (in_forward("import os; os.killpg(0, 9)"), DIED),
    "abort": (in_forward("import os; os.abort()"), DIED),
    "SIGALRM": (at_import("import signal; signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)"), ""),
    # what changes the process
    "signals that are ignored": (
        at_import(
            """
            import signal
            for number in (1, 2, 3, 15, 17):
                signal.signal(number, signal.SIG_IGN)
            """
        ),
        RUNS,
    ),
    "descriptors that are closed": (at_import("import os; os.closerange(0, 20)"), ""),
    "standard output that is closed": (at_import("import sys, os; os.close(1); os.close(2)"), RUNS),
    "answers of its own": (
        at_import(
            """
            import os
            for number in range(3, 30):
                try: os.write(number, b"\\0\\0\\0\\x04abcd" * 10)
                except OSError: pass
            """
        ),
        "",
    ),
    "another folder": (at_import("import os; os.chdir('/')"), ""),
    "a folder that is gone": (
        at_import("import os, tempfile\nwith tempfile.TemporaryDirectory() as a: os.chdir(a)"),
        RUNS,
    ),
    "no variables": (at_import("import os; os.environ.clear()"), RUNS),
    "no paths": (at_import("import sys; sys.path.clear()"), ""),
    "no modules": (at_import("import sys; sys.modules.clear()"), ""),
    "a limit of recursion": (at_import("import sys; sys.setrecursionlimit(60)"), ""),
    "builtins of its own": (
        at_import(
            "import builtins\nfor name in ('len', 'print', 'open'): setattr(builtins, name, 3)"
        ),
        "",
    ),
    "torch of its own": (at_import("import torch; torch.nn.Module.__call__ = None"), ""),
    "pickle of its own": (at_import("import pickle; pickle.dumps = None"), ""),
    "a thread that stays": (
        at_import(
            """
            import threading, time
            threading.Thread(target=time.sleep, args=(600,)).start()
            """
        ),
        RUNS,
    ),
    "processes that stay": (
        at_import(
            """
            import subprocess, sys
            for _ in range(4):
                subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            """
        ),
        RUNS,
    ),
    "copies of itself": (at_import("import os\nfor _ in range(3): os.fork()"), RUNS),
    "a copy in its forward": (in_forward("import os; os.fork()"), RUNS),
    "a flood of output": (in_forward("print('x' * 10**7)"), RUNS),
    "terminal codes": (in_forward("print('\\x1b[2J\\x1b]0;hostile\\x07' * 100)"), RUNS),
    "gradients that are off": (at_import("import torch; torch.set_grad_enabled(False)"), RUNS),
    "another default type": (at_import("import torch; torch.set_default_dtype(torch.half)"), ""),
    "a limit of files": (
        at_import("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))"),
        "",
    ),
    # what it does to files
    "itself that is gone": (at_import("import os; os.remove(__file__)"), RUNS),
    "itself that changes": (at_import("open(__file__, 'a').write('#')"), RUNS),
    # what it is made of, and what it returns
    "names of HTML": (
        GOOD_MODULE.replace(
            "self.proj = ", f"self.add_module({MARK!r}, nn.ReLU())\n        self.proj = "
        ),
        RUNS,
    ),
    "names of newlines": (
        GOOD_MODULE.replace(
            "self.proj = ", "self.add_module('a\\nb\\x1b[31m', nn.ReLU())\n        self.proj = "
        ),
        RUNS,
    ),
    "a class of HTML": (GOOD_MODULE + f"Net.__name__ = Net.__qualname__ = {MARK!r}\n", RUNS),
    "ten thousand layers": (
        GOOD_MODULE.replace(
            "self.proj = ",
            "self.many = nn.ModuleList(nn.ReLU() for _ in range(10**4))\n        self.proj = ",
        ),
        "",
    ),
    "layers in layers": (
        GOOD_MODULE.replace(
            "self.proj = ",
            "inner = nn.ReLU()\n        for _ in range(300): inner = nn.Sequential(inner)\n"
            "        self.deep = inner\n        self.proj = ",
        ),
        "",
    ),
    "itself as a layer": (in_forward("object.__setattr__(self, 'own', self)"), RUNS),
    "a generator": (returning("(one for one in tokens)"), ""),
    "a function": (returning("lambda: tokens"), ""),
    "nothing returned": (returning("None"), ""),
    "a list in itself": (
        returning("own", "").replace(
            "        return own", "        own = [tokens]; own.append(own)\n        return own"
        ),
        "",
    ),
    "a dictionary of HTML": (returning(f"{{{MARK!r}: tokens}}"), ""),
    "an object that raises": (
        returning(
            "E()",
            """
            class E:
                def __getattribute__(self, name): raise RuntimeError("no")
            """,
        ),
        "",
    ),
    "an array": (returning("tokens.detach().numpy()"), ""),
    "NaN": (returning("tokens * float('nan')"), RUNS),
    "numbers without values": (returning("tokens.to('meta')"), ""),
    "a hundred thousand tensors": (returning("[tokens[0, 0, 0]] * 10**5"), ""),
    "a tensor of its own class": (
        returning(
            "tokens.as_subclass(T)",
            """
            import torch
            class T(torch.Tensor):
                @classmethod
                def __torch_function__(cls, *args, **kwargs): raise RuntimeError("no")
            """,
        ),
        "",
    ),
}
"""By what they are, files, and what the page says of each; empty for any sentence, or a run."""

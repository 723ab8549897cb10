"""Who may reach the page: the hosts it answers to, the pages that may frame it, and the token."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import ip_address

from vitc_inspect.common.errors import SpecError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""The names of this machine that lead nowhere else."""
SELF = "'self'"
NOTEBOOK_FRAMES = (
    *("http://localhost:*", "http://127.0.0.1:*"),  # Jupyter on this machine
    *("vscode-webview:", "vscode-file:"),  # notebooks in Visual Studio Code
)
"""What may frame a page that listens on this machine alone, besides itself."""
SPACE_FRAMES = ("https://huggingface.co", "https://*.hf.space")
"""What frames the page of a Hugging Face Space."""
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::\d{1,5})?", re.ASCII)
_LONGEST_HOST = 254  # characters, with a dot at the end: RFC 1035, section 2.3.4
_PATTERN = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)
_SOURCE = re.compile(
    r"'self'|'none'|\*|[a-z][a-z0-9+.-]*:"
    r"|([a-z][a-z0-9+.-]*://)?(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*(:(\d+|\*))?",
    re.ASCII | re.IGNORECASE,
)
_TOKEN = re.compile(r"[A-Za-z0-9._~-]*")  # as it is in an address and in a cookie


@dataclass(frozen=True)
class Access:
    """Who may reach the page; the default is what is safe on a machine of one's own."""

    hosts: frozenset[str] = frozenset(LOOPBACK)
    """Names and addresses it listens on, in lower case, without port or brackets."""
    allowed: frozenset[str] = frozenset()
    """Names that were allowed by name, as for a proxy; `*.example.org` stands for all below it."""
    any_address: bool = False
    """Whether every IP address is a valid Host."""
    any_host: bool = False
    """Whether every name is a valid Host."""
    frame_ancestors: tuple[str, ...] = (SELF, *NOTEBOOK_FRAMES)
    """Sources of CSP: the pages that may show this one in a frame."""
    token: str = field(default="", repr=False)
    """What a request has to know; empty for nothing."""

    def answers_to(self, host: str) -> bool:
        """Whether a request may be sent to a host, as `host_of` returns it."""
        if self.any_host or host in self.hosts or self.is_allowed(host):
            return True
        # the browser looked up no name for an address, so DNS cannot have rebound it
        return self.any_address and _is_address(host)

    def is_allowed(self, host: str) -> bool:
        """Whether a host was allowed by name, and not only because the page listens on it."""
        return any(fnmatchcase(host, pattern) for pattern in self.allowed)


def host_of(netloc: str) -> str | None:
    """The name or address in a Host header: in lower case, without port, brackets, last dot.

    Returns:
        None when it is malformed.

    >>> host_of("LocalHost.:7860"), host_of("[0:0::1]:80"), host_of("a b")
    ('localhost', '::1', None)
    """
    found = _HOST.fullmatch(netloc.lower())
    if found is None or len(found[1]) > _LONGEST_HOST:
        return None
    name = found[1].removesuffix(".")
    try:
        return str(ip_address(name.strip("[]")))
    except ValueError:
        return name if name and not name.startswith("[") else None


def access_of(
    host: str,
    *,
    allowed: Iterable[str] = (),
    frame_ancestors: str | None = None,
    token: str = "",
    environment: Mapping[str, str] = os.environ,
) -> Access:
    """What is safe for a page that listens on a host.

    Args:
        host: Name or address it listens on.
        allowed: Further names under which it is reached; those of the environment variables
            VITC_ALLOWED_HOSTS and SPACE_HOST are added.
        frame_ancestors: Sources of CSP with spaces between them, instead of the default.
        token: What a request has to know; empty for nothing.
        environment: Environment variables.

    Raises:
        SpecError: field "allow-host", "frame-ancestors" or "token".
    """
    more = environment.get("VITC_ALLOWED_HOSTS", "").split(",")
    names = [read_host(name) for name in (*allowed, *more) if name.strip()]
    space = in_space(environment)
    names += [name.strip().lower() for name in environment.get("SPACE_HOST", "").split(",")]
    if space:
        names.append("*.hf.space")
    only_here = is_loopback(host)
    if frame_ancestors is not None:
        frames = read_frames(frame_ancestors)
    else:
        frames = (SELF, *(SPACE_FRAMES if space else NOTEBOOK_FRAMES if only_here else ()))
    return Access(
        hosts=frozenset({*LOOPBACK, host_of(host) or host}),
        allowed=frozenset(names) - {"", "*"},
        any_address=not only_here,
        any_host="*" in names,
        frame_ancestors=frames,
        token=read_token(token),
    )


def notebook_access() -> Access:
    """What is safe where nobody has chosen: in a notebook, or mounted in another app.

    Raises:
        SpecError: field "allow-host", for a name in VITC_ALLOWED_HOSTS.
    """
    return access_of(os.environ.get("GRADIO_SERVER_NAME") or LOOPBACK[0])


def in_space(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a Hugging Face Space, which is public and shown in a frame of the Hub."""
    return bool(environment.get("SPACE_ID"))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on a host; False for an unknown name."""
    try:
        # of every family, since the server listens on each address of a name
        found = socket.getaddrinfo(host, None) if host else []
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(ip_address(address[0]).is_loopback for *_, address in found)


def new_token() -> str:
    """A token that cannot be guessed: 192 random bits."""
    return secrets.token_urlsafe(24)


def read_host(text: str) -> str:
    """Read a name that is to be allowed: `example.org`, `*.example.org`, `*` or an address.

    Raises:
        SpecError: field "allow-host".
    """
    name = text.strip().lower().removesuffix(".")
    if not name.isascii():
        try:
            name = name.encode("idna").decode()  # as browsers send it
        except UnicodeError:
            name = ""
    if name == "*":
        return name
    bare = name.strip("[]")
    if _is_address(bare):
        return str(ip_address(bare))
    if not _PATTERN.fullmatch(name):
        inside = re.match(r"(?:[a-z]+://)?([^/:]+)[/:]", name)
        fits = inside[1] if inside and _PATTERN.fullmatch(inside[1]) else "inspect.example.org"
        reason = "it is not the name of a host alone, without https://, port and path"
        raise SpecError("allow-host", text, reason, f"Use {fits}", fits)
    return name


def read_frames(text: str) -> tuple[str, ...]:
    """Read sources of CSP with spaces between them.

    Raises:
        SpecError: field "frame-ancestors".
    """
    sources = tuple(text.split())
    wrong = next((source for source in sources if not _SOURCE.fullmatch(source)), None)
    if wrong is not None or not sources:
        reason = "it is no source of a Content-Security-Policy, such as https://example.org"
        value = text if wrong is None else wrong
        raise SpecError("frame-ancestors", value, reason, "Use 'none' to forbid frames", "'none'")
    if len(sources) > 1 and "'none'" in sources:
        reason = "'none' stands beside other sources"
        raise SpecError("frame-ancestors", text, reason, "Leave 'none' out", SELF)
    return sources


def read_token(text: str) -> str:
    """Check a token; an empty one is for none.

    Raises:
        SpecError: field "token"; the message does not hold what was given.
    """
    if not _TOKEN.fullmatch(text):
        reason = "a token is made of letters, digits, and . _ ~ - alone"
        token = new_token()
        raise SpecError("token", "…", reason, f"Use {token}", token)
    return text


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

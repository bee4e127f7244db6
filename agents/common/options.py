"""What the options of all agents are made of, and how they are checked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol, get_args

from nsxdp.services.addresses import parse_address

if TYPE_CHECKING:
    from nsxdp.transport import Tls

__all__ = [
    "OVSDB",
    "LogFormat",
    "LogLevel",
    "OptionsError",
    "check_log",
    "check_remotes",
    "check_sources",
    "check_tls",
    "checked_bind_address",
    "management_socket",
    "parse_bind_address",
    "run_directory",
    "tls_files",
    "with_port",
]

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


OVSDB: Final = "unix:/var/run/openvswitch/db.sock"
"""Where Open vSwitch's database is unless said otherwise."""


class _WithTls(Protocol):
    """Options of an agent that speaks with Open vSwitch."""

    @property
    def private_key(self) -> str: ...
    @property
    def certificate(self) -> str: ...
    @property
    def ca_cert(self) -> str: ...


class OptionsError(ValueError):
    """A configuration that can't be used; says what is wrong and what to do."""


def check_log(log_format: str, log_level: str) -> None:
    """See that the words are those that there are.

    Raises
    ------
    OptionsError
        One isn't.
    """
    for name, word, words in (
        ("format", log_format, get_args(LogFormat)),
        ("level", log_level, get_args(LogLevel)),
    ):
        if word not in words:
            raise OptionsError(f"--log-{name} {word}: must be one of {', '.join(words)}")


def check_remotes(flag: str, remotes: Iterable[str]) -> None:
    """See that all are remotes, as `nsxdp.transport.parse_remote` reads them.

    Raises
    ------
    OptionsError
        One isn't.
    """
    from nsxdp.transport import parse_remote  # takes a while to be imported, and help should not

    for remote in remotes:
        try:
            parse_remote(remote.strip(), 1)
        except ValueError as error:
            raise OptionsError(f"{flag} {error}") from None


def check_sources(kubeconfig: str, manifests: str) -> None:
    """See that the file and the directory are there; empty: none is said.

    Raises
    ------
    OptionsError
        One isn't.
    """
    if manifests and not Path(manifests).is_dir():
        raise OptionsError(f"--manifests {manifests}: no such directory")
    if kubeconfig and not Path(kubeconfig).is_file():
        raise OptionsError(f"--kubeconfig {kubeconfig}: no such file")


def check_tls(private_key: str, certificate: str, ca_cert: str) -> None:
    """See that all of our files for ``ssl:`` connections are said, or none.

    Raises
    ------
    OptionsError
        It is only some of them.
    """
    if len({bool(private_key), bool(certificate), bool(ca_cert)}) > 1:
        raise OptionsError("--private-key, --certificate and --ca-cert go together")


def tls_files(options: _WithTls) -> Tls | None:
    """Our files for ``ssl:`` connections to Open vSwitch; None: they aren't said."""
    from nsxdp.transport import Tls  # see check_remotes

    if not options.private_key:
        return None
    return Tls(Path(options.private_key), Path(options.certificate), Path(options.ca_cert))


def run_directory(ovsdb: str) -> Path | None:
    """Where the control sockets of this machine's Open vSwitch are: beside its database's.

    None: it runs elsewhere.
    """
    from nsxdp.transport import parse_remote  # see check_remotes

    for text in ovsdb.split(","):
        remote = parse_remote(text.strip(), 6640)
        if remote.kind == "unix":
            return Path(remote.path).parent
    return None


def management_socket(ovsdb: str, bridge: str) -> str:
    """The bridge's management socket, beside the database's.

    Raises
    ------
    OptionsError
        The database is on another machine.
    """
    directory = run_directory(ovsdb)
    if directory is None:
        raise OptionsError(
            f"--ovsdb {ovsdb} is not on this machine: say with --openflow where the bridge listens"
        )
    return f"unix:{directory / bridge}.mgmt"


def parse_bind_address(address: str) -> tuple[str, int] | None:
    """Host and port of ``0.0.0.0:10256`` or ``[::]:10256``; None for an empty 'address'."""
    if not address:
        return None
    host, colon, port = address.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) <= 65535:
        raise ValueError("must be HOST:PORT, such as 0.0.0.0:10256")
    return host.strip("[]"), int(port)


def with_port(address: str, port: int) -> str:
    """'address', with 'port' where it is an IP address alone (kube-proxy's AppendPortIfNeeded)."""
    if parse_address(address) is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def checked_bind_address(flag: str, address: str | None, usual: str) -> str:
    """'address', or the 'usual' one where it is None; with a port.

    Raises
    ------
    OptionsError
        It is no address of a server.
    """
    address = with_port(usual if address is None else address, int(usual.rpartition(":")[2]))
    try:
        parse_bind_address(address)
    except ValueError as error:
        raise OptionsError(f"{flag} {address}: {error}") from None
    return address

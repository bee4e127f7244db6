"""What the options of all agents are made of, and how they are checked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, Literal, NamedTuple, Protocol, TypeVar, get_args

from nsxdp.services.addresses import parse_address

if TYPE_CHECKING:
    from nsxdp.k8s.credentials import Files
    from nsxdp.transport import Tls

__all__ = [
    "OVSDB",
    "REALTIME_PRIORITY",
    "Configured",
    "LogFormat",
    "LogLevel",
    "OptionsError",
    "api_files",
    "check_api",
    "check_log",
    "check_realtime_priority",
    "check_remotes",
    "check_sources",
    "check_tls",
    "checked_bind_address",
    "management_socket",
    "nearest",
    "parse_bind_address",
    "run_directory",
    "tls_files",
    "with_port",
]

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


OVSDB: Final = "unix:/var/run/openvswitch/db.sock"
"""Where Open vSwitch's database is unless said otherwise."""

REALTIME_PRIORITY: Final = 1
"""A process's unless said otherwise (sched(7))."""


class _WithTls(Protocol):
    """Options of an agent that speaks with Open vSwitch."""

    @property
    def private_key(self) -> str: ...
    @property
    def certificate(self) -> str: ...
    @property
    def ca_cert(self) -> str: ...


class _WithApi(Protocol):
    """Options of an agent that may be told how the API server is spoken to."""

    @property
    def kubeconfig(self) -> str: ...
    @property
    def server(self) -> str: ...
    @property
    def api_ca_file(self) -> str: ...
    @property
    def api_token_file(self) -> str: ...
    @property
    def api_cert_file(self) -> str: ...
    @property
    def api_key_file(self) -> str: ...


class OptionsError(ValueError):
    """A configuration that can't be used; says what is wrong and what to do."""


_Options = TypeVar("_Options", covariant=True)


class Configured(NamedTuple, Generic[_Options]):
    """What there is to be done, and what was said in vain.

    Attributes
    ----------
    options
        Checked.
    notes
        Of each setting that means nothing here: where it was said, and why it doesn't.
    """

    options: _Options
    notes: tuple[tuple[str, str], ...] = ()


def nearest(name: str, names: Iterable[str]) -> str:
    """Of 'names' the one that was probably meant, as the end of an error; empty: none is near."""
    from difflib import get_close_matches  # nobody needs it who has made no mistake

    lower = {other.lower(): other for other in names}
    found = get_close_matches(name.lower(), lower, 1, 0.75)
    return f": is {lower[found[0]]} meant?" if found else ""


def api_files(options: _WithApi) -> Files | None:
    """The files that the API server is spoken to with; None: they aren't said."""
    from nsxdp.k8s.credentials import Files  # see check_remotes

    files = Files(
        options.api_ca_file, options.api_token_file, options.api_cert_file, options.api_key_file
    )
    return None if files == Files() else files


def check_api(options: _WithApi) -> None:
    """See that it is said how the API server is spoken to in one way, and whole.

    Raises
    ------
    OptionsError
        It isn't.
    """
    if options.server and not options.server.startswith(("http://", "https://")):
        raise OptionsError(f"the API server {options.server}: must begin with https:// or http://")
    names = ("apiCaFile", "apiTokenFile", "apiCertFile", "apiKeyFile")
    values = (
        options.api_ca_file,
        options.api_token_file,
        options.api_cert_file,
        options.api_key_file,
    )
    said = [name for name, value in zip(names, values, strict=True) if value]
    if said and (options.kubeconfig or not options.server):
        raise OptionsError(f"{said[0]}: goes with the API server's URL, and without a kubeconfig")
    if ("apiCertFile" in said) != ("apiKeyFile" in said):
        raise OptionsError("apiCertFile and apiKeyFile go together")


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


def check_realtime_priority(priority: int) -> None:
    """See that it is one, or 0: none.

    Raises
    ------
    OptionsError
        It isn't.
    """
    if not 0 <= priority <= 99:
        raise OptionsError(f"--realtime-priority {priority}: must be 0 to 99")


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

"""A runtime's request, from its variables and its network configuration to types."""

from __future__ import annotations

import re
from enum import Enum
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct, field

from nsxdp_agents.node_agent.cni.errors import CniError, Code
from nsxdp_agents.node_agent.cni.runtime_config import RuntimeConfig, read_runtime_config

__all__ = [
    "LATEST",
    "VERSIONS",
    "Attachment",
    "Command",
    "Config",
    "Dns",
    "Pod",
    "Request",
    "Result",
    "read_request",
    "spoken",
]

VERSIONS: Final = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Of the specification that are understood, the oldest first."""

LATEST: Final = VERSIONS[-1]

_CONTAINER: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,255}", re.ASCII)
_NETWORK: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}", re.ASCII)
_INTERFACE: Final = re.compile(r"(?!\.{1,2}$)[^\s/:\0]{1,15}")
_POD_NAME: Final = re.compile(r"[a-z0-9A-Z._-]{0,253}", re.ASCII)


class Command(Enum):
    """What the runtime wants."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"


_SINCE: Final = {Command.CHECK: "0.4.0", Command.GC: "1.1.0", Command.STATUS: "1.1.0"}
"""The versions that brought them; the others were there from the beginning."""


class Attachment(NamedTuple):
    """A network's connection to a container: what a lease and a port are for.

    Attributes
    ----------
    container
        The runtime's name for the sandbox of a pod.
    ifname
        The interface's name in it.
    """

    container: str
    ifname: str

    def __str__(self) -> str:
        return f"{self.ifname} of {self.container}"


class Pod(NamedTuple):
    """Whose container it is in Kubernetes; empty where the runtime doesn't say."""

    namespace: str = ""
    name: str = ""
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.name else ""


class Dns(Struct, omit_defaults=True):
    """Resolver settings, which are handed through."""

    nameservers: list[str] = []
    domain: str = ""
    search: list[str] = []
    options: list[str] = []


class ResultInterface(Struct, omit_defaults=True):
    """An interface in a result."""

    name: str
    mac: str = ""
    sandbox: str = ""


class ResultIp(Struct, omit_defaults=True):
    """An address in a result."""

    address: str
    gateway: str = ""
    interface: int | None = None


class Result(Struct):
    """What an ADD gave, as far as a CHECK has to look at it."""

    interfaces: list[ResultInterface] = []
    ips: list[ResultIp] = []


class ValidAttachment(Struct):
    """One that a GC must leave alone."""

    container_id: str = field(name="containerID")
    ifname: str


_Valid = Annotated[list[ValidAttachment], Meta(max_length=20_000)]


class Config(Struct):
    """A network configuration, as far as anything here depends on it."""

    cni_version: str = field(name="cniVersion", default="0.3.0")
    name: str = ""
    dns: Dns | None = None
    runtime_config: dict[str, Any] = field(name="runtimeConfig", default_factory=dict)
    prev_result: Result | None = field(name="prevResult", default=None)
    valid: _Valid | None = field(name="cni.dev/valid-attachments", default=None)
    valid_before: _Valid | None = field(name="cni.dev/attachments", default=None)
    """As runtimes call it that are older than the specification."""

    @property
    def runtime(self) -> RuntimeConfig:
        """What the runtime wants for a pod; CniError: it can't be understood."""
        return read_runtime_config(self.runtime_config)

    @property
    def valid_attachments(self) -> frozenset[Attachment] | None:
        """Those that a GC must leave alone; None: it isn't said which."""
        found = self.valid if self.valid is not None else self.valid_before
        if found is None:
            return None
        return frozenset(Attachment(each.container_id, each.ifname) for each in found)


class Request(NamedTuple):
    """A request, whose parts are what they have to be.

    Attributes
    ----------
    attachment
        Empty parts with GC and STATUS, which are about none.
    sandbox
        The path of the container's network namespace, as the runtime sees it; may be empty.
    """

    command: Command
    config: Config
    attachment: Attachment
    sandbox: str
    pod: Pod


class _Said(Struct):
    """What every configuration says, with whatever else."""

    version: str = field(name="cniVersion", default="")


_decode = msgspec.json.Decoder(Config).decode
_decode_said = msgspec.json.Decoder(_Said).decode


def read_request(variables: bytes, config: bytes) -> Request:
    """Read what came over the socket.

    Parameters
    ----------
    variables
        ``NAME=VALUE`` each, with a zero byte after it.
    config
        The network configuration, in JSON.

    Raises
    ------
    CniError
        Something in it can't be used.
    """
    given = _variables(variables)
    word = given.get("CNI_COMMAND", "")
    if word not in Command.__members__:
        known = ", ".join(Command.__members__)
        raise CniError(Code.BAD_ENVIRONMENT, f"CNI_COMMAND={word[:40]}: there are {known}, VERSION")
    command = Command[word]
    try:
        decoded = _decode(config)
    except msgspec.ValidationError as error:
        raise CniError(Code.BAD_CONFIG, f"the network configuration: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CniError(Code.NOT_DECODED, f"the network configuration: {error}") from None
    version = decoded.cni_version
    if version not in VERSIONS:
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            f"cniVersion {version[:40]} is not supported",
            f"there are {', '.join(VERSIONS)}",
        )
    since = _SINCE.get(command, VERSIONS[0])
    if VERSIONS.index(version) < VERSIONS.index(since):
        raise CniError(Code.INCOMPATIBLE_VERSION, f"{word} needs cniVersion {since}, not {version}")
    if not _NETWORK.fullmatch(decoded.name):
        raise CniError(Code.BAD_CONFIG, f"the network configuration: name {decoded.name[:40]!r}")
    if command in (Command.GC, Command.STATUS):
        return Request(command, decoded, Attachment("", ""), "", Pod())
    attachment = Attachment(
        _checked(given, "CNI_CONTAINERID", _CONTAINER), _checked(given, "CNI_IFNAME", _INTERFACE)
    )
    return Request(
        command,
        decoded,
        attachment,
        given.get("CNI_NETNS", ""),
        _pod(given.get("CNI_ARGS", "")),
    )


def spoken(config: bytes) -> str:
    """The version in which to answer to a configuration, whatever else is in it."""
    try:
        version = _decode_said(config).version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return LATEST
    return version if version in VERSIONS else LATEST


def _variables(data: bytes) -> dict[str, str]:
    given = {}
    for each in data.split(b"\0"):
        name, _, value = each.decode(errors="surrogateescape").partition("=")
        given[name] = value
    return given


def _checked(given: dict[str, str], name: str, pattern: re.Pattern[str]) -> str:
    value = given.get(name, "")
    if not value:
        raise CniError(Code.BAD_ENVIRONMENT, f"{name} is not set")
    if not pattern.fullmatch(value) or not value.isprintable():
        raise CniError(Code.BAD_ENVIRONMENT, f"{name}={value[:60]!a} can't be used")
    return value


def _pod(arguments: str) -> Pod:
    """Whose container it is, from CNI_ARGS; what else is in there is somebody else's."""
    given = dict(part.partition("=")[::2] for part in arguments.split(";"))
    pod = Pod(
        given.get("K8S_POD_NAMESPACE", ""),
        given.get("K8S_POD_NAME", ""),
        given.get("K8S_POD_UID", ""),
    )
    for value in pod:
        if not _POD_NAME.fullmatch(value):
            raise CniError(Code.BAD_ENVIRONMENT, f"CNI_ARGS: {value[:60]!a} is no pod's")
    return pod

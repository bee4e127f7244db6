"""A network namespace: a host of its own, as far as the network can tell."""

import contextlib
import http.client
import itertools
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import urlsplit

from nsxdp.lab import owner, tools
from nsxdp.lab.errors import LabError
from nsxdp.lab.programs import Server, Traffic
from nsxdp.netns import entered

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

_numbers = itertools.count(1)
_taken: set[str] = set()


class Netns:
    """A network namespace with its loopback up, deleted with all processes in it on `close`.

    Parameters
    ----------
    name
        What it is called in ``short``; the name the machine sees has the owner's pid before it, so
        two labs never meet.

    Attributes
    ----------
    name
        As ``ip netns`` shows it.
    short
        As its maker called it.
    path
        The file to open for setns(2).

    Examples
    --------
    >>> from nsxdp.lab import Netns
    >>> with Netns("here") as netns:
    ...     print(netns.run(["ip", "-brief", "link"]).stdout.split()[:2])
    ['lo', 'UNKNOWN']
    """

    def __init__(self, name: str = "ns") -> None:
        tools.require("ip")
        self.short = name
        self.owner = owner.ensure_watched()
        full = f"{owner.PREFIX}-{self.owner.token}-{name}"
        self.name = full if full not in _taken else f"{full}.{next(_numbers)}"
        _taken.add(self.name)
        self.path = owner.NETNS / self.name
        self._children: list[subprocess.Popen[Any]] = []
        self._files = contextlib.ExitStack()
        self._closed = False
        tools.run(["ip", "netns", "add", self.name])
        try:
            # Addresses are ours alone: no time is spent on looking for others that have them.
            self.sysctl("net.ipv6.conf.all.accept_dad", 0)
            self.sysctl("net.ipv6.conf.default.accept_dad", 0)
            self.iproute("link set lo up")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kill what runs inside, delete the namespace and its files. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        owner.delete_netns(self.name)
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=10)
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
        self._files.close()
        _taken.discard(self.name)
        with contextlib.suppress(OSError):
            self.owner.directory.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def directory(self, name: str) -> Path:
        """A new empty directory for files that go when the namespace goes."""
        self.owner.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        for candidate in itertools.chain([name], (f"{name}{n}" for n in itertools.count(2))):
            path = self.owner.directory / candidate
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o755)
                self._files.callback(_remove_tree, path)
                return path
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Put the calling thread into the namespace for the length of ``with``.

        Sockets and child processes made meanwhile belong to it, and stay in it afterwards. Other
        threads are not touched. In a coroutine, don't ``await`` inside: other tasks would move too.
        """
        with self.path.open("rb") as file, entered(file.fileno()):
            yield

    def open_socket(
        self,
        kind: socket.SocketKind = socket.SOCK_STREAM,
        *,
        family: int = 4,
        protocol: int = 0,
    ) -> socket.socket:
        """A socket of the namespace, neither bound nor connected.

        Parameters
        ----------
        kind, protocol
            As `socket.socket` has them.
        family
            Of IP: 4 or 6.
        """
        with self.enter():
            return socket.socket(_FAMILIES[family], kind, protocol)

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        check: bool = True,
        stdin: str | None = None,
        timeout: float = 60.0,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end, with its output captured as text.

        Parameters
        ----------
        check
            Whether an exit status other than 0 is an error.
        stdin
            What it reads there; None: nothing.
        timeout
            Seconds.
        env
            Its environment; None: ours.

        Raises
        ------
        LabError
            There is no such command, it failed, or it took too long; with what it printed.
        """
        with self.enter():
            return tools.run(argv, check=check, stdin=stdin, timeout=timeout, env=env)

    def popen(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        own_session: bool = True,
    ) -> subprocess.Popen[bytes]:
        """Start a process inside, which ends with the namespace at the latest; as `subprocess`.

        It is in a session of its own, so that a Ctrl-C at the terminal is the owner's affair.
        """
        command = [os.fspath(word) for word in argv]
        command[0] = tools.program(command[0])
        with self.enter():
            child = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=env,
                cwd=cwd,
                start_new_session=own_session,
            )
        self._children = [known for known in self._children if known.returncode is None]
        self._children.append(child)
        return child

    def iproute(self, *commands: str) -> None:
        """Run ip(8) commands inside, all in one process: ``ns.iproute("link set lo up", ...)``."""
        self.run(["ip", "-batch", "-"], stdin="\n".join(commands) + "\n")

    def sysctl(self, name: str, value: int | str) -> None:
        """Set a kernel parameter of this namespace, such as ``net.ipv4.ip_forward``."""
        path = Path("/proc/sys") / name.replace(".", "/")
        with self.enter():
            try:
                path.write_text(f"{value}\n")
            except OSError as error:
                raise LabError(f"{self.name}: sysctl {name}={value}: {error}") from error

    def serve_http(self, port: int = 80, name: str | None = None) -> Server:
        """Answer every HTTP request on `port` (IPv4 and IPv6) with `name`; listens on return.

        The path ``/client`` answers with the client's address and port instead.
        """
        return Server(self, name or self.short, http=[port])

    def serve_tcp(self, port: int, name: str | None = None) -> Server:
        """Answer every line on a TCP connection with `name`; listens on return.

        A line that says ``client`` is answered with the source address.
        """
        return Server(self, name or self.short, tcp=[port])

    def serve_udp(self, port: int, name: str | None = None) -> Server:
        """Answer every datagram with `name`; one that says ``client``, with its source address."""
        return Server(self, name or self.short, udp=[port])

    def http_get(self, url: str, timeout: float = 5.0) -> str:
        """GET `url` on a connection of its own; the body without the newline at its end.

        Raises
        ------
        OSError
            As connect(2) and recv(2) say: refused, unreachable, timed out.
        LabError
            For an answer other than 200.
        """
        target = urlsplit(url)
        with self.enter():
            connection = http.client.HTTPConnection(
                target.hostname or "", target.port or 80, timeout=timeout * tools.slowness()
            )
            try:
                connection.request("GET", target.path or "/", headers={"Connection": "close"})
                answer = connection.getresponse()
                body = answer.read().decode()
            finally:
                connection.close()
        if answer.status != http.client.OK:
            raise LabError(f"{self.short}: GET {url}: {answer.status} {answer.reason}: {body}")
        return body.rstrip("\n")

    def udp_ask(
        self,
        address: str,
        port: int,
        payload: bytes = b"hello",
        timeout: float = 5.0,
        source_port: int = 0,
    ) -> str:
        """Send one datagram from a new socket and give what comes back.

        Raises
        ------
        OSError
            `TimeoutError` without an answer, `ConnectionRefusedError` for an ICMP port unreachable.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.enter():
            client = socket.socket(family, socket.SOCK_DGRAM)
        with client:
            client.settimeout(timeout * tools.slowness())
            client.bind(("", source_port))
            client.connect((address, port))
            client.send(payload)
            return client.recv(65536).decode().rstrip("\n")

    def sctp_ask(
        self, address: str, port: int, payload: bytes = b"hello", timeout: float = 5.0
    ) -> str:
        """Send a line on an association of its own and give the line that comes back.

        Raises
        ------
        OSError
            As connect(2) and recv(2) say; also where the kernel doesn't have SCTP.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.enter():
            client = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
        with client:
            client.settimeout(timeout * tools.slowness())
            client.connect((address, port))
            client.send(payload + b"\n")
            return client.recv(65536).decode().rstrip("\n")

    def traffic(
        self,
        protocol: str,
        address: str,
        port: int,
        *,
        rate: float = 100.0,
        seconds: float | None = None,
        count: int | None = None,
        timeout: float = 5.0,
        resend: float | None = None,
        connections: int = 10,
    ) -> Traffic:
        """Put load on ``address:port`` from here; for ``seconds``, or ``count`` times.

        Parameters
        ----------
        protocol
            ``http``, ``tcp`` or ``udp``.
        rate
            Requests a second, by the clock: whether or not earlier ones have been answered.
        timeout
            Seconds for an answer.
        resend
            Of ``udp``: seconds until it asks again; None: never.
        connections
            Of ``tcp``: long connections, each of which is asked again and again.
        """
        return Traffic(
            self,
            protocol,
            address,
            port,
            rate=rate,
            seconds=seconds,
            count=count,
            timeout=timeout,
            resend=resend,
            connections=connections,
        )


def _remove_tree(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)

"""How connections are tracked: how many, and for how long (KP-53).

With the kernel's datapath it is the kernel that tracks them, and sysctls say how, as kube-proxy
sets them. Open vSwitch's userspace datapath has its own connection tracking, and its own ways to be
told (`nsxdp_agents.kube_proxy.ovs_conntrack`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from nsxdp_agents.kube_proxy.options import Options

__all__ = ["Tracking", "most_connections", "of_kernel", "of_open_vswitch", "set_sysctls", "sysctls"]

_MAX_PER_CORE: Final = 32768
_MIN: Final = 131072
_TCP_ESTABLISHED: Final = 86400.0
_TCP_CLOSE_WAIT: Final = 3600.0
_MOST: Final = 1 << 20
"""However many processors there are: each connection takes memory."""

_SYSCTLS: Final = Path("proc/sys/net/netfilter")
_HASH_SIZE: Final = Path("sys/module/nf_conntrack/parameters/hashsize")
_CONNECTIONS_A_BUCKET: Final = 4


class Tracking(NamedTuple):
    """What is to be set; 0: left as it is. Times are whole seconds.

    Attributes
    ----------
    most
        Connections that are tracked.
    tcp_established, tcp_close_wait
        How long an idle TCP connection is tracked; and one that one end has closed.
    tcp_be_liberal
        Whether segments outside of the window belong to their connection, too.
    udp, udp_stream
        How long a UDP packet without an answer is tracked; and an idle connection.
    """

    most: int = 0
    tcp_established: int = 0
    tcp_close_wait: int = 0
    tcp_be_liberal: bool = False
    udp: int = 0
    udp_stream: int = 0


def most_connections(per_core: int, least: int, cores: int) -> int:
    """How many connections may be tracked; 0: as many as now.

    Examples
    --------
    >>> from nsxdp_agents.kube_proxy.conntrack import most_connections
    >>> [most_connections(32768, 131072, cores) for cores in (2, 16, 512)]
    [131072, 524288, 1048576]
    """
    if not per_core:
        return 0
    scaled = per_core * cores
    return _MOST if scaled > _MOST else max(scaled, least)


def of_kernel(options: Options, cores: int | None = None) -> Tracking:
    """What the kernel is told: what isn't configured is as kube-proxy has it."""
    established, close_wait = options.conntrack_tcp_established, options.conntrack_tcp_close_wait
    return _tracking(
        options,
        _MAX_PER_CORE if options.conntrack_max_per_core is None else options.conntrack_max_per_core,
        _TCP_ESTABLISHED if established is None else established,
        _TCP_CLOSE_WAIT if close_wait is None else close_wait,
        cores,
    )


def of_open_vswitch(options: Options, cores: int | None = None) -> Tracking:
    """What Open vSwitch's userspace datapath is told: what is configured, and nothing else."""
    return _tracking(
        options,
        options.conntrack_max_per_core or 0,
        options.conntrack_tcp_established or 0.0,
        options.conntrack_tcp_close_wait or 0.0,
        cores,
    )


def _tracking(
    options: Options, per_core: int, established: float, close_wait: float, cores: int | None
) -> Tracking:
    least = _MIN if options.conntrack_min is None else options.conntrack_min
    return Tracking(
        most_connections(per_core, least, cores or os.cpu_count() or 1),
        int(established),
        int(close_wait),
        options.conntrack_tcp_be_liberal,
        int(options.conntrack_udp),
        int(options.conntrack_udp_stream),
    )


def sysctls(tracking: Tracking) -> Iterator[tuple[str, int]]:
    """The sysctls of ``net.netfilter`` that are to be set, in kube-proxy's order."""
    for name, value in (
        ("nf_conntrack_max", tracking.most),
        ("nf_conntrack_tcp_timeout_established", tracking.tcp_established),
        ("nf_conntrack_tcp_timeout_close_wait", tracking.tcp_close_wait),
        ("nf_conntrack_tcp_be_liberal", int(tracking.tcp_be_liberal)),
        ("nf_conntrack_udp_timeout", tracking.udp),
        ("nf_conntrack_udp_timeout_stream", tracking.udp_stream),
    ):
        if value:
            yield name, value


def set_sysctls(tracking: Tracking, root: Path = Path("/")) -> list[str]:
    """Set the kernel's sysctls; gives what can't be set, a line each.

    What is so already isn't written: in a container all of it may be read-only.
    """
    problems = []
    for name, value in sysctls(tracking):
        try:
            _write(root / _SYSCTLS / name, value)
            if name == "nf_conntrack_max":
                _have_buckets(root / _HASH_SIZE, value // _CONNECTIONS_A_BUCKET)
        except (OSError, ValueError) as error:
            problems.append(f"{name} = {value}: {error}")
    return problems


def _write(file: Path, value: int) -> None:
    if int(file.read_text()) != value:
        file.write_text(str(value))


def _have_buckets(file: Path, least: int) -> None:
    """A table with too few buckets for what it may hold is slow."""
    if int(file.read_text()) < least:
        file.write_text(str(least))

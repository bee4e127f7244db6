"""A private Open vSwitch: ovsdb-server, ovs-vswitchd and its datapath, nothing shared."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nsxdp.lab import tools
from nsxdp.lab.errors import LabError, MissingTool
from nsxdp.lab.netns import Netns

_PROGRAMS = (
    *("ovs-appctl", "ovs-ofctl", "ovs-vsctl", "ovs-vswitchd"),
    *("ovsdb-client", "ovsdb-server", "ovsdb-tool"),
)
_SOCKET_PATH_MAX = 107  # unix(7): sun_path is 108 bytes with the zero at its end
_START_SECONDS = 30.0

DATAPATHS = ("netdev", "system")
"""Open vSwitch's datapaths: its own, in userspace, and the kernel's."""


def datapath() -> str:
    """The datapath of the lab's bridges: what the environment's ``NSXDP_DATAPATH`` says.

    Without it ``netdev``, the userspace datapath, which needs no kernel module.
    """
    found = os.environ.get("NSXDP_DATAPATH") or DATAPATHS[0]
    if found not in DATAPATHS:
        raise LabError(f"NSXDP_DATAPATH={found}: there are {' and '.join(DATAPATHS)}")
    return found


def _require_datapath(name: str) -> None:
    if name == "netdev" and not Path("/dev/net/tun").exists():
        raise MissingTool("no /dev/net/tun: the userspace datapath needs the kernel's tun driver")
    if name == "system" and not Path("/sys/module/openvswitch").exists():
        try:
            tools.run(["modprobe", "openvswitch"])
        except LabError as error:
            raise MissingTool(
                f"this kernel has no openvswitch module ({error}); "
                "an emulated machine has one: make kernel-test"
            ) from error


class OVS:
    """ovsdb-server and ovs-vswitchd in a namespace and a directory of their own; running on return.

    Methods that run a command give what it prints, and raise `LabError` where it fails or takes
    longer than ``timeout`` seconds.

    Parameters
    ----------
    netns
        Where they run, and where the bridges' local ports appear. One of its own if not given.
    directory
        For database, sockets and logs. One of its own, deleted on `close`, if not given.
    servers
        ovsdb-servers that have the database: of several, it is a cluster's (ovsdb(7)).

    Attributes
    ----------
    after_start
        Called each time that ovs-vswitchd has been started: with the userspace datapath the local
        ports are devices made anew then, so their addresses have to be given again.
    vswitchd_options
        What ovs-vswitchd is given from its next start on: ``--enable-dummy`` lets a test move its
        clock.
    servers
        As it was given.

    Examples
    --------
    >>> from nsxdp.lab import OVS
    >>> with OVS() as ovs:
    ...     address = ovs.add_bridge("br0", fail_mode="secure")
    ...     answer = ovs.ofctl("add-flow", "br0", "tcp,actions=drop")
    ...     print(ovs.ofctl("dump-flows", "--no-stats", "br0"))
     tcp actions=drop
    """

    def __init__(
        self, netns: Netns | None = None, directory: Path | None = None, *, servers: int = 1
    ) -> None:
        tools.require(*_PROGRAMS)
        _require_datapath(datapath())
        self.after_start: list[Callable[[], None]] = []
        self.vswitchd_options: list[str] = []
        self.servers = servers
        self._closing = contextlib.ExitStack()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._starts = 0
        try:
            self.netns = netns or self._closing.enter_context(Netns("ovs"))
            self.directory = directory or self.netns.directory("ovs")
            longest = self.directory / ("x" * 15 + ".snoop")
            if len(os.fsencode(longest)) > _SOCKET_PATH_MAX:
                raise LabError(f"{self.directory}: too long a path for unix sockets")
            self.env = dict(os.environ) | {
                "PATH": tools.SEARCH_PATH,
                "OVS_RUNDIR": str(self.directory),
                "OVS_DBDIR": str(self.directory),
                "OVS_LOGDIR": str(self.directory),
                "OVS_SYSCONFDIR": str(self.directory),
            }
            for number in range(1, servers + 1):
                self._create_database(number)
                self.start_ovsdb_server(number)
            # One thread of each kind: a lab has several switches, the machine perhaps two cores.
            self.vsctl(
                "--no-wait",
                *("--", "init"),
                *("--", "set", "Open_vSwitch", "."),
                "other_config:n-handler-threads=1",
                "other_config:n-revalidator-threads=1",
            )
            self.start_vswitchd()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kill both; delete the directory and the namespace if they are the lab's own."""
        for name in list(self._processes):
            self._kill(name)
        self._closing.close()

    def __enter__(self) -> "OVS":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def ovsdb(self) -> str:
        """The database's address, as ``ovs-vsctl --db`` takes it; of a cluster, all of them."""
        return ",".join(map(self._remote, range(1, self.servers + 1)))

    def mgmt(self, bridge: str) -> str:
        """The OpenFlow address of a bridge, as ``ovs-ofctl`` takes it."""
        return f"unix:{self.directory}/{bridge}.mgmt"

    def vsctl(self, *arguments: str, timeout: float = 30.0) -> str:
        """Run ovs-vsctl; what it prints. Waits for ovs-vswitchd unless told ``--no-wait``.

        It waits until one of a cluster's servers leads.
        """
        options = [f"--db={self.ovsdb}", f"--timeout={int(timeout * tools.slowness())}"]
        if self.servers > 1:
            options.append("--retry")
        return self._run(["ovs-vsctl", *options, *arguments], timeout)

    def ofctl(
        self,
        *arguments: str,
        stdin: str | None = None,
        timeout: float = 60.0,
        version: str = "OpenFlow15",
    ) -> str:
        """Run ovs-ofctl, with OpenFlow 1.5 unless told another `version`; what it prints."""
        return self._run(["ovs-ofctl", "-O", version, *arguments], timeout, stdin)

    def appctl(self, *arguments: str, target: str = "ovs-vswitchd", timeout: float = 30.0) -> str:
        """Run ovs-appctl on ``ovs-vswitchd`` or ``ovsdb-server``; what it prints."""
        return self._run(["ovs-appctl", "-t", str(self._control(target)), *arguments], timeout)

    def add_bridge(
        self,
        name: str,
        datapath_type: str | None = None,
        *,
        fail_mode: str = "standalone",
        hwaddr: str | None = None,
        settings: Sequence[str] = (),
    ) -> str:
        """Add a bridge and wait until ovs-vswitchd has made it; its OpenFlow address.

        Parameters
        ----------
        datapath_type
            ``netdev`` or ``system``; None: what ``NSXDP_DATAPATH`` says, or ``netdev``.
        fail_mode
            ``standalone``: it starts with a NORMAL flow; ``secure``: it starts empty.
        hwaddr
            Its local port's MAC address.
        settings
            Further columns as ``ovs-vsctl set bridge`` takes them.
        """
        datapath_type = datapath_type or datapath()
        columns = [f"datapath_type={datapath_type}", f"fail_mode={fail_mode}", *settings]
        if hwaddr:
            columns.append(f'other_config:hwaddr="{hwaddr}"')
        self.vsctl("add-br", name, "--", "set", "bridge", name, *columns)
        return self.mgmt(name)

    def del_bridge(self, name: str) -> None:
        """Delete a bridge with its ports."""
        self.vsctl("del-br", name)

    def ofport(self, interface: str) -> int:
        """OpenFlow port number of an interface."""
        return int(self.vsctl("get", "interface", interface, "ofport"))

    def reset(self) -> None:
        """Delete all bridges, and the managers and TLS settings that a test may have made."""
        bridges = self.vsctl("list-br").split()
        commands = [["del-manager"], ["del-ssl"], *(["del-br", bridge] for bridge in bridges)]
        self.vsctl(*[word for command in commands for word in ("--", *command)])

    def start_ovsdb_server(self, number: int = 1) -> None:
        """Start ovsdb-server, or that one of the cluster's, on its database.

        Returns when it answers, and has joined the others.
        """
        self._start(
            _numbered("ovsdb-server", number),
            str(self._database(number)),
            f"--remote=p{self._remote(number)}",
            "--remote=db:Open_vSwitch,Open_vSwitch,manager_options",
            "--private-key=db:Open_vSwitch,SSL,private_key",
            "--certificate=db:Open_vSwitch,SSL,certificate",
            "--bootstrap-ca-cert=db:Open_vSwitch,SSL,ca_cert",
        )
        if self.servers > 1:
            limit = f"--timeout={int(_START_SECONDS * tools.slowness())}"
            wait = ["wait", self._remote(number), "Open_vSwitch", "connected"]
            self._run(["ovsdb-client", limit, *wait], _START_SECONDS)

    def kill_ovsdb_server(self, number: int = 1) -> None:
        """End ovsdb-server, or that one of the cluster's, as ``kill -9`` does."""
        self._kill(_numbered("ovsdb-server", number))

    def ovsdb_leader(self) -> int | None:
        """Which ovsdb-server leads the cluster; None: none does yet."""
        for number in range(1, self.servers + 1):
            daemon = _numbered("ovsdb-server", number)
            if daemon not in self._processes:
                continue
            status = self.appctl("cluster/status", "Open_vSwitch", target=daemon)
            if "Role: leader" in status:
                return number
        return None

    def restart_ovsdb_server(self) -> None:
        """``kill -9`` ovsdb-server and start it again."""
        self.kill_ovsdb_server()
        self.start_ovsdb_server()

    def start_vswitchd(self) -> None:
        """Start ovs-vswitchd; returns when the bridges of the database are there."""
        self._start("ovs-vswitchd", *self.vswitchd_options, self.ovsdb)
        self._starts += 1
        # Any change makes ovs-vsctl wait until ovs-vswitchd has caught up with the database.
        self.vsctl("set", "Open_vSwitch", ".", f"external_ids:lab-starts={self._starts}")
        for hook in self.after_start:
            hook()

    def kill_vswitchd(self) -> None:
        """End ovs-vswitchd as ``kill -9`` does: flows, conntrack and local ports are gone."""
        self._kill("ovs-vswitchd")

    def restart_vswitchd(self) -> None:
        """``kill -9`` ovs-vswitchd and start it again."""
        self.kill_vswitchd()
        self.start_vswitchd()

    def pid(self, daemon: str = "ovs-vswitchd") -> int:
        """Process id of ``ovs-vswitchd`` or ``ovsdb-server``."""
        return self._processes[daemon].pid

    def log(self, daemon: str = "ovs-vswitchd") -> Path:
        """The log of ``ovs-vswitchd`` or ``ovsdb-server``."""
        return self.directory / f"{daemon}.log"

    def _database(self, number: int) -> Path:
        return self.directory / f"{_numbered('conf', number)}.db"

    def _remote(self, number: int) -> str:
        return f"unix:{self.directory}/{_numbered('db', number)}.sock"

    def _create_database(self, number: int) -> None:
        database = self._database(number)
        if database.exists():
            return
        data = Path(os.environ.get("OVS_PKGDATADIR", "/usr/share/openvswitch"))
        schema = data / "vswitch.ovsschema"
        if not schema.exists():
            raise MissingTool(
                f"no {schema}; install with: apt-get install openvswitch-switch, "
                "or set OVS_PKGDATADIR to where Open vSwitch has it"
            )
        # By which the servers of a cluster find each other.
        first, own = (f"unix:{self.directory}/{_numbered('raft', n)}" for n in (1, number))
        if self.servers == 1:
            create: list[str | Path] = ["create", database, schema]
        elif number == 1:
            create = ["create-cluster", database, schema, own]
        else:
            create = ["join-cluster", database, "Open_vSwitch", own, first]
        tools.run(["ovsdb-tool", *create])

    def _control(self, daemon: str) -> Path:
        return self.directory / f"{daemon}.ctl"

    def _run(self, command: Sequence[str], timeout: float, stdin: str | None = None) -> str:
        done = tools.run(command, env=self.env, timeout=timeout, stdin=stdin)
        return done.stdout.rstrip("\n")

    def _start(self, daemon: str, *arguments: str) -> None:
        if daemon in self._processes and self._processes[daemon].poll() is None:
            raise LabError(f"{daemon} of {self.directory} runs already")
        control = self._control(daemon)
        control.unlink(missing_ok=True)
        with tools.PathWatch(control) as watch, self.log(daemon).open("ab") as log:
            process = self.netns.popen(
                [
                    _program(daemon),
                    *arguments,
                    f"--unixctl={control}",
                    f"--log-file={self.log(daemon)}",
                    f"--pidfile={self.directory}/{daemon}.pid",
                    "--overwrite-pidfile",
                    "-vconsole:off",
                ],
                stdout=log,
                stderr=log,
                env=self.env,
                cwd=self.directory,
            )
            self._processes[daemon] = process
            if not watch.wait(process, _START_SECONDS * tools.slowness()):
                raise self._failure(daemon)
        # The name under which ovs-appctl, and others that know but the pidfile, look for it.
        (self.directory / f"{daemon}.{process.pid}.ctl").symlink_to(control.name)
        self._await_answer(daemon)

    def _await_answer(self, daemon: str) -> None:
        # The socket is bound a moment before it listens; after that, the answer itself is awaited.
        deadline = time.monotonic() + _START_SECONDS * tools.slowness()
        pause = 0.001
        while True:
            try:
                self.appctl("version", target=daemon)
            except LabError as error:
                if time.monotonic() > deadline or self._processes[daemon].poll() is not None:
                    raise self._failure(daemon) from error
                time.sleep(pause)
                pause = min(2 * pause, 0.1)
            else:
                return

    def _failure(self, daemon: str) -> LabError:
        return LabError(f"{daemon} did not start; its log ends:\n{tools.tail(self.log(daemon))}")

    def _kill(self, daemon: str) -> None:
        if process := self._processes.pop(daemon, None):
            process.kill()
            process.wait()


def _numbered(name: str, number: int) -> str:
    """The first one has no number."""
    return name if number == 1 else f"{name}-{number}"


def _program(daemon: str) -> str:
    """What runs as that: ``ovsdb-server-2`` is an ovsdb-server."""
    return daemon.rstrip("-0123456789")

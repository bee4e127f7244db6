"""Open vSwitch's two daemons as children of this process: started, followed and ended with it.

One that ends by itself is started again, and the other one isn't touched: a switch goes on without
its database's server. The database outlives both, so a bridge and its ports are there again. What
the daemons log goes to standard error, which is a container's log.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from nsxdp.logs import get_logger
from nsxdp_agents.common.datapath import Datapath, chosen
from nsxdp_agents.common.signals import until_signalled
from nsxdp_agents.ovs.daemon import Daemon, SwitchError
from nsxdp_agents.ovs.hurry import hurry

__all__ = ["Options", "SwitchError", "run"]

log = get_logger(__name__)

_SCHEMA: Final = Path("/usr/share/openvswitch/vswitch.ovsschema")
_COMMAND_SECONDS: Final = 60
_LINK_SECONDS: Final = 0.05
"""Between two looks for the bridge's interface, which ovs-vswitchd makes in its own time."""


class Options(NamedTuple):
    """What is run.

    Attributes
    ----------
    bridge
        The bridge to make, if it isn't there.
    datapath
        Of a bridge that is made.
    database
        The file with Open vSwitch's configuration.
    run_directory
        Where the sockets are.
    node
        The node's name, by which the database knows where it is; empty: the host's.
    realtime_priority
        The daemons' (see `nsxdp_agents.ovs.hurry`); 0: none.
    """

    bridge: str
    datapath: Datapath
    database: Path
    run_directory: Path
    node: str
    realtime_priority: int


async def run(options: Options) -> None:
    """Run Open vSwitch until SIGTERM or SIGINT.

    Raises
    ------
    SwitchError
        It can't be started.
    """
    try:
        await until_signalled(_run(options))
    except BaseExceptionGroup as group:
        # The first daemon's end is what the rest follows from.
        raise group.exceptions[0] from None


async def _run(options: Options) -> None:
    """Run Open vSwitch until cancelled."""
    await asyncio.to_thread(_prepare_database, options.database)
    options.run_directory.mkdir(parents=True, exist_ok=True)
    server = Daemon("ovsdb-server", options.run_directory, *_server_options(options))
    switch = Daemon("ovs-vswitchd", options.run_directory, _remote(options))
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        stack.push_async_callback(server.end)
        await server.start()
        group.create_task(server.keep())
        await _vsctl(options, "--no-wait", "--", "init", *_identity(options))
        stack.push_async_callback(switch.end)
        await switch.start()
        group.create_task(switch.keep(lambda: _bring_up(options)))
        group.create_task(hurry([server, switch], options.realtime_priority))
        await _make_bridge(options)
        await _bring_up(options)
        server.proven = switch.proven = True
        log.info("started", bridge=options.bridge)


def _remote(options: Options) -> str:
    return f"unix:{options.run_directory}/db.sock"


def _server_options(options: Options) -> list[str]:
    return [
        str(options.database),
        f"--remote=p{_remote(options)}",
        "--remote=db:Open_vSwitch,Open_vSwitch,manager_options",
        "--private-key=db:Open_vSwitch,SSL,private_key",
        "--certificate=db:Open_vSwitch,SSL,certificate",
        "--bootstrap-ca-cert=db:Open_vSwitch,SSL,ca_cert",
    ]


def _identity(options: Options) -> list[str]:
    """What the database tells of the host."""
    if not options.node:
        return []
    names = (f"external_ids:{key}={options.node}" for key in ("hostname", "system-id"))
    return ["--", "set", "Open_vSwitch", ".", *names]


def _prepare_database(database: Path) -> None:
    """Make the database, or bring one of an older release to this one's schema."""

    def tool(command: str) -> str:
        return subprocess.run(
            ["ovsdb-tool", command, database, _SCHEMA],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=True,
        ).stdout.strip()

    try:
        if not database.exists():
            database.parent.mkdir(parents=True, exist_ok=True)
            tool("create")
        elif tool("needs-conversion") == "yes":
            shutil.copy2(database, database.with_suffix(".before-conversion"))
            tool("convert")
    except subprocess.SubprocessError as error:
        raise SwitchError(f"{database}: {error}") from error


async def _make_bridge(options: Options) -> None:
    """Make the bridge if it isn't there; until an agent says what it shall do, it drops."""
    name = options.bridge
    if name not in (await _vsctl(options, "list-br")).split():
        datapath = await asyncio.to_thread(chosen, options.datapath)
        columns = (f"datapath_type={datapath}", "fail_mode=secure")
        await _vsctl(options, "add-br", name, "--", "set", "bridge", name, *columns)


async def _bring_up(options: Options) -> None:
    """Have the bridge's interface up: with a userspace datapath it is another one at each start."""
    command = ("ip", "link", "set", "dev", options.bridge, "up")
    deadline = asyncio.get_running_loop().time() + _COMMAND_SECONDS
    while True:
        try:
            await _command(*command)
            return
        except SwitchError:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(_LINK_SECONDS)


async def _vsctl(options: Options, *arguments: str) -> str:
    # --retry: the server may not listen yet.
    limit = f"--timeout={_COMMAND_SECONDS}"
    return await _command("ovs-vsctl", f"--db={_remote(options)}", "--retry", limit, *arguments)


async def _command(*command: str) -> str:
    """Run a command to its end; what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_COMMAND_SECONDS + 5):
            printed, said = await process.communicate()
    except TimeoutError:
        raise SwitchError(f"{' '.join(command)}: no end after {_COMMAND_SECONDS} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise SwitchError(f"{' '.join(command)}: {said.decode().strip() or process.returncode}")
    return printed.decode().strip()

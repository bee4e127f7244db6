"""Open vSwitch's two daemons as children of this process: started, followed and ended with it.

The database outlives them, so a bridge and its ports are there again after a restart. What the
daemons log goes to standard error, which is a container's log.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from asyncio.subprocess import Process
from pathlib import Path
from typing import Final, NamedTuple

from nsxdp_agents.common.signals import until_signalled

__all__ = ["DATAPATHS", "Options", "SwitchError", "run"]

DATAPATHS: Final = ("auto", "system", "netdev")
"""The kernel's datapath where the kernel has it, else Open vSwitch's own; or one of the two."""

_SCHEMA: Final = Path("/usr/share/openvswitch/vswitch.ovsschema")
_MODULE: Final = Path("/sys/module/openvswitch")
_DAEMONS: Final = ("ovsdb-server", "ovs-vswitchd")
_LOGGING: Final = ("-vconsole:info", "-vsyslog:off", "-vfile:off")
_COMMAND_SECONDS: Final = 60
_END_SECONDS: Final = 20.0


class SwitchError(Exception):
    """Open vSwitch can't be run; the message says why."""


class Options(NamedTuple):
    """What is run.

    Attributes
    ----------
    bridge
        The bridge to make, if it isn't there.
    datapath
        One of `DATAPATHS`, for a bridge that is made.
    database
        The file with Open vSwitch's configuration.
    run_directory
        Where the sockets are.
    node
        The node's name, by which the database knows where it is; empty: the host's.
    """

    bridge: str
    datapath: str
    database: Path
    run_directory: Path
    node: str


async def run(options: Options) -> None:
    """Run Open vSwitch until SIGTERM or SIGINT.

    Raises
    ------
    SwitchError
        It can't be started, or one of its daemons ended by itself.
    """
    try:
        await until_signalled(_run(options))
    except BaseExceptionGroup as group:
        # The first daemon's end is what the rest follows from.
        raise group.exceptions[0] from None


async def _run(options: Options) -> None:
    """Run Open vSwitch until cancelled."""
    await asyncio.to_thread(_prepare_database, options.database)
    await asyncio.to_thread(_prepare_run_directory, options.run_directory)
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:

        async def start(name: str, *arguments: str) -> None:
            process = await _start(options, name, *arguments)
            stack.push_async_callback(_end, process)
            group.create_task(_fail_when_it_ends(name, process))

        await start("ovsdb-server", *_server_options(options))
        await _vsctl(options, "--no-wait", "--", "init", *_identity(options))
        await start("ovs-vswitchd", _remote(options))
        await _make_bridge(options)


async def _fail_when_it_ends(name: str, process: Process) -> None:
    raise SwitchError(f"{name} ended by itself, with {await process.wait()}")


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


def _prepare_run_directory(directory: Path) -> None:
    """Remove what a container that was killed left behind: processes have other numbers now."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in _DAEMONS:
        for stale in (directory / f"{name}.pid", *directory.glob(f"{name}.*.ctl")):
            stale.unlink(missing_ok=True)


async def _make_bridge(options: Options) -> None:
    """Make the bridge if it isn't there; until an agent says what it shall do, it drops."""
    name = options.bridge
    if name not in (await _vsctl(options, "list-br")).split():
        datapath = options.datapath
        if datapath == "auto":
            datapath = "system" if await _kernel_has_it() else "netdev"
        columns = (f"datapath_type={datapath}", "fail_mode=secure")
        await _vsctl(options, "add-br", name, "--", "set", "bridge", name, *columns)
    await _command("ip", "link", "set", "dev", name, "up")


async def _kernel_has_it() -> bool:
    # Who asks for its netlink family makes the kernel load the module, from the node's own files.
    with contextlib.suppress(SwitchError):
        await _command("ovs-dpctl", "dump-dps")
    return _MODULE.exists()


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


async def _start(options: Options, name: str, *arguments: str) -> Process:
    """Start a daemon."""
    return await asyncio.create_subprocess_exec(
        *(name, *arguments, f"--pidfile={options.run_directory}/{name}.pid", *_LOGGING),
        env=os.environ | {"OVS_RUNDIR": str(options.run_directory)},
        stdin=asyncio.subprocess.DEVNULL,
    )


async def _end(process: Process) -> None:
    """Ask a daemon to end: ovs-vswitchd leaves flows in the kernel, which go on working."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()

"""The demo: Services on a real Open vSwitch, and what happens to connections when things change.

Run as ``make demo``, or as root: ``.venv/bin/python examples/demo``.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from contextlib import suppress
from typing import NoReturn

from show import Show
from stage import Stage
from story import Story, suggestions

from nsxdp.cli.lab import recorded
from nsxdp.lab import LabError
from nsxdp_agents.common.logs import configure

_INTERRUPTED = 130


def main() -> int:
    """Tell the story; 0 only if all that it claims held."""
    parser = argparse.ArgumentParser(prog="examples/demo", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--api-server",
        action="store_true",
        help="take Services from a real kube-apiserver, not from manifests in a directory",
    )
    parser.add_argument("--fast", action="store_true", help="send less")
    parser.add_argument("--keep", action="store_true", help="keep the lab open at the end")
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, _interrupt)
    configure("text", "warning")
    show = Show()
    started = time.monotonic()
    try:
        source = "a real kube-apiserver" if options.api_server else "manifests in a directory"
        show.title(
            "nsx-kube-proxy: Kubernetes Services on Open vSwitch, without kube-proxy",
            "A node is set up in network namespaces: a real Open vSwitch with its userspace "
            "datapath, four pods that serve HTTP and UDP (web-1 to web-4), and a client pod.",
            f"Services and their endpoints come from {source}.",
        )
        with show.busy("setting up the node and its pods ..."):
            stage = Stage(show.console, api_server=options.api_server)
        with stage:
            Story(stage, show, fast=options.fast).tell()
            show.verdict(time.monotonic() - started)
            if options.keep:
                _keep(show, stage)
    except LabError as error:
        show.console.print()
        show.check(False, str(error))
    except KeyboardInterrupt:
        show.console.print("\ninterrupted: everything is removed again")
        return _INTERRUPTED
    return 1 if show.broken else 0


def _keep(show: Show, stage: Stage) -> None:
    """Leave everything as it is until Ctrl-C."""
    with recorded(stage.node, stage.server):
        show.say("\nThe lab is still there. In another terminal, as root:\n")
        for line in suggestions(stage):
            show.say(f"  {line}")
        show.say("\nCtrl-C here ends it all.")
        with suppress(KeyboardInterrupt):
            signal.pause()


def _interrupt(number: int, frame: object) -> NoReturn:
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

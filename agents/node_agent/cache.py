"""What the switch has cached, where it may answer by it although something else holds now."""

from __future__ import annotations

from pathlib import Path

from nsxdp.logs import get_logger
from nsxdp.switch import BridgeView
from nsxdp.unixctl import UnixctlError, call, control_socket

__all__ = ["Cache"]

log = get_logger(__name__)


class Cache:
    """The cached flows of the switch that a bridge is of.

    Parameters
    ----------
    view
        Of the bridge.
    directory
        Open vSwitch's run directory.
    """

    def __init__(self, view: BridgeView, directory: Path) -> None:
        self._view = view
        self._directory = directory
        self._said = ""

    async def forget(self) -> None:
        """Have it cache all anew, if that is an Open vSwitch that doesn't revise what it has.

        Otherwise whom a policy forbids could go on, as long as it doesn't pause. The next packet of
        each connection costs as much as its first then.
        """
        bridge = self._view.bridge
        if bridge is None or bridge.revises:
            return
        try:
            await call(control_socket(self._directory), "revalidator/purge")
        except UnixctlError as error:
            if str(error) != self._said:
                log.warning("the switch may keep to what policies said before", reason=str(error))
            self._said = str(error)
        else:
            self._said = ""

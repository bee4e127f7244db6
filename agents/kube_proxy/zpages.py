"""/statusz and /flagz: for people who look at a process, under the paths that kube-proxy has.

``/statusz`` shows since when the process runs, and which version it is; ``/flagz`` what it is
configured to, by flags, files and defaults, as flags.
"""

from __future__ import annotations

import platform
import time
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from aiohttp import web

import nsxdp
from nsxdp_agents.kube_proxy.options import Options
from nsxdp_agents.kube_proxy.settings import EXTERNAL_IPS_GATE, SETTINGS
from nsxdp_agents.kube_proxy.values import DURATION, duration_text

__all__ = ["flags", "pages"]

_HEAD: Final = """
nsx-kube-proxy {page}
Warning: this is for people, and may look another way in another version.

"""

_OWN: Final = frozenset({"sync_period", "log_format", "log_level"})
"""These have flags of ours, beside kube-proxy's."""

_FLAGS: Final = {
    setting.option: setting
    for setting in SETTINGS
    if setting.flag and setting.option and setting.option not in _OWN
}
_IN_THE_FILE_ALONE: Final = frozenset(
    {"api_ca_file", "api_token_file", "api_cert_file", "api_key_file"}
)


def flags(options: Options) -> dict[str, str]:
    """What 'options' say, by the flags that say it; those of the file alone are left out.

    What has no value is empty.
    """
    found = {"feature-gates": f"{EXTERNAL_IPS_GATE}={str(options.external_ips).lower()}"}
    for name, value in msgspec.structs.asdict(options).items():
        if name == "external_ips" or name in _IN_THE_FILE_ALONE:
            continue
        setting = _FLAGS.get(name)
        flag = setting.flag if setting is not None else name.replace("_", "-")
        found[flag.lstrip("-")] = _text(value, duration=setting and setting.kind is DURATION)
    return dict(sorted(found.items()))


def _text(value: object, *, duration: bool | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, float):
        return duration_text(value) if duration else f"{value:g}"
    return str(value)


def pages(options: Options) -> list[web.RouteDef]:
    """The handlers."""
    started = time.time()

    async def flagz(_: web.Request) -> web.Response:
        said = "".join(f"{flag}={value}\n" for flag, value in flags(options).items())
        return web.Response(text=_HEAD.format(page="flagz") + said)

    async def statusz(request: web.Request) -> web.Response:
        paths = sorted({resource.canonical for resource in request.app.router.resources()})
        said = {
            "Started": datetime.fromtimestamp(started, UTC).strftime("%a %b %e %H:%M:%S UTC %Y"),
            "Up": str(timedelta(seconds=int(time.time() - started))),
            "Python version": platform.python_version(),
            "Binary version": nsxdp.__version__,
            "Paths": " ".join(paths),
        }
        lines = "".join(f"{name}: {value}\n" for name, value in said.items())
        return web.Response(text=_HEAD.format(page="statusz") + lines)

    return [web.get("/statusz", statusz), web.get("/flagz", flagz)]

"""kubernetes_asyncio's configuration loaders, without the rest of kubernetes_asyncio.

The package imports its whole generated client with whatever is asked of it: 860 modules, 37 MB of
resident memory and 0.3 s. The loaders need only two names of it (a bag of settings, and a client
class in functions that are not used here), so they are imported with a stand-in for the client.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from types import ModuleType
from typing import Any

from msgspec import Struct, field

from nsxdp.k8s.errors import CredentialsError

__all__ = ["Loaders", "Settings", "loaders"]

_PACKAGE = "kubernetes_asyncio"


class Settings(Struct):
    """What a loader finds out; stands in for kubernetes_asyncio.client.Configuration."""

    host: str = ""
    ssl_ca_cert: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify_ssl: bool = True
    tls_server_name: str | None = None
    proxy: str | None = None
    api_key: dict[str, str] = field(default_factory=dict)
    refresh_api_key_hook: Any = None


class Loaders(Struct, frozen=True):
    """The modules ``config.kube_config`` and ``config.incluster_config``, and their error."""

    kube: Any
    in_cluster: Any
    error: type[Exception]


@cache
def loaders() -> Loaders:
    """Import the loaders.

    Raises
    ------
    CredentialsError
        If kubernetes_asyncio is not installed.
    """
    with_stand_ins = _PACKAGE not in sys.modules
    if with_stand_ins:
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or spec.submodule_search_locations is None:
            raise CredentialsError(
                "the Python package kubernetes_asyncio is not installed: pip install nsxdp[agents]"
            )
        package = ModuleType(_PACKAGE)
        package.__path__ = list(spec.submodule_search_locations)
        client: Any = ModuleType(f"{_PACKAGE}.client")
        client.Configuration = Settings
        client.ApiClient = object
        sys.modules[_PACKAGE] = package
        sys.modules[client.__name__] = client
    try:
        return Loaders(
            kube=importlib.import_module(f"{_PACKAGE}.config.kube_config"),
            in_cluster=importlib.import_module(f"{_PACKAGE}.config.incluster_config"),
            error=importlib.import_module(f"{_PACKAGE}.config.config_exception").ConfigException,
        )
    finally:
        if with_stand_ins:
            # Whoever else imports the package gets the real one.
            for name in [m for m in sys.modules if m.split(".")[0] == _PACKAGE]:
                del sys.modules[name]

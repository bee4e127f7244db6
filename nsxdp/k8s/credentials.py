"""Where the API server is, and who we are: from a kubeconfig, or from inside a pod.

kubernetes_asyncio reads the files and runs exec plugins; this module makes of them what an
HTTP client needs, keeps it fresh, and says clearly what is missing.
"""

from __future__ import annotations

import os
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from msgspec import Struct

from nsxdp.k8s.errors import CredentialsError
from nsxdp.k8s.kubeconfig import Settings, loaders
from nsxdp.logs import get_logger

__all__ = ["SERVICE_ACCOUNT", "Access", "Credentials", "Files"]

log = get_logger(__name__)

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has its service account's token and the API server's CA."""

_CHECK_SECONDS: Final = 10.0
"""How often the files behind the credentials are looked at."""

_EXPIRY_MARGIN: Final = 60.0
"""How long before its expiry a token of an exec plugin is replaced, in seconds."""


class Access(Struct, frozen=True):
    """Credentials at one moment.

    Attributes
    ----------
    server
        ``https://host:port``, without a slash at the end.
    ssl_context
        None for plain http.
    authorization
        The value of the Authorization header, or empty.
    server_name
        The name in the server's certificate, where it isn't the host of `server`.
    proxy
        URL of an HTTP proxy.
    compress
        Whether answers may be compressed.
    expires
        When a new token is due, in seconds of `time.time`; 0 for never.
    """

    server: str
    ssl_context: ssl.SSLContext | None = None
    authorization: str = ""
    server_name: str | None = None
    proxy: str | None = None
    compress: bool = False
    expires: float = 0.0


class Files(Struct, frozen=True):
    """Files that an API server is spoken to with; an empty name is none.

    Attributes
    ----------
    authority
        Who signed the server's certificate; none: an authority of the system's.
    token
        A bearer's.
    certificate, key
        The client's.
    """

    authority: str = ""
    token: str = ""
    certificate: str = ""
    key: str = ""


class _Loaded(Struct):
    """Credentials, the files that they came from, and the client certificate (an exec plugin may
    give a new one while all files stay as they are).
    """

    access: Access
    files: tuple[Path, ...]
    certificate: bytes = b""


class Credentials:
    """Credentials that follow their source: a rotated token or certificate is used as it comes.

    Make them with `from_kubeconfig`, `from_files`, `in_cluster`, `find` or `static`.
    """

    def __init__(self, load: Callable[[], Awaitable[_Loaded]], loaded: _Loaded) -> None:
        self._load = load
        self._loaded = loaded
        self._stamp = _stamp(loaded.files)
        self._checked = time.monotonic()

    @property
    def server(self) -> str:
        """Where the API server is: ``https://host:port``."""
        return self._loaded.access.server

    async def access(self) -> Access:
        """What to use for the next request. Cheap: looks at files every ten seconds at most."""
        now = time.monotonic()
        expires = self._loaded.access.expires
        due = bool(expires) and time.time() > expires - _EXPIRY_MARGIN
        if now - self._checked >= _CHECK_SECONDS:
            self._checked = now
            if due or _stamp(self._loaded.files) != self._stamp:
                await self.refresh()
        return self._loaded.access

    async def refresh(self) -> bool:
        """Load again, because something changed or the server said 401.

        Returns whether there is something new. If loading fails (a file is just being replaced),
        what there was stays in use.
        """
        self._checked = time.monotonic()
        stamp = _stamp(self._loaded.files)
        try:
            loaded = await self._load()
        except CredentialsError as error:
            log.warning("cannot load the credentials again: the old ones stay", error=str(error))
            return False
        old = self._loaded
        changed = (stamp, loaded.access.authorization, loaded.certificate) != (
            self._stamp,
            old.access.authorization,
            old.certificate,
        )
        if changed:
            log.info("loaded the Kubernetes credentials again", server=loaded.access.server)
            self._loaded, self._stamp = loaded, stamp
        return changed

    @classmethod
    async def _make(cls, load: Callable[[], Awaitable[_Loaded]]) -> Self:
        return cls(load, await load())

    @classmethod
    async def static(cls, access: Access) -> Self:
        """Credentials that never change."""

        async def load() -> _Loaded:
            return _Loaded(access, ())

        return await cls._make(load)

    @classmethod
    async def from_kubeconfig(cls, path: str | Path, context: str | None = None) -> Self:
        """Credentials of a kubeconfig file.

        Parameters
        ----------
        path
            The file, or several joined by colons, as in $KUBECONFIG.
        context
            The context to use instead of the current one.

        Raises
        ------
        CredentialsError
            If the file, the context or something that they refer to is not there or wrong.
        """
        return await cls._make(lambda: _load_kubeconfig(str(path), context))

    @classmethod
    async def from_files(cls, server: str, files: Files) -> Self:
        """Credentials that are in files of their own, for the API server with that URL.

        Raises
        ------
        CredentialsError
            If one of the files can't be used.
        """

        async def load() -> _Loaded:
            return _load_files(server, files)

        return await cls._make(load)

    @classmethod
    async def in_cluster(cls, directory: Path = SERVICE_ACCOUNT) -> Self:
        """Credentials of the pod's service account.

        Raises
        ------
        CredentialsError
            If this is not a pod, or one without a service account token.
        """

        async def load() -> _Loaded:
            return _load_in_cluster(directory)

        return await cls._make(load)

    @classmethod
    async def find(
        cls, kubeconfig: str | None = None, context: str | None = None, *, server: str = ""
    ) -> Self:
        """Credentials of `kubeconfig`, else of the pod, else of $KUBECONFIG or ~/.kube/config.

        Parameters
        ----------
        kubeconfig, context
            See `from_kubeconfig`.
        server
            The API server's URL, in place of the one found. Without a kubeconfig, it is asked
            without credentials.

        Raises
        ------
        CredentialsError
            If there are none, or they can't be used.
        """
        if kubeconfig:
            return await cls._make(lambda: _load_kubeconfig(kubeconfig, context, server))
        if server:
            return await cls._make(lambda: _load_anonymous(server))
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            return await cls.in_cluster()
        found = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube/config")
        return await cls.from_kubeconfig(found, context)


def _stamp(files: tuple[Path, ...]) -> tuple[tuple[int, int, int] | None, ...]:
    """What changes when one of the files is written or replaced."""
    stamps: list[tuple[int, int, int] | None] = []
    for path in files:
        try:
            stat = path.stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(stamps)


def _access(settings: Settings, *, compress: bool, expires: float = 0.0) -> Access:
    """Settings as a loader found them -> Access.

    Raises
    ------
    CredentialsError
        If a certificate or key can't be used.
    """
    server = settings.host.rstrip("/")
    context: ssl.SSLContext | None = None
    if server.startswith("https://"):
        try:
            context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
        except (OSError, ssl.SSLError) as error:
            raise CredentialsError(
                f"the API server's certificate authority {settings.ssl_ca_cert}: {error}"
            ) from None
        if not settings.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if settings.cert_file:
            try:
                context.load_cert_chain(settings.cert_file, settings.key_file)
            except (OSError, ssl.SSLError) as error:
                raise CredentialsError(
                    f"the client certificate or its key cannot be used: {error}"
                ) from None
    return Access(
        server=server,
        ssl_context=context,
        # A file usually ends with a newline, which has no place in a header.
        authorization=settings.api_key.get("BearerToken", "").strip(),
        server_name=settings.tls_server_name,
        proxy=settings.proxy,
        compress=compress,
        expires=expires,
    )


def _load_in_cluster(directory: Path) -> _Loaded:
    token, authority = directory / "token", directory / "ca.crt"
    library = loaders()
    settings = Settings()
    try:
        library.in_cluster.InClusterConfigLoader(
            token_filename=str(token),
            cert_filename=str(authority),
            try_refresh_token=False,
        ).load_and_set(settings)
    except (library.error, OSError) as error:
        raise CredentialsError(
            f"no service account in {directory}: {error} "
            "Is this a pod with automountServiceAccountToken? Else use --kubeconfig."
        ) from None
    return _Loaded(_access(settings, compress=False), (token, authority))


def _load_files(server: str, files: Files) -> _Loaded:
    settings = Settings()
    settings.host = server
    settings.ssl_ca_cert = files.authority or None
    settings.cert_file = files.certificate or None
    settings.key_file = files.key or None
    try:
        token = _content(files.token).decode().strip()
        certificate = _content(files.certificate)
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(f"the API server's credentials: {error}") from None
    if files.token and not (token.isascii() and token.isprintable() and token):
        raise CredentialsError(f"the API server's credentials: {files.token} has no token")
    settings.api_key["BearerToken"] = f"Bearer {token}" if token else ""
    named = (files.authority, files.token, files.certificate, files.key)
    return _Loaded(
        _access(settings, compress=False), tuple(map(Path, filter(None, named))), certificate
    )


def _content(path: str | None) -> bytes:
    return Path(path).read_bytes() if path else b""


def _existing(paths: str) -> list[Path]:
    files = [Path(path).expanduser() for path in paths.split(os.pathsep) if path]
    there = [path for path in files if path.is_file()]
    if not there:
        raise CredentialsError(f"no kubeconfig file at {paths}: give one with --kubeconfig")
    return there


async def _load_anonymous(server: str) -> _Loaded:
    settings = Settings()
    settings.host = server
    return _Loaded(_access(settings, compress=True), ())


async def _load_kubeconfig(paths: str, context: str | None, server: str = "") -> _Loaded:
    there = _existing(paths)
    library = loaders()
    try:
        merged = library.kube.KubeConfigMerger(os.pathsep.join(map(str, there))).config
        name, user, cluster = _check(merged, context)
        settings = Settings()
        # The library hands keys over as files. They live until the SSL context has read them,
        # in a directory that nobody else can enter; not until the process ends.
        with tempfile.TemporaryDirectory(prefix="nsxdp-") as private:
            try:
                loader = library.kube.KubeConfigLoader(
                    merged, active_context=name, config_base_path=None, temp_file_path=private
                )
                await loader.load_and_set(settings)
                settings.host = server or settings.host
                certificate = _content(settings.cert_file)
                expiry = getattr(loader, "exec_plugin_expiry", None)
                access = _access(
                    settings,
                    compress=not cluster.get("disable-compression", False),
                    expires=expiry.timestamp() if isinstance(expiry, datetime) else 0.0,
                )
            finally:
                library.kube._cleanup_temp_files()
    except CredentialsError as error:
        raise CredentialsError(f"kubeconfig {paths}: {error}") from None
    except Exception as error:
        # The library lets through whatever a malformed file makes Python say: KeyError,
        # AssertionError, yaml's and base64's errors ... They all mean the same here.
        text = str(error) or type(error).__name__
        raise CredentialsError(f"kubeconfig {paths}: {' '.join(text.split())}") from None
    base = there[0].parent
    named = [user.get("tokenFile"), user.get("client-certificate"), user.get("client-key")]
    named.append(cluster.get("certificate-authority"))
    return _Loaded(access, (*there, *(base / str(path) for path in named if path)), certificate)


def _check(merged: Any, context: str | None) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Say what is missing in a kubeconfig; give the context's name, its user and its cluster."""
    value = merged.value if merged is not None else None
    if not isinstance(value, dict):
        raise CredentialsError("not a kubeconfig file")

    def entries(section: str) -> dict[str, dict[str, Any]]:
        nodes = [node.value for node in value.get(section) or ()]
        return {str(node["name"]): node.get(section[:-1]) or {} for node in nodes}

    contexts = entries("contexts")
    name = context or value.get("current-context")
    if not name:
        raise CredentialsError(f"it has no current-context: choose one of {sorted(contexts)}")
    if name not in contexts:
        raise CredentialsError(f"no context {name!r}: there are {sorted(contexts)}")
    chosen = contexts[name]
    found = []
    for section in ("users", "clusters"):
        have = entries(section)
        wanted = chosen.get(section[:-1])
        if wanted not in have:
            raise CredentialsError(
                f"context {name!r} names the {section[:-1]} {wanted!r}: there are {sorted(have)}"
            )
        found.append(have[wanted])
    if not found[1].get("server"):
        raise CredentialsError(f"the cluster of context {name!r} has no server")
    return name, found[0], found[1]

"""What can go wrong between here and Kubernetes, in words that say what to do about it."""

from __future__ import annotations

from msgspec import Struct

__all__ = [
    "ApiError",
    "ConflictError",
    "CredentialsError",
    "ForbiddenError",
    "GoneError",
    "InvalidError",
    "KubernetesError",
    "NotFoundError",
    "ObjectError",
    "ProtocolError",
    "UnauthorizedError",
    "UnreachableError",
    "api_error",
]


class KubernetesError(Exception):
    """Anything of this package's."""


class CredentialsError(KubernetesError):
    """There are no usable credentials: no file, no such context, no token ..."""


class UnreachableError(KubernetesError):
    """No answer came from the API server."""


class ProtocolError(KubernetesError):
    """The answer is not what the API promises: truncated, not JSON, endless ..."""


class ApiError(KubernetesError):
    """The API server said no.

    `code` is the HTTP status (or the one in a watch's ERROR event), `reason` the API's word for
    it (``NotFound``, ``Expired`` ...), `retry_after` the seconds that the server asks to wait.
    """

    def __init__(self, text: str, *, code: int, reason: str = "", retry_after: float = 0) -> None:
        super().__init__(text)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after


class UnauthorizedError(ApiError):
    """401: the API server doesn't know who this is."""


class ForbiddenError(ApiError):
    """403: it does, and RBAC doesn't allow it."""


class NotFoundError(ApiError):
    """404."""


class ConflictError(ApiError):
    """409: it exists already, or has changed meanwhile."""


class GoneError(ApiError):
    """410: the history that was asked for has been compacted away. List again."""


class InvalidError(ApiError):
    """422 (or 400): the object or the request is not valid."""


_BY_CODE: dict[int, type[ApiError]] = {
    400: InvalidError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    422: InvalidError,
}


def api_error(text: str, *, code: int, reason: str = "", retry_after: float = 0) -> ApiError:
    """The exception for HTTP status `code`."""
    kind = _BY_CODE.get(code, ApiError)
    return kind(text, code=code, reason=reason, retry_after=retry_after)


class ObjectError(Struct, frozen=True):
    """One object that cannot be used, while all others go on.

    Attributes
    ----------
    kind, key
        The object, as far as it can be told: ``Service``, ``default/web``.
    path
        Where in the object: ``$.spec.ports[0].port``.
    message
        What is wrong there.
    origin
        Where the object came from, if that is a file: ``web.yaml:12``.
    """

    kind: str
    key: str
    path: str
    message: str
    origin: str = ""

    def __str__(self) -> str:
        where = f"{self.origin}: " if self.origin else ""
        what = f"{self.kind} {self.key or '(no name)'}: " if self.kind else ""
        place = f"{self.path}: " if self.path != "$" else ""
        return f"{where}{what}{place}{self.message}"

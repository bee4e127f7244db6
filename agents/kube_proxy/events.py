"""What people are told by Kubernetes Events: ``kubectl describe`` and ``kubectl get events``.

Reasons and actions are kube-proxy's where kube-proxy has such an Event.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from nsxdp.k8s.events import EventRecorder
from nsxdp.k8s.objects import ObjectReference
from nsxdp.k8s.resources import RESOURCES
from nsxdp.openflow import CommitError

__all__ = ["CONTROLLER", "Events"]

CONTROLLER: Final = "nsx-kube-proxy"
"""Who reports."""

_START: Final = "StartKubeProxy"
_OBJECT: Final = re.compile(r"(Service|EndpointSlice) ([^\s/]+)/([^\s/:]+)(?=[: ])")
"""What the tracker's complaints begin with."""

_GROUP: Final = re.compile(r"\bgroup(?:_id=|:)(\d+)")


class Events:
    """Records this proxy's Events.

    Parameters
    ----------
    recorder
        None: there is no API server, and nobody is told.
    node_name
        The node's.
    service_of
        Whose a group is: ``namespace/name``; None: no Service's.
    """

    def __init__(
        self,
        recorder: EventRecorder | None,
        node_name: str,
        service_of: Callable[[int], str | None] = lambda _: None,
    ) -> None:
        self._recorder = recorder
        self._node_name = node_name
        self._service_of = service_of

    def starting(self) -> None:
        """The proxy has begun to work."""
        self._of_node("Starting", "serving Services on Open vSwitch", _START)

    def cannot_serve(self, what: str, reason: str) -> None:
        """An HTTP server can't be started: 'what' is ``healthz`` or ``metrics``."""
        word = (
            "FailedToStartProxierHealthcheck" if what == "healthz" else "FailedToStartMetricServer"
        )
        self._of_node(word, reason, _START, warning=True)

    def cannot_check(self, service: str, port: int, reason: str) -> None:
        """A health check node port of 'service' (``namespace/name``) can't be served."""
        self._of_service(
            service,
            "FailedToStartServiceHealthcheck",
            f'node {self._node_name} failed to start healthcheck "{service}" on port {port}: '
            f"{reason}",
            "Listen",
        )

    def refused(self, error: CommitError) -> None:
        """The switch refused something: a Service's, if its group is in it."""
        group = _GROUP.search(error.request)
        service = self._service_of(int(group[1])) if group else None
        note = f"node {self._node_name}: the switch refused: {error.name}: {error.request}"
        if service is not None:
            self._of_service(service, "SwitchRefused", note, "Commit")
        else:
            self._of_node("SwitchRefused", note, "Commit", warning=True)

    def unusable(self, problem: str) -> None:
        """Something is wrong with an object: 'problem' begins with its kind and its key."""
        found = _OBJECT.match(problem)
        if found and self._recorder is not None:
            kind, namespace, name = found.groups()
            about = ObjectReference(RESOURCES[kind].api_version, kind, namespace, name)
            note = f"node {self._node_name}: {problem}"
            self._recorder.record(about, "CannotBeUsed", note, action="Plan", warning=True)

    def _of_node(self, reason: str, note: str, action: str, *, warning: bool = False) -> None:
        if self._recorder is not None:
            # kubectl looks for a Node's Events by its name for a UID, as kubelet has it.
            about = ObjectReference("v1", "Node", "", self._node_name, self._node_name)
            self._recorder.record(about, reason, note, action=action, warning=warning)

    def _of_service(self, service: str, reason: str, note: str, action: str) -> None:
        if self._recorder is not None:
            namespace, _, name = service.partition("/")
            about = ObjectReference("v1", "Service", namespace, name)
            self._recorder.record(about, reason, note, action=action, warning=True)

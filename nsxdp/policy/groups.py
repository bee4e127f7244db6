"""Which kinds of pods selectors select: groups that all rules which name the same ones share.

A new label, a new pod, a new namespace finds the groups that it enters or leaves by an index; who
uses a group hears of each kind that enters or leaves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from nsxdp.policy.kinds import Kind
from nsxdp.policy.selectors import Labels, Selector

__all__ = ["Group", "GroupKey", "Groups", "User"]

_Anchor = tuple[str, str] | None


class GroupKey(NamedTuple):
    """What a group selects.

    Attributes
    ----------
    namespace
        Pods of this namespace; empty: of those that `namespaces` selects.
    namespaces, pods
        Selectors of namespaces and of pods in them.
    """

    namespace: str
    namespaces: Selector
    pods: Selector


class User(Protocol):
    """Who hears of what becomes of a group."""

    def enter(self, kind: Kind) -> None:
        """It has 'kind' from now on."""

    def leave(self, kind: Kind) -> None:
        """It has 'kind' no more."""


class Group:
    """The kinds that are selected now, and who uses them."""

    __slots__ = ("key", "kinds", "users")

    def __init__(self, key: GroupKey) -> None:
        self.key = key
        self.kinds: set[Kind] = set()
        self.users: list[User] = []


class Groups:
    """The groups that are used, and the kinds that they are made of."""

    def __init__(self) -> None:
        self._groups: dict[GroupKey, Group] = {}
        self._kinds: dict[str, set[Kind]] = {}
        self._of: dict[Kind, set[Group]] = {}
        self._namespaces: dict[str, Labels] = {}
        self._spanning: dict[Selector, set[Group]] = {}
        self._index: dict[str, dict[_Anchor, set[Group]]] = {}

    def __len__(self) -> int:
        return len(self._groups)

    def acquire(self, key: GroupKey, user: User) -> None:
        """'user' needs a group: it hears at once of all the kinds that the group has."""
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key)
            if not key.namespace:
                self._spanning.setdefault(key.namespaces, set()).add(group)
            for namespace in self._namespaces_of(key):
                self._cover(group, namespace)
        group.users.append(user)
        for kind in group.kinds:
            user.enter(kind)

    def release(self, key: GroupKey, user: User) -> None:
        """'user' needs a group no more: it hears that all kinds leave."""
        group = self._groups[key]
        group.users.remove(user)
        for kind in group.kinds:
            user.leave(kind)
        if group.users:
            return
        del self._groups[key]
        if not key.namespace:
            spanning = self._spanning[key.namespaces]
            spanning.discard(group)
            if not spanning:
                del self._spanning[key.namespaces]
        for namespace in self._namespaces_of(key):
            self._uncover(group, namespace)

    def add(self, kind: Kind) -> None:
        """There is a new kind."""
        self._kinds.setdefault(kind.namespace, set()).add(kind)
        of = self._of[kind] = set()
        index = self._index.get(kind.namespace, {})
        for anchor in (None, *kind.labels.items()):
            for group in index.get(anchor, ()):
                if group.key.pods.matches(kind.labels):
                    of.add(group)
        for group in of:
            _enter(group, kind)

    def remove(self, kind: Kind) -> None:
        """A kind is gone."""
        kinds = self._kinds[kind.namespace]
        kinds.discard(kind)
        if not kinds:
            del self._kinds[kind.namespace]
        for group in self._of.pop(kind):
            _leave(group, kind)

    def set_namespace(self, name: str, labels: Labels | None) -> None:
        """A namespace has 'labels' now; None: it is gone."""
        before, after = self._namespaces.pop(name, None), labels
        if after is not None:
            self._namespaces[name] = after
        for selector, groups in list(self._spanning.items()):
            was = before is not None and selector.matches(before)
            now = after is not None and selector.matches(after)
            if was != now:
                for group in list(groups):
                    (self._cover if now else self._uncover)(group, name)

    def namespace(self, name: str) -> Labels | None:
        """The labels of a namespace; None: none of that name is known."""
        return self._namespaces.get(name)

    def selects(self, key: GroupKey, kind: Kind) -> bool:
        """Whether a group that somebody uses has 'kind' now."""
        group = self._groups.get(key)
        return group is not None and kind in group.kinds

    def _namespaces_of(self, key: GroupKey) -> Iterator[str]:
        if key.namespace:
            yield key.namespace
            return
        for name, labels in self._namespaces.items():
            if key.namespaces.matches(labels):
                yield name

    def _cover(self, group: Group, namespace: str) -> None:
        """Pods of 'namespace' may be in 'group' from now on."""
        pods = group.key.pods
        self._index.setdefault(namespace, {}).setdefault(pods.anchor, set()).add(group)
        for kind in self._kinds.get(namespace, ()):
            if pods.matches(kind.labels):
                self._of[kind].add(group)
                _enter(group, kind)

    def _uncover(self, group: Group, namespace: str) -> None:
        index = self._index[namespace]
        anchor = group.key.pods.anchor
        index[anchor].discard(group)
        if not index[anchor]:
            del index[anchor]
            if not index:
                del self._index[namespace]
        for kind in self._kinds.get(namespace, ()):
            if group in self._of[kind]:
                self._of[kind].discard(group)
                _leave(group, kind)


def _enter(group: Group, kind: Kind) -> None:
    group.kinds.add(kind)
    for user in list(group.users):
        user.enter(kind)


def _leave(group: Group, kind: Kind) -> None:
    group.kinds.discard(kind)
    for user in list(group.users):
        user.leave(kind)

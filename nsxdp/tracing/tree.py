"""Lines that hang on lines, drawn as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Branch"]


@dataclass(slots=True)
class Branch:
    r"""A line of a tree, and what hangs on it.

    Examples
    --------
    >>> from nsxdp.tracing.tree import Branch
    >>> tree = Branch("a packet")
    >>> _ = tree.add("a Service").add("an endpoint")
    >>> print(*tree.lines(), sep="\n")
    a packet
    └── a Service
        └── an endpoint
    """

    text: str
    branches: list[Branch] = field(default_factory=list)

    def add(self, text: str) -> Branch:
        """Hang a line on it."""
        branch = Branch(text)
        self.branches.append(branch)
        return branch

    def lines(self) -> Iterator[str]:
        """The tree, drawn."""
        yield self.text
        for branch in self.branches:
            last = branch is self.branches[-1]
            first, *rest = branch.lines()
            yield ("└── " if last else "├── ") + first
            yield from (("    " if last else "│   ") + line for line in rest)

"""What the demo prints: calm on a terminal, plain lines where nobody watches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from load import Load, Result
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

WIDTH = 100
_BAR = 6
_REFRESH = 4  # a second


class Show:
    """The demo's voice; it remembers what held and what didn't."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        if not self.console.is_terminal or self.console.width > WIDTH:
            self.console = Console(highlight=False, width=WIDTH)
        self.broken: list[str] = []
        self._phases = 0

    def title(self, text: str, *sentences: str) -> None:
        """The project in a few words."""
        self.console.print(Text(text, "bold"))
        self._paragraph(sentences)

    def phase(self, name: str, *sentences: str) -> None:
        """Begin a phase: its name, and what it is about."""
        self._phases += 1
        self.console.print()
        self.console.print(Text(f"{self._phases}. {name}", "bold cyan"))
        self._paragraph(sentences)

    def _paragraph(self, sentences: Sequence[str]) -> None:
        if sentences:
            self.console.print(Text(" ".join(sentences)))
            self.console.print()

    def note(self, text: str) -> None:
        """Something that happens."""
        self.console.print(Text(f"  · {text}"), soft_wrap=True)

    def check(self, held: bool, text: str) -> None:
        """Something that was claimed, and whether it held."""
        mark, style = ("✓", "green") if held else ("✗", "bold red")
        self.console.print(Text.assemble("  ", (mark, style), f" {text}"), soft_wrap=True)
        if not held:
            self.broken.append(text)

    def code(self, lines: Sequence[str]) -> None:
        """Flows and groups as ovs-ofctl prints them."""
        for line in lines:
            self.console.print(Text(f"    {line}", "blue"), soft_wrap=True)

    def say(self, text: str) -> None:
        """A line as it is."""
        self.console.print(Text(text), soft_wrap=True)

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """While something takes a moment."""
        if self.console.is_terminal:
            with self.console.status(text):
                yield
        else:
            self.console.print(text)
            yield

    @contextmanager
    def watching(self, load: Load) -> Iterator[None]:
        """Show a load's counts as they grow."""
        if not self.console.is_terminal:
            yield
            return
        with self.console.status(Text(load.label)) as status:

            def report(so_far: Result) -> None:
                status.update(
                    Text(f"{load.label}: {so_far.answered} answered, {so_far.lost} lost so far")
                )

            load.on_report = report
            yield
            load.on_report = None

    def spread(self, loads: Mapping[tuple[str, str], Load], pods: Sequence[str]) -> list[Result]:
        """The table of who was answered by which pod, filled while 'loads' run to their end."""
        done: dict[tuple[str, str], Result] = {}

        def table() -> Table:
            return self._spread_table(
                {key: done.get(key) or load.so_far for key, load in loads.items()}, pods
            )

        if not self.console.is_terminal:
            for key, load in loads.items():
                done[key] = load.wait()
            self.console.print(table())
        else:
            with Live(
                console=self.console, get_renderable=table, refresh_per_second=_REFRESH
            ) as live:
                for key, load in loads.items():
                    done[key] = load.wait()
                live.refresh()
        return [done[key] for key in loads]

    def _spread_table(
        self, results: Mapping[tuple[str, str], Result], pods: Sequence[str]
    ) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("  from")
        table.add_column("to the virtual address")
        for pod in pods:
            table.add_column(pod)
        most = max((n for result in results.values() for n in result.backends.values()), default=0)
        for (source, address), result in results.items():
            cells = [f"{_bar(result.backends[pod], most)} {result.backends[pod]}" for pod in pods]
            table.add_row(f"  {source}", Text(address), *cells)
        return table

    def summary(self, rows: Sequence[tuple[str, Result, str]]) -> None:
        """What was sent, answered and lost in each phase."""
        table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
        table.add_column("  connections")
        for name in ("sent", "answered", "lost", "slowest"):
            table.add_column(name, justify="right")
        table.add_column("")
        for name, result, remark in rows:
            style = "green" if not result.lost else "yellow" if remark else "bold red"
            lost = Text(str(result.lost), style)
            slowest = f"{result.slowest_ms:.0f} ms"
            sent, answered = str(result.sent), str(result.answered)
            table.add_row(f"  {name}", sent, answered, lost, slowest, remark)
        self.console.print()
        self.console.print(table)

    def verdict(self, seconds: float) -> None:
        """The last line."""
        self.console.print()
        if self.broken:
            self.console.print(Text(f"It did not hold ({seconds:.0f} s):", "bold red"))
            for text in self.broken:
                self.console.print(Text(f"  ✗ {text}"), soft_wrap=True)
        else:
            self.console.print(Text(f"All of it held ({seconds:.0f} s).", "bold green"))


def _bar(part: int, most: int) -> str:
    return ("█" * round(_BAR * part / most) if most else "").ljust(_BAR)

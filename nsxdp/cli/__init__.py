"""The ``nsxdp`` command.

What a command needs is imported when it is run, so that it, help and completion come at once: the
tables here have its name, its module, and the line that the list of commands shows.
"""

import sys
from importlib import import_module

COMMANDS = {
    "parse-flows": ("_texts", "Check flows, and show the messages that add them."),
    "parse-group": ("_texts", "Check groups, and show the messages that add them."),
    "parse-meter": ("_texts", "Check meters, and show the messages that add them."),
    "ofp-print": ("_texts", "Show OpenFlow messages, given as hexadecimal bytes."),
    "dump-flows": ("_bridge", "Show a bridge's flows, by table and priority."),
    "add-flows": ("_bridge", "Add flows: all of them, or none."),
    "replace-flows": (
        "_bridge",
        "Make these the bridge's only flows, at once; those that are right are not touched.",
    ),
    "diff-flows": (
        "_bridge",
        'Show how flows differ: "-" only in the first, "+" only in the second.',
    ),
    "del-flows": ("_bridge", "Delete a bridge's flows; all of them, if none is named."),
    "dump-groups": ("_bridge", "Show a bridge's groups."),
    "monitor": (
        "_bridge",
        "Show a bridge's flows, and then each change of them, until Ctrl-C.",
    ),
    "trace": (
        "_trace",
        "Show what would become of a packet: the tables that it meets, and where it goes.",
    ),
    "top": ("_bridge", "Show the busiest flows, and how busy they are, until Ctrl-C."),
}
"""Commands with their module and what they do."""

GROUPS = {
    "lab": "A node with pods on a private Open vSwitch, and a real API server if you like.",
    "ovsdb": "Any OVSDB database: read, change and watch its rows.",
}
"""Modules that are groups of commands."""


def main() -> None:
    """Run the command."""
    name, *arguments = sys.argv[1:] or ("",)
    has_options = any(word.startswith("-") and word != "-" for word in arguments)
    if arguments and not has_options and COMMANDS.get(name, ("",))[0] == "_texts":
        import_module("nsxdp.cli._offline").COMMANDS[name](arguments)
    else:
        sys.exit(import_module("nsxdp.cli._app").app(prog_name="nsxdp"))

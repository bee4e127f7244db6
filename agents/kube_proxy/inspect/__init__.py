"""Looks at a running proxy's work from outside: what shall be on the switch, and what is there."""

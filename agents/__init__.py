"""The agents: each reads a configuration, wires watches to compilers, and runs."""

"""An emulated machine with Debian's kernel, for what the machine at hand has no kernel for.

    python -m machine [--timeout SECONDS] COMMAND [ARGUMENT ...]

runs a command in it, in the same directory of the same tree: the machine's root is this one's, and
what it writes lies in its memory and is gone at the end. So it has the same Python, the same Open
vSwitch, the same everything, but for the kernel with its modules: openvswitch, sctp and the rest.
"""

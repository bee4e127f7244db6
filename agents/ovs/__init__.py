"""nsx-ovs: Open vSwitch in a container, and the bridge that the node's pods are on."""

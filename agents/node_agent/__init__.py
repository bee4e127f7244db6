"""nsx-node-agent: gives the pods of one node their ports on an Open vSwitch bridge."""

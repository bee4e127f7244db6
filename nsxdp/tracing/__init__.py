"""What becomes of a packet, in words: which Service, endpoint and policy, to which node and where.

`nsxdp.tracing.way` follows one from pod to pod, over several nodes; `nsxdp.tracing.teller` over one
bridge. Nothing is sent: Open vSwitch says what its flows do, and who made them what they stand for.
"""

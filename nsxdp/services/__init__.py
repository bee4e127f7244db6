"""Kubernetes Services: what changed, which endpoints serve, and the flows and groups they need.

Nothing here does I/O. Objects of the API go in, plain data comes out:

    addresses   text of addresses and prefixes <-> bytes
    model       the plain data: service ports, endpoints
    slices      an EndpointSlice, held as a few byte strings
    tracker     Services and EndpointSlices in, the service ports that changed out
    endpoints   which endpoints serve a service port: kube-proxy's truth table
    compiler    a service port and its endpoints -> columns of flows and groups
"""

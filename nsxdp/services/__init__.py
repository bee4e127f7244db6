"""Kubernetes Services: what changed, which endpoints serve, and the flows and groups they need.

Nothing here does I/O. In the order in which an endpoint walks through:

    slices        an EndpointSlice, held as a few byte strings
    serviceports  a Service of the API -> its ports, a view for each IP family
    tracker       Services and EndpointSlices in; the Service ports that changed out
    merge         the union of the endpoints that slices have for one Service port
    endpoints     which endpoints serve a Service port: kube-proxy's truth table
    plan          what a Service port shall do on this node
    ids           the numbers by which a switch knows Service ports and endpoints
    compiler      plans -> columns -> flows and groups
    planner       the walk as a whole, round by round

and beside it:

    addresses     text of addresses and prefixes <-> bytes
    model         the plain data: Service ports, endpoints
    shared        sets of what several ask for, which tell what came and went
    reject        the answer to a packet for a Service that has no endpoint
    conntrack     which connections lead to endpoints that are gone
"""

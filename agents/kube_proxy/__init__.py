"""nsx-kube-proxy: Kubernetes Services on an Open vSwitch bridge, in place of kube-proxy."""

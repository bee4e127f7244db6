"""Real Kubernetes clusters on one machine: ``nsxdp lab cluster``.

etcd, kube-apiserver, kube-controller-manager and kube-scheduler run in one network namespace;
containerd, runc and kubelet of each node in namespaces of their own. No registry is asked for
images: they are made here, of Debian's packages and Kubernetes's sources.
"""

"""The container network interface (CNI): what a runtime asks of us for a pod, and how we answer."""

"""A real Kubernetes on one machine, for tests: control plane and nodes in namespaces of their own."""

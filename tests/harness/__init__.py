"""What end-to-end tests and the bench share: a sandbox, nodes and pods in network namespaces, the roles
as processes, the plug-in as a runtime executes it, clients and servers.

Everything is made inside namespaces of its own (sandbox.py), so that nothing can be left behind."""

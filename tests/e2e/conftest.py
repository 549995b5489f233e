"""End-to-end tests: the executable itself, on nodes and in pods made of namespaces. The whole run is inside a
sandbox of its own (harness/sandbox.py)."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from harness import sandbox  # noqa: E402

sandbox.enter([sys.executable, "-m", "pytest", *sys.argv[1:]])

import pytest  # noqa: E402

from cluster.cluster import Cluster  # noqa: E402
from cluster.control_plane import ControlPlane  # noqa: E402
from harness.mesh import Mesh  # noqa: E402


class Shop:
    """What most tests need: client and intruder on one node, a Service with a backend on each, an outsider."""
    VIP = "10.96.0.10"

    def __init__(self, m):
        self.m = m
        self.client = m.pod("client", "node-1")
        self.intruder = m.pod("intruder", "node-1")
        self.web = [m.pod("web-1", "node-1", sa="web", labels={"app": "web"}),
                    m.pod("web-2", "node-2", sa="web", labels={"app": "web"})]
        self.outsider = m.pod("outsider", "node-2", captured=False)
        m.service("web", self.VIP, [(80, 8080)], {"app": "web"})
        m.start()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    m = Mesh(tmp_path_factory.mktemp("mesh") / "m")
    try:
        yield Shop(m)
    finally:
        m.close()


@pytest.fixture(scope="session")
def api(tmp_path_factory):
    """etcd and an API server, for the whole run."""
    plane = ControlPlane(tmp_path_factory.mktemp("api"))
    try:
        yield plane.start()
    finally:
        plane.stop()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A whole Kubernetes with a node, for the whole run. Who makes objects makes a namespace, or names of its own."""
    c = Cluster(tmp_path_factory.mktemp("cluster") / "c")
    try:
        yield c.start()
    finally:
        c.stop()

"""A real Istio ztunnel on one node, ours on the other; controller and agents are ours. ZTUNNEL=path names it."""
import os

import pytest
from harness import apps
from harness.mesh import Mesh
from harness.proc import wait_until

ZTUNNEL = os.environ.get("ZTUNNEL")
pytestmark = pytest.mark.skipif(not ZTUNNEL, reason="ZTUNNEL=path of an Istio ztunnel is not set")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    m = Mesh(tmp_path_factory.mktemp("mixed") / "m", ztunnel={"node-2": ZTUNNEL})
    try:
        m.ours, m.theirs = m.pod("ours", "node-1"), m.pod("theirs", "node-2")
        m.intruder = m.pod("intruder", "node-1")
        m.service("theirs", "10.96.0.20", [(80, 8080)], {"app": "theirs"})
        m.service("ours", "10.96.0.21", [(80, 8080)], {"app": "ours"})
        m.start()
        yield m
    finally:
        m.close()


@pytest.mark.parametrize("way", ["to theirs", "to ours"])
def test_both_ways_by_address_and_by_service(mixed, way):
    m = mixed
    client, server, vip = (m.ours, m.theirs, "10.96.0.20") if way == "to theirs" else (m.theirs, m.ours, "10.96.0.21")
    with apps.Server(server, 8080, apps.name_of(server.name)):
        for at in ((server.ip, 8080), (vip, 80)):
            assert apps.ask(client, at).split()[:2] == [server.name, client.ip]
    line = m.ztunnels["node-2"].wait_log("access", client.identity)
    assert server.identity in line


def test_large_bodies_both_ways(mixed):
    got = {}

    def handler(s, peer):
        got["up"] = apps.receive_all(s)

    with apps.Server(mixed.theirs, 9000, handler), apps.connect(mixed.ours, (mixed.theirs.ip, 9000), timeout=60) as s:
        sent = apps.send_all(s, 256 << 20, "interop")
        s.shutdown(1)
        s.recv(1)
    assert wait_until(lambda: got.get("up"), "received") == (256 << 20, sent)


def test_a_policy_of_ours_is_enforced_by_theirs(mixed):
    m = mixed
    m.apply("deny", "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: deny, namespace: shop}\nspec:\n"
                    "  action: DENY\n  rules:\n  - from: [{source: {principals: [cluster.local/ns/shop/sa/intruder]}}]\n")
    with apps.Server(m.theirs, 8080, apps.name_of("theirs")):
        def refused():
            try:
                apps.ask(m.intruder, (m.theirs.ip, 8080), timeout=3)
                return False
            except OSError:
                return True
        wait_until(refused, "the intruder is refused")
        assert refused()  # the first may have been let in before the policy came, and ended by it
        assert apps.ask(m.ours, (m.theirs.ip, 8080))
    m.ztunnels["node-2"].wait_log("shop/deny")

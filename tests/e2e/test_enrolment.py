"""Pods that come, go and change their labels."""
import concurrent.futures
import json

import pytest
from harness import apps, net
from harness.proc import wait_until


def tables(pod):
    return pod.sh("nft", "list", "tables")


def test_a_label_takes_a_pod_out_of_the_mesh_and_in_again(shop):
    m, pod = shop.m, shop.web[0]
    at = (pod.ip, 8080)
    with apps.Server(pod, 8080, apps.name_of("web-1")):
        assert "inet mesh" in tables(pod)
        pod.labels["istio.io/dataplane-mode"] = "none"
        pod.captured = pod.annotated = False
        m.settle()
        wait_until(lambda: "inet mesh" not in tables(pod), "the rules are gone")
        assert apps.ask(shop.client, at)
        del pod.labels["istio.io/dataplane-mode"]
        m.write_pods()
        wait_until(lambda: "inet mesh" in tables(pod), "the rules are there")
        pod.captured = pod.annotated = True
        m.settle()
        assert apps.ask(shop.client, at)


def test_del_releases_and_add_captures_again(shop):
    m, pod = shop.m, shop.web[0]
    assert m.cni("DEL", pod)[0] == 0
    assert "inet mesh" not in tables(pod)
    wait_until(lambda: not m.shown(pod), "the agent has forgotten it")
    assert m.cni("DEL", pod)[0] == 0  # twice is legal
    code, out = m.cni("ADD", pod)
    assert code == 0 and out["ips"][0]["address"] == f"{pod.ip}/24"
    assert "inet mesh" in tables(pod)


def test_check_finds_missing_rules(shop):
    m, pod = shop.m, shop.web[0]
    assert m.cni("CHECK", pod)[0] == 0
    pod.sh("nft", "delete", "table", "inet", "mesh")
    code, out = m.cni("CHECK", pod)
    assert code == 1 and "mesh" in out["msg"]
    wait_until(lambda: m.cni("CHECK", pod)[0] == 0, "the agent has repaired it", 30)


def test_status_and_version(shop):
    m, pod = shop.m, shop.web[0]
    versions = m.cni("VERSION", pod)[1]["supportedVersions"]
    assert versions == ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
    config = json.dumps({"cniVersion": "1.1.0", "name": "n", "type": "mesh-cni",
                         "socket": str(m.node_dir("node-1") / "cni.sock")}).encode()
    assert m.cni("STATUS", pod, stdin=config) == (0, "")


def test_50_adds_at_once(shop):
    m = shop.m
    pods = [m.pod(f"many-{i}", "node-2") for i in range(50)]
    m.write_pods()
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        results = list(pool.map(lambda p: m.cni("ADD", p), pods))
    assert [r for r in results if r[0] != 0] == []
    for p in pods:
        assert "inet mesh" in tables(p)
        p.annotated = True
    m.settle()
    with apps.Server(shop.web[1], 8080, apps.name_of("web-2")):
        for p in pods[::10]:
            assert apps.ask(p, (shop.web[1].ip, 8080)).split()[1] == p.ip
    for p in pods:
        assert m.cni("DEL", p)[0] == 0
        del m.pods[(p.ns, p.name)]
        net.delete(p.netns)
    m.settle()


@pytest.mark.parametrize("stdin", [b"", b"{", b"[]", b"\xff\xfe" * 100, b"[" * 100000, b"{}", b'{"cniVersion":"9.9.9","name":"a"}'])
def test_garbage_on_stdin_is_a_cni_error(shop, stdin):
    code, out = shop.m.cni("ADD", shop.client, stdin=stdin)
    assert code == 1 and isinstance(out, dict) and out["code"] > 0 and out["msg"], out


def test_a_vanished_namespace_is_an_error_and_is_forgotten(shop):
    m = shop.m
    pod = m.pod("ghost", "node-2")
    m.write_pods()
    assert m.cni("ADD", pod)[0] == 0
    net.delete(pod.netns)
    m.agents["node-2"].wait_log("ghost", "vanished", deadline=30)
    code, out = m.cni("ADD", pod)
    assert code == 1 and out["code"] == 8, out
    assert m.cni("DEL", pod)[0] == 0
    del m.pods[(pod.ns, pod.name)]
    m.settle()


def test_without_an_agent_only_what_needs_no_capture_starts(shop):
    m = shop.m
    pod = m.pod("late", "node-2")
    m.write_pods()
    m.agents["node-2"].kill()
    code, out = m.cni("ADD", pod)
    assert code == 1 and out["code"] == 11, out
    plain = m.pod("plain", "node-2", ns="istio-system")
    assert m.cni("ADD", plain)[0] == 0
    m.agents["node-2"].start()
    m.wait_node("node-2")
    m.enrol(pod)
    del m.pods[(plain.ns, plain.name)]
    m.settle()

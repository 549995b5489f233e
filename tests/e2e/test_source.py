"""The folder: what is wrong in it is told, and the last good state stays."""
import json
import os

from harness import apps
from harness.mesh import BINARY, ROOT, http_get
from harness.proc import Process, wait_until

GOOD = ("apiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: shop}\nspec:\n  clusterIP: 10.96.0.77\n"
        "  clusterIPs: [10.96.0.77]\n  ports: [{name: p, port: 80, targetPort: 8080}]\n  selector: {app: web}\n")


def problems():
    return http_get("http://127.0.0.1:9876/debug/statusz")[1]


def test_a_broken_document_is_told_and_the_last_good_one_serves(shop):
    m, at = shop.m, ("10.96.0.77", 80)
    with apps.Server(shop.web[0], 8080, apps.name_of("web-1")), apps.Server(shop.web[1], 8080, apps.name_of("web-2")):
        m.apply("other", GOOD)
        wait_until(lambda: answers(shop.client, at), "the new Service answers")
        mark = len(m.controller.log())
        m.apply("other", GOOD.replace("port: 80,", "port: eighty,"))
        line = m.controller.wait_log("other.yaml:", "Service shop/other", "port", since=mark)
        assert "other.yaml:1:" in line or "other.yaml:7:" in line, line
        assert answers(shop.client, at)
        m.apply("other", GOOD[:60] + "\t: {[\n")  # not YAML at all
        m.controller.wait_log("other.yaml:", since=mark + 100)
        assert answers(shop.client, at)
        m.controller.restart()  # the last good state survives
        m.wait_controller()
        assert answers(shop.client, at)
        m.apply("other", GOOD)
        wait_until(lambda: "other.yaml" not in problems(), "no problem is left")
        m.remove("other")
        wait_until(lambda: not answers(shop.client, at, timeout=1), "the Service is gone")


def answers(pod, at, timeout=5):
    try:
        return apps.ask(pod, at, timeout=timeout)
    except OSError:
        return None


def test_names_that_cannot_be(shop):
    m = shop.m
    mark = len(m.controller.log())
    m.apply("names", "---\n".join(f"apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: \"{n}\", namespace: shop}}\n"
                                  for n in ("x" * 300, "../../etc/passwd", "a/b", "UPPER_case", "")))
    (m.source / "bytes.yaml").write_bytes(b"apiVersion: v1\nkind: Namespace\nmetadata: {name: \xff\xfe}\n")
    m.controller.wait_log("bytes.yaml:", since=mark)
    m.controller.wait_log("names.yaml:", since=mark)
    assert not (m.state / "tokens/workload/shop" / ("x" * 300)[:255]).exists()
    assert sorted(os.listdir(m.state / "tokens")) == ["node", "workload"]
    m.apply("twice", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: twice, namespace: shop}\n---\n" * 2 + "# end\n")
    m.controller.wait_log("twice.yaml:", "twice", since=mark)
    for name in ("names", "bytes", "twice"):
        m.remove(name)
    wait_until(lambda: "names.yaml" not in problems(), "the problems are gone")


def test_the_authority_is_kept_to_itself(shop):
    mode = os.stat(shop.m.state / "ca-key.pem").st_mode & 0o777
    assert mode == 0o600
    for folder, _, files in os.walk(shop.m.state / "tokens"):
        assert os.stat(folder).st_mode & 0o077 == 0
        for f in files:
            assert os.stat(os.path.join(folder, f)).st_mode & 0o077 == 0


def test_the_examples_are_good(tmp_path):
    """manifests/examples: every document is in force, every policy accepted."""
    c = Process("examples", [BINARY, "controller", "--source", ROOT / "manifests/examples", "--state", tmp_path / "state", "--listen-grpc",
                             "127.0.0.1:25012", "--readiness", "127.0.0.1:28080", "--admin", "127.0.0.1:29876", "--metrics", ""],
                log=tmp_path / "log")
    try:
        wait_until(lambda: http_get("http://127.0.0.1:28080/ready")[0] == 200 or not c.alive(), c.log)
        status = json.loads(http_get("http://127.0.0.1:29876/debug/statusz")[1])
        assert status["problems"] == [] and status["addresses"] == 3
        assert {x["name"]: x["status"] for x in status["conditions"]} == {"strict": "True", "web-callers": "True"}
    finally:
        c.kill()

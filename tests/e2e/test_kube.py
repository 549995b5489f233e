"""lib/kube against a real API server (and a proxy before it for what that won't do on demand)."""
import concurrent.futures
import json
import os
import random
import signal
import threading

import pytest

from cluster.api import Api, ApiError
from cluster.fault_proxy import FaultProxy
from cluster.kube_tool import KubeTool
from harness.proc import wait_until

MEGABYTE = 1 << 20


def pod(name, ns, labels=None, ballast=0):
    """A pod of a usual size has much that nobody here reads: environment, volumes, probes."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": ns, "labels": labels or {}},
            "spec": {"nodeName": "nowhere", "serviceAccountName": "default", "automountServiceAccountToken": False,
                     "containers": [{"name": "main", "image": "registry.example/some/image:1",
                                     "ports": [{"containerPort": 8080, "name": "http"}],
                                     "env": [{"name": f"SETTING_{i}", "value": "x" * 40} for i in range(ballast)]}]}}


def namespace(api, name):
    client = api.client()
    client.create("/api/v1/namespaces", {"metadata": {"name": name}})
    client.create(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})
    client.close()
    return name


def make_pods(api, ns, numbers, ballast=0):
    def some(part):
        client = api.client()
        for n in part:
            client.create(f"/api/v1/namespaces/{ns}/pods", pod(f"p{n}", ns, {"app": f"a{n % 7}"}, ballast))
        client.close()
    numbers = list(numbers)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(some, [numbers[i::8] for i in range(8)]))


def uids(api, path):
    """{"ns/name": uid} as the API itself lists it, read from etcd."""
    client, found, token = api.client(), {}, ""
    while True:
        answer = client.get(f"{path}?limit=500" + (f"&continue={token}" if token else ""))
        for item in answer["items"]:
            meta = item["metadata"]
            found[f"{meta.get('namespace', '-')}/{meta['name']}"] = meta["uid"]
        token = answer["metadata"].get("continue")
        if not token:
            client.close()
            return found


@pytest.fixture
def tool(api):
    t = KubeTool(api.kubeconfig)
    yield t
    t.close()


@pytest.fixture
def proxy(api):
    p = FaultProxy(api)
    yield p
    p.close()


@pytest.fixture
def proxied(api, proxy):
    """A tool whose way to the server is the proxy."""
    t = KubeTool(api.write_kubeconfig("proxied", api.admin, server=proxy.url))
    yield t
    t.close()


class Churn:
    """Makes, changes, deletes and makes again, all the time, until it is stopped."""

    def __init__(self, api, ns, count=60):
        self.api, self.ns, self.count = api, ns, count
        self.path = f"/api/v1/namespaces/{ns}/configmaps"
        self.done, self.turns = threading.Event(), 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        client, at = self.api.client(timeout=5), 0
        pick = random.Random(7)
        while not self.done.is_set():
            at += 1
            name = f"c{pick.randrange(self.count)}"
            try:
                self._turn(client, name, pick.random(), at)
                self.turns += 1
            except (OSError, ApiError) as e:  # the server is away, or the name was (not) there
                if not isinstance(e, ApiError):
                    self.done.wait(0.05)
            except Exception:  # half an answer of a server that was killed
                client.close()

    def _turn(self, client, name, chance, at):
        account = f"/api/v1/namespaces/{self.ns}/serviceaccounts"
        if chance < 0.3:
            client.create(account, {"metadata": {"name": name}})
        elif chance < 0.5:
            client.delete(f"{account}/{name}")
        else:
            client.merge(f"{account}/{name}", {"metadata": {"labels": {"turn": str(at)}}})

    def wait_turns(self, n, deadline=60):
        until = self.turns + n
        wait_until(lambda: self.turns >= until, lambda: f"only {self.turns} of {until} changes", deadline)

    def stop(self):
        self.done.set()
        self.thread.join(30)


@pytest.fixture
def churn(api, request):
    ns = namespace(api, f"churn-{request.node.name.split('[')[0].replace('_', '-')[:40]}-{random.randrange(1 << 30)}")
    c = Churn(api, ns)
    yield c
    c.stop()


def as_listed(api, tool, churn, informer="sa"):
    """The changes have ended: the informer has what the API has, labels included."""
    churn.stop()
    path = f"/api/v1/namespaces/{churn.ns}/serviceaccounts"
    tool.is_as(informer, uids(api, path))
    client = api.client()
    turns = {i["metadata"]["name"]: i["metadata"].get("labels", {}).get("turn") for i in client.get(path)["items"]}
    client.close()

    def same():
        kept = [json.loads(o)["metadata"] for o in tool.dump(informer)]
        return turns == {m["name"]: m.get("labels", {}).get("turn") for m in kept}
    wait_until(same, "what is kept is not what the API has")


def test_what_is_there_and_what_changes(api, tool):
    ns = namespace(api, "changes")
    make_pods(api, ns, range(3))
    assert tool.informer("pods", "Pod", ns) == 3
    client, path = api.client(), f"/api/v1/namespaces/{ns}/pods"
    client.create(path, pod("late", ns))
    client.merge(f"{path}/p1", {"metadata": {"labels": {"app": "other"}}})
    client.delete(f"{path}/p2?gracePeriodSeconds=0")
    tool.is_as("pods", uids(api, path))
    # 3 found, 1 made, 1 changed, 1 marked as going and gone
    wait_until(lambda: tool.changes == 7, lambda: f"{tool.changes} changes")
    assert any(json.loads(o)["metadata"].get("labels") == {"app": "other"} for o in tool.dump("pods"))
    before = tool.changes
    client.merge(f"{path}/p1", {"metadata": {"annotations": {"example.com/nobody-reads": "this"}}})
    client.create(path, pod("last", ns))
    wait_until(lambda: tool.changes > before, "no change")
    assert tool.changes == before + 1, "a change of what nobody reads was told"


def test_ten_thousand_pods(api, proxy, proxied):
    """Memory follows what is kept, whatever breaks while it is listed."""
    ns = namespace(api, "many")
    make_pods(api, ns, range(10000), ballast=40)
    path = f"/api/v1/namespaces/{ns}/pods"
    expected = uids(api, path)
    proxied.say("quiet")
    assert proxied.informer("none", "Namespace") > 0  # connections and buffers are there
    before = proxied.rss()
    count = proxied.informer("pods", "Pod", ns, deadline=120)
    assert count == 10000
    growth, kept = proxied.rss() - before, proxied.bytes_kept("pods")
    listed = len(json.dumps(api.client().get(f"{path}?limit=100"))) * 100
    print(f"kept {kept / MEGABYTE:.1f} MB, grew by {growth / MEGABYTE:.1f} MB, listed {listed / MEGABYTE:.1f} MB")
    assert growth < 1.5 * kept + 4 * MEGABYTE
    assert growth < listed / 3
    assert any("sendInitialEvents" in p for _, p in proxy.requests), "no streaming list"
    proxied.say("stop pods")
    # the same in pages, with everything that can break one
    client = KubeTool(api.write_kubeconfig("paged", api.admin, server=proxy.url))
    try:
        pages = f"{path}?limit="
        client.informer("none", "Namespace")
        client.say("stop none")
        seen = client.changes
        proxy.requests.clear()
        proxy.add("sendInitialEvents", times=-1, status=400)
        proxy.add("continue=", status=500)
        proxy.add("continue=", cut=200_000)
        proxy.add("continue=", status=429, headers={"Retry-After": "1"})
        proxy.add("continue=", status=410)  # and from the beginning
        proxy.add("continue=", times=0)
        before = client.rss()
        assert client.informer("pods", "Pod", ns, deadline=120) == 10000
        client.is_as("pods", expected)
        assert client.rss() - before < 1.5 * kept + 4 * MEGABYTE
        assert client.changes - seen == 10000
        firsts = [p for _, p in proxy.requests if pages in p and "continue" not in p]
        assert len(firsts) == 2, firsts
    finally:
        client.close()


STREAMS = [
    ("too many", dict(match="watch=1", times=3, status=429, headers={"Retry-After": "1"})),
    ("server errors", dict(match="watch=1", times=4, status=500)),
    ("a proxy's page", dict(match="watch=1", times=3, status=502, body="<html>Bad Gateway</html>",
                            headers={"Content-Type": "text/html"})),
    ("gone", dict(match="resourceVersion=", times=3, status=410)),
    ("gone, as an event", dict(match="resourceVersion=", times=3, inject=json.dumps(
        {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}).encode() + b"\n")),
    ("another error as an event", dict(match="resourceVersion=", times=3, inject=json.dumps(
        {"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcd is away"}}).encode())),
    ("what is no JSON", dict(match="watch=1", times=3, inject=b"<html>")),
    ("an event of another kind", dict(match="watch=1", times=2, inject=b'{"type":"WHAT","object":{}}')),
    ("cut in the first object", dict(match="watch=1", times=4, cut=100)),
    ("cut in a later one", dict(match="watch=1", times=4, cut=3000)),
]


@pytest.mark.parametrize("name,fault", STREAMS, ids=[n for n, _ in STREAMS])
def test_streams_that_break(api, proxy, proxied, churn, name, fault):
    churn.wait_turns(50)
    proxied.informer("sa", "ServiceAccount", churn.ns)
    churn.wait_turns(50)
    fault = proxy.add(**fault)
    for _ in range(6):  # break what is open, so that the next request meets the fault
        proxy.cut_all()
        churn.wait_turns(30)
    wait_until(lambda: fault.left == 0 or fault.met >= 2, lambda: f"the fault was met {fault.met} times", deadline=60)
    fault.end()
    as_listed(api, proxied, churn)


def test_a_server_that_says_nothing(api, proxy, proxied, churn):
    """It takes the list's request, sends some bytes, and hangs: pages are tried in the end."""
    churn.wait_turns(50)
    proxy.add("sendInitialEvents", times=2, hang=500)
    assert proxied.informer("sa", "ServiceAccount", churn.ns, deadline=90) >= 0
    proxied.wait("sa state", "nothing came for 15 s")
    as_listed(api, proxied, churn)


def test_servers_that_go_away(api, tool, churn):
    """API server and etcd killed and back, while everything changes."""
    churn.wait_turns(50)
    tool.informer("sa", "ServiceAccount", churn.ns)
    for component in ("kube-apiserver", "etcd", "kube-apiserver"):
        churn.wait_turns(50)
        api.processes[component].kill(signal.SIGKILL)
        if component == "kube-apiserver":
            tool.wait("sa state", "onnect")
        api.processes[component].start()
        api.wait_api()
        churn.wait_turns(50)
    as_listed(api, tool, churn)
    assert tool.lines[-1].startswith("sa end") and tool.wait("sa state ok")


def viewer(api, ns, name):
    """A ServiceAccount that may read everything; a token of it ends with its Secret."""
    client = api.client()
    client.create(f"/api/v1/namespaces/{ns}/serviceaccounts", {"metadata": {"name": name}})
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    client.create(f"{rbac}/clusterroles", {"metadata": {"name": f"{ns}-{name}"}, "rules": [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]})
    client.create(f"{rbac}/clusterrolebindings", {
        "metadata": {"name": f"{ns}-{name}"}, "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": ns}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"{ns}-{name}"}})
    client.close()


def bound_token(api, ns, account, secret):
    client = api.client()
    made = client.create(f"/api/v1/namespaces/{ns}/secrets", {"metadata": {"name": secret}, "type": "Opaque"})
    token = client.create(f"/api/v1/namespaces/{ns}/serviceaccounts/{account}/token", {"spec": {"boundObjectRef": {
        "kind": "Secret", "apiVersion": "v1", "name": secret, "uid": made["metadata"]["uid"]}}})["status"]["token"]
    client.close()
    return token


def in_cluster(api, proxy, ns, token, folder):
    """What kubelet mounts, and the environment that it sets."""
    for name, text in (("token", token), ("namespace", ns), ("ca.crt", api.ca.crt.read_text())):
        (folder / name).write_text(text)
    host, port = proxy.url.removeprefix("https://").split(":")
    os.environ.update(KUBERNETES_SERVICE_HOST=host, KUBERNETES_SERVICE_PORT=port)
    return KubeTool("in-cluster", folder)


def test_tokens_that_end_and_are_renewed(api, proxy, churn, tmp_path):
    viewer(api, churn.ns, "reader")
    tool = in_cluster(api, proxy, churn.ns, bound_token(api, churn.ns, "reader", "first"), tmp_path)
    try:
        churn.wait_turns(30)
        tool.informer("sa", "ServiceAccount", churn.ns)
        client = api.client()
        client.delete(f"/api/v1/namespaces/{churn.ns}/secrets/first")
        client.close()
        # the server checks a token when a request begins, and remembers its verdict for some seconds
        wait_until(lambda: proxy.cut_all() or any("401" in line for line in tool.lines), "no 401", deadline=60,
                   every=1)
        churn.wait_turns(30)
        (tmp_path / "new").write_text(bound_token(api, churn.ns, "reader", "second"))
        os.replace(tmp_path / "new", tmp_path / "token")  # as kubelet does
        tool.wait("sa state ok", deadline=60)
        as_listed(api, tool, churn)
    finally:
        tool.close()


def test_certificates_rotated_under_it(api, proxy, churn, tmp_path):
    """The client's certificate, then the server's together with its root."""
    from cluster import pki
    crt, key = tmp_path / "client.crt", tmp_path / "client.key"

    def install(pair):
        for source, target in zip(pair, (crt, key)):
            target.with_suffix(".new").write_text(source.read_text())
            os.replace(target.with_suffix(".new"), target)
    install(api.ca.issue("short", "/O=system:masters/CN=first"))
    config = api.write_kubeconfig("rotated", (crt, key), server=proxy.url)
    bundle = tmp_path / "ca.crt"
    bundle.write_text(api.ca.crt.read_text())
    config.write_text(config.read_text().replace(str(api.ca.crt), str(bundle)))
    tool = KubeTool(config)
    try:
        tool.informer("sa", "ServiceAccount", churn.ns)
        install(api.ca.issue("next", "/O=system:masters/CN=second"))
        proxy.cut_all()
        churn.wait_turns(30)
        other = pki.Authority(tmp_path / "pki", "other-ca")
        proxy.serve_as(other.issue("proxy", "/CN=proxy", ["IP:127.0.0.1"]))
        proxy.cut_all()
        tool.wait("sa state", "ertificate", deadline=60)  # nobody we know
        churn.wait_turns(30)
        bundle.write_text(api.ca.crt.read_text() + other.crt.read_text())
        tool.wait("sa state ok", deadline=60)
        as_listed(api, tool, churn)
    finally:
        tool.close()


CRD = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
       "metadata": {"name": "peerauthentications.security.istio.io"},
       "spec": {"group": "security.istio.io", "scope": "Namespaced",
                "names": {"kind": "PeerAuthentication", "plural": "peerauthentications"},
                "versions": [{"name": "v1beta1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}}


def test_kinds_that_come_later_and_go(api, tool):
    """And an object that does not decode: what it was before stays."""
    assert tool.informer("peer", "PeerAuthentication") == 0
    tool.wait("peer state", "404")
    client = api.client()
    client.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", CRD)
    tool.wait("peer state ok", deadline=20)
    path = "/apis/security.istio.io/v1beta1/namespaces/default/peerauthentications"

    def create():
        try:
            return client.create(path, {"apiVersion": "security.istio.io/v1beta1", "kind": "PeerAuthentication",
                                        "metadata": {"name": "p"}, "spec": {"mtls": {"mode": "STRICT"}}})
        except ApiError as e:
            return None if e.status in (404, 429) else pytest.fail(str(e))
    made = wait_until(create, "the new kind takes no objects", every=0.1)
    tool.is_as("peer", {"default/p": made["metadata"]["uid"]})
    client.merge(f"{path}/p", {"spec": {"mtls": {"mode": "STRICTEST"}}})
    tool.wait("peer problem default/p", "spec.mtls.mode", "STRICTEST")
    assert "STRICT" in tool.dump("peer")[0]
    client.merge(f"{path}/p", {"spec": {"mtls": {"mode": "PERMISSIVE"}}})
    tool.wait("peer cleared default/p")
    assert "PERMISSIVE" in tool.dump("peer")[0]
    client.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/peerauthentications.security.istio.io")
    tool.is_as("peer", {})


def test_writes(api, tool):
    ns = namespace(api, "writes")
    where = f"- v1 configmaps {ns}"

    def config(name, **more):
        return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **more.pop("meta", {})},
                           **more})
    assert tool.ask("create", where, "-", config("a", data={"x": "1"}))[:2] == ["RC_OK", "201"]
    assert tool.ask("create", where, "-", config("a"))[:3] == ["RC_EXISTS", "409", "AlreadyExists"]
    version = tool.ask("get", where, "a")[4]
    newer = config("a", meta={"resourceVersion": version}, data={"x": "2"})
    assert tool.ask("replace", where, "a", newer)[0] == "RC_OK"
    assert tool.ask("replace", where, "a", config("a", meta={"resourceVersion": version}))[:3] == \
        ["RC_EXISTS", "409", "Conflict"]
    # server-side apply: others' fields are theirs, unless taken
    api.client().apply(f"/api/v1/namespaces/{ns}/configmaps/b",
                       {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"x": "theirs"}})
    reply = tool.ask("apply", where, "b", config("b", data={"x": "ours"}))
    assert reply[:3] == ["RC_EXISTS", "409", "Conflict"] and ".data.x" in reply[5]
    assert tool.ask("force", where, "b", config("b", data={"x": "ours"}))[0] == "RC_OK"
    assert api.client().get(f"/api/v1/namespaces/{ns}/configmaps/b")["data"] == {"x": "ours"}
    assert tool.ask("apply", where, "b", config("b"))[0] == "RC_OK"  # what we don't name any more goes
    assert "data" not in api.client().get(f"/api/v1/namespaces/{ns}/configmaps/b")
    # status, by merge and by a guarded JSON patch
    make_pods(api, ns, [1])
    pods = f"- v1 pods {ns}"
    assert tool.ask("merge", pods, "p1/status", '{"status":{"phase":"Running","podIP":"10.1.1.1"}}')[0] == "RC_OK"
    assert api.client().get(f"/api/v1/namespaces/{ns}/pods/p1")["status"]["phase"] == "Running"
    guard = '[{"op":"test","path":"/status/phase","value":"%s"},{"op":"add","path":"/status/message","value":"m"}]'
    assert tool.ask("json", pods, "p1/status", guard % "Failed")[:2] == ["RC_INVALID", "422"]
    assert tool.ask("json", pods, "p1/status", guard % "Running")[0] == "RC_OK"
    reply = tool.ask("merge", pods, "p1", '{"spec":{"nodeName":"elsewhere"}}')
    assert reply[0] == "RC_INVALID" and "status 422" in reply[5]
    assert tool.ask("delete", where, "a", "11111111-1111-1111-1111-111111111111")[:2] == ["RC_EXISTS", "409"]
    assert tool.ask("delete", where, "a")[0] == "RC_OK"
    assert tool.ask("get", where, "a")[:3] == ["RC_NOT_FOUND", "404", "NotFound"]


def test_calls_are_tried_again_where_that_is_harmless(api, proxy, proxied):
    ns = namespace(api, "tries")
    where = f"- v1 configmaps {ns}"
    body = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s"}}'
    busy = proxy.add("/configmaps", times=2, status=429, headers={"Retry-After": "1"})
    assert proxied.ask("create", where, "-", body % "a")[:2] == ["RC_OK", "201"]
    assert busy.met == 2
    proxy.add("/configmaps", times=3, status=503)
    assert proxied.ask("apply", where, "b", body % "b")[:2] == ["RC_OK", "201"]
    proxy.add("/configmaps", times=1, cut=10)
    assert proxied.ask("get", where, "b")[0] == "RC_OK"
    # what may have taken effect is not sent twice
    lost = proxy.add("/configmaps", times=1, status=500)
    assert proxied.ask("create", where, "-", body % "c")[:2] == ["RC_IO", "500"]
    assert lost.met == 1 and proxied.ask("get", where, "c")[0] == "RC_NOT_FOUND"
    proxy.add("/configmaps", times=6, status=500)
    assert proxied.ask("get", where, "b")[:2] == ["RC_IO", "500"]
    large = proxy.add("/configmaps", status=200, body=json.dumps({"data": "x" * (9 * MEGABYTE)}))
    assert proxied.ask("get", where, "b")[0] == "RC_LIMIT" and large.met == 1


def test_who_leads(api, proxy):
    """One holds the lease, whatever happens to it or to the server."""
    config = api.write_kubeconfig("leader", api.admin, server=proxy.url)
    ours = "default mesh-test"
    a, b = KubeTool(api.kubeconfig), KubeTool(config)
    try:
        a.say("lease l", ours, "a", 3000, 2000, 400)
        a.wait("l gained")
        b.say("lease l", ours, "b", 3000, 2000, 400)
        a.p.send_signal(signal.SIGSTOP)
        b.wait("l gained", deadline=20)
        a.p.send_signal(signal.SIGCONT)
        a.wait("l lost")
        spec = api.client().get("/apis/coordination.k8s.io/v1/namespaces/default/leases/mesh-test")["spec"]
        assert spec["holderIdentity"] == "b" and spec["leaseTransitions"] == 1
        since = a.mark()
        b.say("release l")
        b.wait("l released")
        a.wait("l gained", since=since, deadline=2.5)  # at once, not after the lease's duration
        # a server that does not answer: given up before another may take it
        b.say("lease m default mesh-other b 3000 2000 400")
        b.wait("m gained")
        a.say("lease m default mesh-other a 3000 2000 400")
        away = proxy.add("/leases", times=-1, status=503)
        b.wait("m lost", "could not be renewed in time")
        a.wait("m gained")
        away.end()
        others = b.mark()
        a.say("release m")
        b.wait("m gained", since=others)
        # its labels are left alone
        lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/mesh-other"
        api.client().merge(lease, {"metadata": {"labels": {"team": "x"}}})
        renewed = api.client().get(lease)["spec"]["renewTime"]
        wait_until(lambda: api.client().get(lease)["spec"]["renewTime"] != renewed, "not renewed")
        assert api.client().get(lease)["metadata"]["labels"] == {"team": "x"}
    finally:
        a.close()
        b.close()


def test_whose_a_token_is(api, tool, proxy, tmp_path):
    ns = namespace(api, "tokens")
    client = api.client()
    made = client.create(f"/api/v1/namespaces/{ns}/pods", pod("caller", ns))
    spec = {"audiences": ["istio-ca"], "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "caller",
                                                          "uid": made["metadata"]["uid"]}}
    token = client.create(f"/api/v1/namespaces/{ns}/serviceaccounts/default/token", {"spec": spec})["status"]["token"]

    def review(token, audience="istio-ca", by=tool):
        since = by.mark()
        by.say("review", token, audience)
        return by.wait("review ", since=since, deadline=40).split(" ", 5)[1:]
    assert review(token)[:4] == ["RC_OK", f"{ns}/default", "caller", f"system:serviceaccount:{ns}:default"]
    assert review(token, "other")[:2] == ["RC_UNAUTHENTICATED", "-/-"]
    assert review(api.token(ns, "default"))[0] == "RC_UNAUTHENTICATED"
    assert review("x" * 100)[0] == "RC_UNAUTHENTICATED"
    assert review("-")[4] == "the token is empty, too long or not text"
    assert review("y" * 20000)[4] == "the token is empty, too long or not text"
    client.delete(f"/api/v1/namespaces/{ns}/pods/caller?gracePeriodSeconds=0")
    # the server remembers a good verdict for some seconds
    wait_until(lambda: review(token)[0] == "RC_UNAUTHENTICATED", "a token outlived its pod", deadline=30, every=0.5)
    # no answer is no verdict
    proxied = KubeTool(api.write_kubeconfig("reviewer", api.admin, server=proxy.url))
    try:
        proxy.add("/tokenreviews", times=-1, status=500)
        assert review(token, by=proxied)[0] == "RC_IO"
    finally:
        proxied.close()
    # and a client that may not ask
    reader = in_cluster(api, proxy, ns, api.token(ns, "default"), tmp_path)
    try:
        proxy.faults.clear()
        assert review(token, by=reader)[0] == "RC_DENIED"
    finally:
        reader.close()


def test_what_can_not_be_logged_in_with(api, tmp_path):
    """A kubeconfig that needs a program or a proxy is refused by name, not tried without."""
    config = json.loads(api.kubeconfig.read_text())
    config["users"][0]["user"] = {"exec": {"command": "aws"}}
    (tmp_path / "k").write_text(json.dumps(config))
    t = KubeTool(tmp_path / "k")
    assert t.p.wait(10) == 2
    t.thread.join(5)
    assert "exec" in "\n".join(t.lines)


def test_a_certificate_of_a_stranger(api, tmp_path):
    """A server that our root did not sign gets nothing, no token above all."""
    from cluster import pki
    other = pki.Authority(tmp_path / "pki", "stranger")
    config = json.loads(api.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["certificate-authority"] = str(other.crt)
    (tmp_path / "k").write_text(json.dumps(config))
    t = KubeTool(tmp_path / "k")
    try:
        reply = t.ask("get - v1 namespaces - default")
        assert reply[0] == "RC_CERT" and "ertificate" in reply[5], reply
    finally:
        t.close()


def test_http_1_and_2(api, proxy, tool):
    """The real server speaks HTTP/2: one connection for everything."""
    for n in range(12):
        tool.informer(f"i{n}", "Namespace")
    links = [fd for fd in os.listdir(f"/proc/{tool.p.pid}/fd")
             if os.readlink(f"/proc/{tool.p.pid}/fd/{fd}").startswith("socket:")]
    assert len(links) <= 6, f"{len(links)} sockets for 13 watches"
    assert Api(proxy.url, api.ca.crt, *api.admin).get("/version")["minor"]

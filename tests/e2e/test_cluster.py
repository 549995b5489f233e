"""The test cluster itself: what every test on it takes for granted."""
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from cluster import images, programs
from cluster.__main__ import folder_of
from harness import sandbox
from harness.proc import wait_until

# Where a node's programs write.
USUAL_PLACES = ["/etc/cni", "/opt/cni", "/var/lib/cni", "/var/lib/containerd", "/var/lib/kubelet", "/var/log/containers",
                "/var/log/pods", "/run"]
TESTS = pathlib.Path(__file__).resolve().parents[1]
SERVE = ["sh", "-c", "mkdir /w; hostname >/w/index.html; exec httpd -f -p 8080 -h /w"]


@pytest.fixture(scope="module")
def web(cluster):
    """A Service of two pods, and a pod that asks: names in namespace try."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "try"}})
    client = cluster.client()
    wait_until(lambda: client.get("/api/v1/namespaces/try/serviceaccounts")["items"], "namespace try has no account")
    client.close()
    cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "try"},
                   "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}})
    probe = {"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}
    addresses = {name: cluster.pod(name, SERVE, ns="try", labels={"app": "web"}, container=dict(probe))
                 for name in ("web-1", "web-2")}
    cluster.pod("client", ns="try")
    return addresses


def fetch(cluster, url, pod="client"):
    return cluster.exec(pod, "curl", "-sS", "-m", "3", url, ns="try").strip()


def all_answer(cluster, url, names):
    """Until every backend answered once (kube-proxy chooses at random)."""
    seen = set()

    def enough():
        seen.add(fetch(cluster, url))
        return seen >= set(names)
    wait_until(enough, lambda: f"{url} answered by {seen}", deadline=30)
    assert seen == set(names)


def test_nodes_are_ready_and_of_this_version(cluster):
    nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    assert [n["metadata"]["name"] for n in nodes] == cluster.names
    kubernetes = next(m for m in programs.MODULES if m.name == "kubernetes")
    assert {n["status"]["nodeInfo"]["kubeletVersion"] for n in nodes} == {f"v{kubernetes.version}"}


def test_pods_answer_by_address_and_by_service(cluster, web):
    for name, address in web.items():
        assert fetch(cluster, f"http://{address}:8080/") == name
    for url in ("http://web/", "http://web.try.svc.cluster.local/"):
        all_answer(cluster, url, web)


def test_names_resolve(cluster, web):
    ip = cluster.kubectl("-n", "try", "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    assert f"Address: {ip}" in cluster.exec("client", "nslookup", "web.try.svc.cluster.local", ns="try")
    done = cluster.exec("client", "nslookup", "none.try.svc.cluster.local", ns="try", check=False)
    assert "NXDOMAIN" in done


def test_exec_and_logs(cluster):
    cluster.pod("says", ["sh", "-c", "echo one; exec sleep 1000"])
    assert cluster.exec("says", "hostname").strip() == "says"
    assert "exit code 7" in cluster.exec("says", "sh", "-c", "exit 7", check=False)
    assert cluster.kubectl("logs", "says").strip() == "one"


def review(cluster, token):
    client = cluster.client()
    try:
        return client.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}})["status"]
    finally:
        client.close()


def test_a_pods_token_says_whose_it_is(cluster, web):
    token = cluster.exec("client", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token", ns="try").strip()
    status = review(cluster, token)
    assert status["authenticated"] and status["user"]["username"] == "system:serviceaccount:try:default"
    assert status["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["client"]
    head, body, signature = token.split(".")
    assert not review(cluster, f"{head}.{body}.{signature[::-1]}").get("authenticated")


def test_an_image_of_a_static_binary(cluster):
    cluster.load_image("docker.io/local/own:1", {"/busybox": programs.path("busybox")}, ["/busybox", "echo"])
    cluster.kubectl("run", "own", "--image=docker.io/local/own:1", "--image-pull-policy=Never", "--restart=Never",
                    "--", "hello")
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/own", "--timeout=30s")
    assert cluster.kubectl("logs", "own").strip() == "hello"


def test_mesh_runs_in_a_pod(cluster):
    cluster.kubectl("run", "version", f"--image={images.MESH}", "--image-pull-policy=Never", "--restart=Never", "--",
                    "version")
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/version", "--timeout=30s")
    assert cluster.kubectl("logs", "version").startswith("mesh ")


def test_load_makes_more_replicas(cluster):
    labels = {"app": "busy"}
    container = {"name": "main", "image": images.TOOLS, "imagePullPolicy": "Never",
                 "command": ["sh", "-c", "while :; do :; done"],
                 "resources": {"requests": {"cpu": "10m"}, "limits": {"cpu": "100m"}}}
    cluster.apply(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "busy", "namespace": "default"},
         "spec": {"selector": {"matchLabels": labels}, "template": {
             "metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}}}},
        {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
         "metadata": {"name": "busy", "namespace": "default"},
         "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "busy"}, "minReplicas": 1,
                  "maxReplicas": 2, "metrics": [{"type": "Resource", "resource": {
                      "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}})
    cluster.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=2", "deployment/busy", "--timeout=90s", timeout=100)
    assert "busy" in cluster.kubectl("top", "pods")
    cluster.kubectl("delete", "deployment,hpa", "busy", "--wait=false")


def test_gateway_api(cluster):
    cluster.gateway_api("experimental")
    cluster.apply({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "try"},
                   "spec": {"controllerName": "example.com/try"}})
    with pytest.raises(AssertionError, match="controllerName"):
        cluster.apply({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
                       "metadata": {"name": "bad"}, "spec": {"controllerName": "no domain"}})


def test_control_plane_parts_restart(cluster, web):
    """What is written stays, pods and Services answer all the while."""
    for name in ("etcd", "kube-apiserver"):
        cluster.processes[name].restart()
        cluster.wait_api()
        all_answer(cluster, "http://web/", web)


def test_pods_of_two_nodes_reach_each_other(cluster, web):
    """The node stays for the rest of the run."""
    if len(cluster.nodes) < 2:
        cluster.add_node("node-2")
        cluster.names.append("node-2")
        cluster.wait_nodes()
    address = cluster.pod("far", SERVE, ns="try", node="node-2")
    assert fetch(cluster, f"http://{address}:8080/") == "far"
    for name, near in web.items():
        assert cluster.exec("far", "curl", "-sS", "-m", "3", f"http://{near}:8080/", ns="try").strip() == name
    assert cluster.exec("far", "curl", "-sS", "-m", "3", "http://web/", ns="try").strip() in web


def test_a_nodes_folders_are_its_own(cluster, web):
    """As DaemonSets take for granted: what they write is of their node, and what is mounted later is seen."""
    before = files(USUAL_PLACES)
    mount = {"name": "run", "mountPath": "/host/run", "mountPropagation": "HostToContainer"}
    cluster.pod("looks", ns="try", node="node-1", hostNetwork=True, hostPID=True,
                container={"volumeMounts": [mount], "securityContext": {"privileged": True}},
                volumes=[{"name": "run", "hostPath": {"path": "/run"}}])

    def seen():
        return int(cluster.exec("looks", "grep", "-c", " - nsfs ", "/proc/self/mountinfo", ns="try"))
    count = seen()
    cluster.pod("later", ns="try", node="node-1")
    assert seen() == count + 1
    cluster.exec("looks", "touch", "/host/run/mark", ns="try")
    assert cluster.nodes["node-1"].sh("ls", "/run/mark")
    assert "No such file" in cluster.nodes["node-2"].sh("ls", "/run/mark", check=False)
    assert cluster.exec("looks", "hostname", ns="try").strip() == "node-1"
    assert files(USUAL_PLACES) == before


def test_two_side_by_side_and_nothing_left_of_a_killed_one(cluster):
    """`make cluster` beside the cluster of this run (same addresses), its holder killed, then `make cluster-down`."""
    def command(*args):
        done = subprocess.run([sys.executable, "-m", "cluster", *args, "--name", name], cwd=TESTS, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=180)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def kubectl(*args):
        return subprocess.run([programs.path("kubectl"), f"--kubeconfig={folder}/kubeconfig", *args], check=True,
                              timeout=60, capture_output=True, text=True).stdout

    name = f"test-{os.getpid()}-{sandbox.started(os.getpid())}"
    folder, mounts = folder_of(name), pathlib.Path("/proc/self/mounts").read_text()
    before = files(USUAL_PLACES)
    try:
        said = command("up")
        assert f"KUBECONFIG={folder}/kubeconfig" in said and "make cluster-down" in said
        theirs = kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
        ours = cluster.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
        assert theirs and theirs != ours
        kubectl("run", "left", f"--image={images.TOOLS}", "--image-pull-policy=Never")
        kubectl("wait", "--for=condition=Ready", "pod/left", "--timeout=30s")
        assert kubectl("exec", "left", "--", "hostname").strip() == "left"
        holder = int((folder / "holder").read_text().split()[0])
        inside = [p for p in processes() if ancestor(p, holder)]
        assert len(inside) > 10
        spaces = {space for p in inside for space in namespaces(p)} - namespaces(os.getpid())
        os.kill(holder, signal.SIGKILL)
        wait_until(lambda: not [p for p in processes() if namespaces(p) & spaces], "processes stay behind")
    finally:
        said = command("down")
    assert "ended" in said and not folder.exists()
    assert "there is none" in command("down")
    assert pathlib.Path("/proc/self/mounts").read_text() == mounts
    assert files(USUAL_PLACES) == before
    assert not [f for _, folders, _ in os.walk("/sys/fs/cgroup") for f in folders
                if f.startswith(f"{sandbox.PREFIX}{holder}-")]
    assert cluster.kubectl("get", "--raw", "/readyz") == "ok"


def processes():
    return [int(p) for p in os.listdir("/proc") if p.isdigit()]


def files(places):
    return {os.path.join(folder, name) for place in places for folder, folders, names in os.walk(place)
            for name in [*folders, *names]}


def ancestor(pid, of):
    """Whether pid descends from of."""
    while pid > 1:
        try:
            pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            return False
        if pid == of:
            return True
    return False


def namespaces(pid):
    """The network, mount and process namespaces of a process; none when it is gone."""
    try:
        return {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "mnt", "pid")}
    except OSError:
        return set()

"""Objects that other people wrote: each one decodes and survives the way through JSON, or is refused with object and
field named. The files are read where Go keeps its modules."""
import pathlib
import re
import subprocess

import pytest

from cluster import programs
from cluster.kube_tool import BINARY

# What their authors call invalid and a file may still say here: no meaning is lost by it, and the API server
# refuses it before.
HARMLESS = {"service-account-and-namespace", "service-account-and-namespace-principal", "empty-port-level",
            "tcp-probe-invalid", "http-probe-invalid"}
# Known, not enforced: nothing of them but whom they select is read.
NOT_READ = {"EnvoyFilter", "ProxyConfig", "WasmPlugin", "Sidecar", "TrafficExtension"}


class Verdict:
    def __init__(self, line):
        self.verdict, rest = line.split(" ", 1)
        self.place, _, self.text = rest.partition(" ")
        self.file, _, self.line = self.place.rpartition(":")
        self.kind = self.text.split(" ")[0].rstrip(":")

    def __repr__(self):
        return f"{self.verdict} {self.place} {self.text}"


def read(files, folder=""):
    """The verdict on every document; the files are given below folder."""
    programs.need()
    found = []
    for at in range(0, len(files), 200):
        done = subprocess.run([BINARY / "kobj_files", *files[at:at + 200]], cwd=folder or None, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", timeout=300)
        assert done.returncode == 0, done.stdout[-3000:]
        found += [Verdict(line) for line in done.stdout.splitlines()]
    return found


def manifests(source, *folders, ends=(".yaml",)):
    root = programs.source(source)
    assert root, f"{source} is not fetched"
    return root, [str(f.relative_to(root)) for folder in folders for f in sorted((root / folder).rglob("*"))
                  if f.suffix in ends and f.is_file()]


def of(verdicts, verdict):
    return [v for v in verdicts if v.verdict == verdict]


def test_the_gateway_api_s_own_examples():
    root, files = manifests("gateway-api", "examples", "hack/invalid-examples")
    verdicts = read(files, root)
    ok = {v.file for v in of(verdicts, "ok")}
    bad = {v.file for v in of(verdicts, "refused")}
    invalid = {v.file for v in verdicts if v.file.startswith("hack/invalid") and v.kind != "UDPRoute"}
    assert len(ok) > 50 and len(invalid) > 25
    assert invalid <= bad, sorted(invalid - bad)
    assert not {f for f in bad if f.startswith("examples")}, of(verdicts, "refused")
    kinds = {v.kind for v in of(verdicts, "ok")}
    assert kinds >= {"GatewayClass", "Gateway", "HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute", "ReferenceGrant",
                     "BackendTLSPolicy", "ListenerSet"}, kinds


def test_the_gateway_api_s_conformance_suite():
    root, files = manifests("gateway-api-conformance", "tests", "base", "mesh")
    verdicts = read(files, root)
    refused = [v for v in of(verdicts, "refused") if "PLACEHOLDER" not in v.text and "{GATEWAY_" not in v.text]
    assert len(of(verdicts, "ok")) > 350 and not refused, refused


def test_istio_s_samples():
    root, files = manifests("istio", "samples")
    verdicts = read(files, root)
    refused = [v for v in of(verdicts, "refused") if v.text not in ("kind: is required", "apiVersion: is required")]
    assert len(of(verdicts, "ok")) > 150 and not refused, refused
    assert all("{{" in (root / v.file).read_text() for v in of(verdicts, "unreadable")), of(verdicts, "unreadable")


def test_what_istio_calls_valid_and_invalid(tmp_path):
    """Its own cases for its CRDs: a document with _err must be refused, one without must not."""
    root, files = manifests("istio", "pkg/config/validation/testdata/crds")
    expected = {}
    for file in files:
        for i, document in enumerate(re.split(r"^---.*$", (root / file).read_text(), flags=re.M)):
            if "kind:" in document:
                name = f"{pathlib.Path(file).stem}-{i}.yaml"
                (tmp_path / name).write_text(re.sub(r"^_err:.*\n?", "", document, flags=re.M))
                expected[name] = "_err:" in document
    verdicts = [v for v in read(sorted(expected), tmp_path) if v.verdict != "unsupported"]
    assert len(verdicts) > 50
    wrong = [v for v in verdicts if (v.verdict == "refused") != expected[v.file] and v.kind not in NOT_READ
             and not any(name in v.text for name in HARMLESS)]
    assert not wrong, wrong


@pytest.mark.parametrize("source,folders", [("istio", ["tests", "pkg", "pilot", "manifests"]),
                                            ("istio-api", ["."]),
                                            ("kubernetes", ["test", "cluster", "hack"]),
                                            ("kubernetes-api", ["testdata"])])
def test_whatever_lies_around(source, folders):
    """Templates, halves of objects, values of charts, every field filled with its own name: all get a clear answer."""
    root, files = manifests(source, *folders, ends=(".yaml", ".json"))
    verdicts = read(files, root)
    assert len(verdicts) > 30
    for v in of(verdicts, "refused"):
        assert re.match(r"(kind|apiVersion): |[A-Z]\w+( .+)?: \S+: |the document is not", v.text), v


def test_objects_of_a_real_server(api, tmp_path):
    """What the API server itself holds, as kubectl prints it, both ways."""
    listed = tmp_path / "all.json"
    listed.write_text(api.kubectl("get", "namespaces,services,serviceaccounts,endpointslices,configmaps,secrets", "-A",
                                  "-o", "json"))
    yaml = tmp_path / "all.yaml"
    yaml.write_text(api.kubectl("get", "namespaces,services,configmaps", "-A", "-o", "yaml"))
    verdicts = read([listed, yaml])
    assert {v.verdict for v in verdicts} == {"ok"}, verdicts
    assert {"Namespace", "Service", "ConfigMap"} <= {v.kind for v in verdicts}


def test_objects_of_a_real_cluster(cluster, tmp_path):
    """Everything that kubelet, scheduler and controllers have written into objects that run."""
    template = {"metadata": {"labels": {"app": "kobj"}}, "spec": {
        "terminationGracePeriodSeconds": 0, "hostname": "h", "subdomain": "s",
        "containers": [{"name": "main", "image": "docker.io/local/tools:1", "imagePullPolicy": "Never",
                        "ports": [{"name": "http", "containerPort": 80}]}]}}
    selector = {"matchLabels": {"app": "kobj"}}
    meta = {"name": "kobj", "namespace": "default"}
    cluster.apply(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta,
         "spec": {"replicas": 1, "selector": selector, "template": template}},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta,
         "spec": {"selector": {"app": "kobj"}, "ports": [{"port": 80, "targetPort": "http"}]}},
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta,
         "spec": {"minAvailable": 1, "selector": selector}},
        {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta, "spec": {
            "maxReplicas": 1, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "kobj"}}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": {
            "podSelector": selector, "ingress": [{"from": [{"namespaceSelector": {}}], "ports": [{"port": "http"}]}]}})
    cluster.kubectl("wait", "--for=condition=Available", "--timeout=60s", "deployment/kobj", timeout=70)
    kinds = {"Namespace", "Node", "Pod", "Service", "EndpointSlice", "ServiceAccount", "ConfigMap", "Deployment",
             "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"}
    listed = tmp_path / "all.json"
    listed.write_text(cluster.kubectl("get", ",".join(k.lower() for k in kinds), "-A", "-o", "json"))
    verdicts = read([listed])
    assert {v.verdict for v in verdicts} == {"ok"} and {v.kind for v in verdicts} == kinds, verdicts
    pods = [int(v.text.split()[2]) for v in of(verdicts, "ok") if v.kind == "Pod"]
    assert max(pods) < 1024, f"a pod takes {max(pods)} bytes"
    cluster.kubectl("delete", "deployment,service,pdb,hpa,networkpolicy", "kobj")


def test_routes_as_a_server_gives_them_back(api, tmp_path):
    """With the defaults that it fills in."""
    api.gateway_api("experimental")
    root, files = manifests("gateway-api", "examples/standard")
    api.kubectl("create", "namespace", "gateway-api-example-ns1", check=False)
    for file in files:
        api.kubectl("apply", "--server-side", "-f", root / file, check=False)  # some name namespaces that are not there
    kinds = ["gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants", "backendtlspolicies"]
    listed = tmp_path / "all.json"
    listed.write_text(api.kubectl("get", ",".join(f"{k}.gateway.networking.k8s.io" for k in kinds), "-A", "-o", "json"))
    verdicts = read([listed])
    assert len(verdicts) > 30 and {v.verdict for v in verdicts} == {"ok"}, of(verdicts, "refused")

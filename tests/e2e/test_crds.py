"""manifests/istio-crds: Istio's kinds for clusters without Istio, refused where Istio's own are."""
import pathlib

import pytest

from cluster import programs
from cluster.api import ApiError
from cluster.control_plane import ControlPlane
from cluster.kube_tool import KubeTool
from harness.proc import wait_until

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "manifests/istio-crds"
INSTALL = ["apply", "--server-side", "--field-manager=mesh", "-k", FOLDER]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
def plane(tmp_path):
    """A server of its own: definitions are for all of it."""
    p = ControlPlane(tmp_path / "api", "127.0.0.2")
    try:
        yield p.start()
    finally:
        p.stop()


def versions(plane):
    client = plane.client()
    found = {c["metadata"]["name"]: c["metadata"]["generation"] for c in client.get(CRDS)["items"]}
    client.close()
    return found


def test_kinds_of_istio_without_istio(plane):
    tool = KubeTool(plane.kubeconfig)
    try:
        assert tool.informer("se", "ServiceEntry") == 0
        plane.kubectl(*INSTALL)
        plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        plane.kubectl(*INSTALL)  # again: nothing to do, and no error
        assert len(versions(plane)) == 9
        entry = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "a"},
                 "spec": {"hosts": ["a.example"], "resolution": "DNS", "fieldOfTheFuture": {"deep": [1]}}}
        path = "/apis/networking.istio.io/v1/namespaces/default/serviceentries"
        client = plane.client()

        def made():
            try:
                return client.create(path, entry)
            except ApiError as e:
                return None if e.status in (404, 429) else pytest.fail(str(e))
        assert wait_until(made, "the kind takes no objects")["spec"] == entry["spec"], "a field was dropped"
        tool.wait("se problem default/a", "spec.fieldOfTheFuture: unknown field")
        client.merge(f"{path}/a", {"spec": {"fieldOfTheFuture": None}})
        tool.wait("se cleared default/a")
        assert client.get("/apis/networking.istio.io/v1alpha3/namespaces/default/serviceentries")["items"]
        said = plane.kubectl("get", "se", "a")
        assert "a.example" in said and "DNS" in said
        client.close()
    finally:
        tool.close()


@pytest.mark.parametrize("how", [["create"], ["apply", "--server-side"], ["apply"],
                                 ["apply", "--server-side", "--field-manager=helm"]],
                         ids=["created", "applied", "applied by the client", "by Helm"])
def test_where_istio_s_own_are(plane, how):
    own = programs.source("istio-api") / "kubernetes/customresourcedefinitions.gen.yaml"
    plane.kubectl(*how, "-f", own)
    before = versions(plane)
    said = plane.kubectl(*INSTALL, check=False)
    assert said.count("conflict") >= 9 and "serverside-applied" not in said, said
    assert versions(plane) == before
    client = plane.client()
    crd = client.get(f"{CRDS}/authorizationpolicies.security.istio.io")
    client.close()
    assert "rules" in str(crd["spec"]["versions"][0]["schema"]), "Istio's schema is gone"
    assert "app.kubernetes.io/managed-by" not in crd["metadata"].get("labels", {})

"""etcd and the API server: enough to test clients of the API; nodes come on top (node.py)."""
import http.client
import json
import os
import pathlib
import subprocess

from cluster import pki, programs
from cluster.api import Api, ApiError
from harness.proc import Process, wait_until

SERVICES = "10.96.0.0/16"
SERVICES_FIRST = "10.96.0.1"
DOMAIN = "cluster.local"


class ControlPlane:
    """Listens on address only, which must exist; several at once have different ones."""

    def __init__(self, folder, address="127.0.0.1", names=(), api_flags=()):
        self.folder, self.address = pathlib.Path(folder), address
        self.logs = self.folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.server = f"https://{address}:6443"
        self.processes = {}
        self.api_flags = list(api_flags)
        self._make_keys(names)
        self.kubeconfig = self.write_kubeconfig("admin", self.admin)

    def _make_keys(self, names):
        keys = self.folder / "pki"
        self.ca = pki.Authority(keys)
        self.front = pki.Authority(keys, "front-proxy-ca")
        self.sa = pki.signing_key(keys)
        self.server_names = ["DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc",
                             f"DNS:kubernetes.default.svc.{DOMAIN}", "DNS:localhost", f"IP:{SERVICES_FIRST}",
                             "IP:127.0.0.1", f"IP:{self.address}", *names]
        self.serving = self.ca.issue("apiserver", "/CN=kube-apiserver", self.server_names)
        self.kubelet_client = self.ca.issue("apiserver-kubelet", "/O=system:masters/CN=apiserver-kubelet-client")
        self.front_client = self.front.issue("front-proxy", "/CN=front-proxy-client")
        self.admin = self.ca.issue("admin", "/O=system:masters/CN=admin")

    def write_kubeconfig(self, name, pair=None, token_file=None, server=None):
        """A kubeconfig of a certificate or a token; JSON is YAML."""
        user = ({"client-certificate": str(pair[0]), "client-key": str(pair[1])} if pair
                else {"tokenFile": str(token_file)})
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "mesh",
            "clusters": [{"name": "mesh", "cluster": {"server": server or self.server,
                                                      "certificate-authority": str(self.ca.crt)}}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "mesh", "context": {"cluster": "mesh", "user": name}}]}, indent=1))
        return path

    # -- processes --

    def run(self, name, *args, netns=None, program=None, env=None):
        """A component of the cluster: started, and stopped with it."""
        self.processes[name] = Process(name, [program or programs.path(name), *args], netns=netns, env=env,
                                       log=self.logs / f"{name}.log")
        return self.processes[name]

    def fail(self, what):
        """What a component's death or silence looks like; the dead come last, where they are seen."""
        text = [what]
        for name, p in sorted(self.processes.items(), key=lambda item: not item[1].alive()):
            state = "runs" if p.alive() else f"ended with {p.p.returncode}"
            text += [f"-- {name} {state}:", *p.log().splitlines()[-4:]]
        return "\n".join(line[:400] for line in text)

    def start(self):
        programs.need()
        self.start_etcd()
        self.start_api()
        return self

    def start_etcd(self):
        self.run("etcd", "--data-dir", self.folder / "etcd", "--unsafe-no-fsync", "--log-level", "warn",
                 "--listen-client-urls", f"http://{self.address}:2379",
                 "--advertise-client-urls", f"http://{self.address}:2379",
                 "--listen-peer-urls", f"http://{self.address}:2380",
                 "--initial-advertise-peer-urls", f"http://{self.address}:2380",
                 "--initial-cluster", f"default=http://{self.address}:2380")

    def start_api(self):
        self.run("kube-apiserver", "--etcd-servers", f"http://{self.address}:2379",
                 "--bind-address", self.address, "--advertise-address", self.address, "--secure-port", "6443",
                 "--tls-cert-file", self.serving[0], "--tls-private-key-file", self.serving[1],
                 "--client-ca-file", self.ca.crt, "--authorization-mode", "Node,RBAC",
                 "--service-account-issuer", f"https://kubernetes.default.svc.{DOMAIN}",
                 "--service-account-key-file", self.sa[1], "--service-account-signing-key-file", self.sa[0],
                 "--kubelet-client-certificate", self.kubelet_client[0],
                 "--kubelet-client-key", self.kubelet_client[1],
                 "--kubelet-preferred-address-types", "InternalIP", "--enable-aggregator-routing=true",
                 "--requestheader-client-ca-file", self.front.crt,
                 "--requestheader-allowed-names", "front-proxy-client",
                 "--requestheader-extra-headers-prefix", "X-Remote-Extra-",
                 "--requestheader-group-headers", "X-Remote-Group", "--requestheader-username-headers",
                 "X-Remote-User", "--proxy-client-cert-file", self.front_client[0],
                 "--proxy-client-key-file", self.front_client[1],
                 "--service-cluster-ip-range", SERVICES, "--allow-privileged", *self.api_flags)
        self.wait_api()

    def wait_api(self):
        api = self.client(timeout=3)

        def ready():
            if not self.processes["kube-apiserver"].alive():
                raise AssertionError(self.fail("the API server ended"))
            try:
                return api.get("/readyz") == "ok" and api.get("/api/v1/namespaces/default")
            except (OSError, ApiError, http.client.HTTPException):
                return None
        try:
            wait_until(ready, lambda: self.fail("the API server is not ready"), deadline=60, every=0.1)
        finally:
            api.close()

    def stop(self):
        for p in reversed(self.processes.values()):
            p.kill()
        self.processes.clear()

    # -- use --

    def client(self, **kw):
        """A client with all rights; a token given has its own."""
        if "token" in kw:
            return Api(self.server, self.ca.crt, **kw)
        return Api(self.server, self.ca.crt, *self.admin, **kw)

    def kubectl(self, *args, text=None, check=True, timeout=60):
        done = subprocess.run([programs.path("kubectl"), "--kubeconfig", self.kubeconfig, *map(str, args)], input=text,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
                              env={**os.environ, "HOME": str(self.folder)})
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(map(str, args))}: exit {done.returncode}\n{done.stdout}")
        return done.stdout

    def apply(self, *objects):
        """Objects (or a text of documents) by server-side apply."""
        text = objects[0] if isinstance(objects[0], str) else "\n---\n".join(json.dumps(o) for o in objects)
        return self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=text)

    def token(self, ns, account, seconds=3600, audiences=()):
        """A fresh token of a ServiceAccount."""
        with_ = {"spec": {"expirationSeconds": seconds, **({"audiences": list(audiences)} if audiences else {})}}
        api = self.client()
        try:
            return api.create(f"/api/v1/namespaces/{ns}/serviceaccounts/{account}/token", with_)["status"]["token"]
        finally:
            api.close()

    def gateway_api(self, channel="standard"):
        """Installs the Gateway API's CRDs from their module."""
        folder = programs.source("gateway-api") / "config/crd" / channel
        self.kubectl("apply", "--server-side", *(f"--filename={f}" for f in sorted(folder.glob("gateway*.yaml"))))
        self.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd",
                     "gatewayclasses.gateway.networking.k8s.io", "gateways.gateway.networking.k8s.io",
                     "httproutes.gateway.networking.k8s.io")

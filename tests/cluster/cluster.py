"""A whole cluster: control plane, controllers, DNS, metrics and nodes. Everything is inside the sandbox that it is started
in (harness/sandbox.py), so it ends with it."""
import os
import pathlib
import shutil
import subprocess

from cluster import images, programs
from cluster.api import ApiError
from cluster.control_plane import DOMAIN, ControlPlane
from cluster.network import Network
from cluster.node import Node
from harness.proc import wait_until

DNS_IP = "10.96.0.10"
MESH = pathlib.Path(os.environ.get("MESH_BINARY", pathlib.Path(__file__).resolve().parents[2] / "build/mesh"))


class Cluster(ControlPlane):
    dns_ip, domain = DNS_IP, DOMAIN

    def __init__(self, folder, nodes=1, number=0):
        self.network = Network(number)
        self.pod_cidr = f"10.{65 + number}.0.0/16"
        super().__init__(folder, self.network.hub)
        self.snapshotter = "overlayfs" if self._overlay_works() else "native"
        self.images = images.standard(self.folder, MESH if MESH.exists() else None)
        self.nodes = {}
        self.names = [f"node-{i + 1}" for i in range(nodes)]

    def _overlay_works(self):
        place = self.folder / "overlay"
        parts = {name: place / name for name in ("lower", "upper", "work", "merged")}
        for part in parts.values():
            part.mkdir(parents=True)
        options = ",".join(f"{name}dir={parts[name]}" for name in ("lower", "upper", "work"))
        ok = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, parts["merged"]],
                            capture_output=True).returncode == 0
        if ok:
            subprocess.run(["umount", parts["merged"]], check=True)
        shutil.rmtree(place)
        return ok

    def end(self, name):
        if name in self.processes:
            self.processes.pop(name).kill()

    # -- start --

    def start(self):
        super().start()
        self._start_controllers()
        for name in self.names:
            self.add_node(name)
        self._start_dns()
        self._start_metrics()
        self.wait_nodes()
        return self

    def add_node(self, name):
        self.nodes[name] = Node(self, name)
        self.nodes[name].start()
        return self.nodes[name]

    def _config_of(self, name, subject):
        return self.write_kubeconfig(name, self.ca.issue(name, subject))

    def _start_controllers(self):
        config = self._config_of("controller-manager", "/CN=system:kube-controller-manager")
        self.run("kube-controller-manager", "--kubeconfig", config, "--bind-address", self.address,
                 "--root-ca-file", self.ca.crt, "--service-account-private-key-file", self.sa[0],
                 "--cluster-signing-cert-file", self.ca.crt, "--cluster-signing-key-file", self.ca.key,
                 "--use-service-account-credentials", "--leader-elect=false", "--node-monitor-period=1s",
                 "--node-monitor-grace-period=10s", "--horizontal-pod-autoscaler-sync-period=2s",
                 "--horizontal-pod-autoscaler-initial-readiness-delay=1s",
                 "--horizontal-pod-autoscaler-cpu-initialization-period=1s")
        config = self._config_of("scheduler", "/CN=system:kube-scheduler")
        self.run("kube-scheduler", "--kubeconfig", config, "--bind-address", self.address, "--leader-elect=false")

    def _service_of_hub(self, ns, name, ports, cluster_ip=None):
        """A Service whose backend is a process on the hub. ports: [(name, port, protocol, target port)]."""
        meta = {"name": name, "namespace": ns}
        spec = {"ports": [{"name": n, "port": p, "protocol": proto, "targetPort": t} for n, p, proto, t in ports]}
        if cluster_ip:
            spec["clusterIP"] = cluster_ip
        self.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec},
                   {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                    "metadata": {**meta, "labels": {"kubernetes.io/service-name": name}},
                    "ports": [{"name": n, "port": t, "protocol": proto} for n, _, proto, t in ports],
                    "endpoints": [{"addresses": [self.address], "conditions": {"ready": True}}]})

    def _start_dns(self):
        config = self._config_of("coredns", "/O=system:masters/CN=coredns")
        corefile = self.folder / "Corefile"
        corefile.write_text(f""".:53 {{
    bind {self.address}
    errors
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {config}
        pods insecure
        ttl 5
    }}
    cache 5
}}
""")
        self.run("coredns", "-conf", corefile)
        self._service_of_hub("kube-system", "kube-dns", [("dns", 53, "UDP", 53), ("dns-tcp", 53, "TCP", 53)], DNS_IP)

    def _start_metrics(self):
        config = self._config_of("metrics-server", "/O=system:masters/CN=metrics-server")
        self.run("metrics-server", "--kubeconfig", config, "--authentication-kubeconfig", config,
                 "--authorization-kubeconfig", config, "--kubelet-insecure-tls",
                 "--kubelet-preferred-address-types=InternalIP", "--metric-resolution=10s",
                 "--kubelet-request-timeout=5s", "--bind-address",
                 self.address, "--secure-port=4443", "--cert-dir", self.folder / "metrics-pki",
                 "--requestheader-client-ca-file", self.front.crt)
        self._service_of_hub("kube-system", "metrics-server", [("https", 443, "TCP", 4443)])
        self.apply({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                    "metadata": {"name": "v1beta1.metrics.k8s.io"},
                    "spec": {"group": "metrics.k8s.io", "version": "v1beta1", "insecureSkipTLSVerify": True,
                             "groupPriorityMinimum": 100, "versionPriority": 100,
                             "service": {"namespace": "kube-system", "name": "metrics-server"}}})

    def wait_nodes(self):
        client = self.client()

        def ready():
            for name, p in self.processes.items():
                if not p.alive():
                    raise AssertionError(self.fail(f"{name} ended"))
            try:
                items = client.get("/api/v1/nodes")["items"]
                client.get("/api/v1/namespaces/default/serviceaccounts/default")  # pods can be made
            except ApiError:
                return False
            up = [n["metadata"]["name"] for n in items for c in n["status"].get("conditions", [])
                  if c["type"] == "Ready" and c["status"] == "True"]
            return set(up) >= set(self.nodes)
        wait_until(ready, lambda: self.fail("the nodes are not ready"), deadline=90, every=0.1)
        client.close()

    # -- use --

    def load_image(self, name, files, entrypoint, links=()):
        """An image of local files on every node; pods name it with imagePullPolicy Never or IfNotPresent."""
        file = self.folder / f"{name.replace('/', '_').replace(':', '_')}.tar"
        images.archive(file, name, files, entrypoint, links)
        self.images.append(file)
        for node in self.nodes.values():
            node.load(file)

    def pod(self, name, command=None, ns="default", node=None, labels=None, image=images.TOOLS, **spec):
        """Makes a pod of the tools image and waits for it; returns its address."""
        container = {"name": "main", "image": image, "imagePullPolicy": "Never"}
        if command:
            container["command"] = command
        container.update(spec.pop("container", {}))
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": ns,
                                                                    "labels": labels or {"app": name}},
                    "spec": {"terminationGracePeriodSeconds": 0, "containers": [container],
                             **({"nodeName": node} if node else {}), **spec}})
        return self.wait_pod(name, ns)

    def wait_pod(self, name, ns="default", deadline=60):
        client = self.client()

        def ready():
            try:
                found = client.get(f"/api/v1/namespaces/{ns}/pods/{name}")
            except ApiError:
                return None
            ok = any(c["type"] == "Ready" and c["status"] == "True" for c in found["status"].get("conditions", []))
            return found["status"].get("podIP") if ok else None
        try:
            return wait_until(ready, lambda: self.kubectl("-n", ns, "describe", "pod", name)[-2500:], deadline, 0.1)
        finally:
            client.close()

    def exec(self, pod, *command, ns="default", check=True, timeout=30):
        return self.kubectl("-n", ns, "exec", pod, "--", *command, check=check, timeout=timeout)

    def stop(self):
        for node in self.nodes.values():
            node.stop()
        super().stop()
        self.network.close()

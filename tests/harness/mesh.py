"""A mesh of several nodes, made of the real roles in file mode."""
import json
import os
import pathlib
import re
import subprocess
import urllib.request
import uuid

from harness import net
from harness.proc import Process, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("MESH_BINARY", str(ROOT / "build/mesh"))
ANNOTATION = "ambient.istio.io/redirection: enabled"


def http_get(url, netns=None, timeout=5):
    """(status, body) of a plain GET; (0, reason) without an answer."""
    def get():
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(url, timeout=timeout) as r:
                return r.status, r.read().decode(errors="replace")
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode(errors="replace")
        except (OSError, ValueError) as e:
            return 0, str(e)
    if not netns:
        return get()
    with net.entered(netns):
        return get()


class Pod:
    def __init__(self, mesh, name, node, ns, sa, labels, captured):
        self.mesh, self.name, self.node, self.ns, self.sa, self.labels = mesh, name, node, ns, sa, labels
        self.uid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{ns}/{name}"))
        self.captured, self.annotated = captured, False
        self.netns = f"{name}.{ns}"[:60]
        self.ip = mesh.net.pod(self.netns, node)
        self.procs = []

    @property
    def identity(self):
        return f"spiffe://cluster.local/ns/{self.ns}/sa/{self.sa}"

    def run(self, name, *command, **kw):
        """A process inside the pod."""
        p = Process(f"{self.name}/{name}", command, netns=self.netns, log=self.mesh.dir / f"{self.name}.{name}.log", **kw)
        self.procs.append(p)
        self.mesh.apps.append(p)
        return p

    def sh(self, *command, **kw):
        return net.sh(*command, netns=self.netns, **kw)

    def entered(self):
        return net.entered(self.netns)

    def yaml(self):
        labels = ", ".join(f"{k}: {json.dumps(v)}" for k, v in self.labels.items())
        annotations = f"\n  annotations: {{{ANNOTATION}}}" if self.annotated else ""
        return (f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {self.name}\n  namespace: {self.ns}\n  uid: {self.uid}\n"
                f"  labels: {{{labels}}}{annotations}\nspec:\n  nodeName: {self.node}\n  serviceAccountName: {self.sa}\n"
                f"  containers:\n  - name: app\nstatus:\n  phase: Running\n  podIP: {self.ip}\n  podIPs: [{{ip: {self.ip}}}]\n"
                f"  conditions: [{{type: Ready, status: \"True\"}}]\n")


class Mesh:
    def __init__(self, directory, nodes=("node-1", "node-2"), ztunnel=None, namespace_labels="istio.io/dataplane-mode: ambient"):
        """ztunnel: node name -> path of a foreign (Istio) ztunnel; others get ours."""
        self.dir = pathlib.Path(directory)
        self.source, self.state, self.foreign = self.dir / "source", self.dir / "state", ztunnel or {}
        self.source.mkdir(parents=True)
        self.net = net.Network()
        self.nodes = {n: self.net.node(n) for n in nodes}
        self.pods, self.agents, self.ztunnels, self.apps = {}, {}, {}, []
        self.controller, self.objects, self.namespace_labels = None, {}, namespace_labels
        self.namespaces = {"istio-system": "", "shop": namespace_labels}

    # -- objects --

    def apply(self, name, text):
        """Writes a file of the source folder, as an editor does: at once."""
        target = self.source / f"{name}.yaml"
        temp = self.source / f".{name}.tmp"
        temp.write_text(text)
        temp.rename(target)
        return target

    def remove(self, name):
        (self.source / f"{name}.yaml").unlink()

    def write_base(self):
        docs = [f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {n}, labels: {{{l}}}}}\n" for n, l in self.namespaces.items()]
        docs += [f"apiVersion: v1\nkind: Node\nmetadata: {{name: {n}}}\n" for n in self.nodes]
        self.apply("base", "---\n".join(docs))

    def write_pods(self):
        accounts = sorted({(p.ns, p.sa) for p in self.pods.values()})
        docs = [f"apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {sa}, namespace: {ns}}}\n" for ns, sa in accounts]
        docs += [p.yaml() for p in self.pods.values()]
        self.apply("pods", "---\n".join(docs))

    def service(self, name, vip, ports, selector, ns="shop", extra=""):
        text = ", ".join(f"{{name: p{p}, port: {p}, targetPort: {t}, protocol: TCP}}" for p, t in ports)
        sel = ", ".join(f"{k}: {v}" for k, v in selector.items())
        self.apply(f"svc-{name}", f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {ns}}}\nspec:\n"
                                  f"  clusterIP: {vip}\n  clusterIPs: [{vip}]\n  ports: [{text}]\n  selector: {{{sel}}}\n{extra}")

    def pod(self, name, node, sa=None, labels=None, ns="shop", captured=True):
        p = Pod(self, name, node, ns, sa or name, {"app": name, **(labels or {})}, captured)
        if not captured:
            p.labels["istio.io/dataplane-mode"] = "none"
        self.pods[(ns, name)] = p
        return p

    # -- roles --

    def role(self, name, command, **kw):
        return Process(name, command, log=self.dir / f"{name}.log", **kw)

    def start_controller(self, *extra):
        self.controller = self.role("controller", [BINARY, "controller", "--source", self.source, "--state", self.state,
                                                   "--listen-grpc", f"{self.net.HUB}:15012", *extra])
        self.wait_controller()

    def wait_controller(self):
        wait_until(lambda: http_get("http://127.0.0.1:8080/ready")[0] == 200 or not self.controller.alive(),
                   "controller ready")
        assert self.controller.alive(), self.controller.log()

    def node_dir(self, node):
        d = self.dir / node
        d.mkdir(exist_ok=True)
        return d

    def start_agent(self, node, *extra):
        d = self.node_dir(node)
        self.agents[node] = self.role(f"agent-{node}", [
            BINARY, "cni", "agent", "--source", self.source, "--node", node, "--cni-socket", d / "cni.sock", "--zds-socket",
            d / "zds.sock", "--state", d, "--admin", "127.0.0.1:15100", "--metrics", "127.0.0.1:15102", "--readiness",
            "127.0.0.1:15101", *extra], netns=node)

    def start_ztunnel(self, node, *extra, env=None):
        d, token, root = self.node_dir(node), self.state / "tokens/node" / node, self.state / "root-cert.pem"
        url = f"https://{self.net.HUB}:15012"
        if node in self.foreign:
            command, cwd = [self.foreign[node]], d
            env = {"XDS_ADDRESS": url, "CA_ADDRESS": url, "XDS_ROOT_CA": str(root), "CA_ROOT_CA": str(root),
                   "AUTH_TOKEN": str(token), "NODE_NAME": node, "INPOD_UDS": str(d / "zds.sock"), "POD_NAME": f"ztunnel-{node}",
                   "POD_NAMESPACE": "istio-system", "INSTANCE_IP": self.nodes[node], "CLUSTER_ID": "Kubernetes",
                   "RUST_LOG": "info", **(env or {})}
        else:
            command = [BINARY, "ztunnel", "--node", node, "--xds-address", url, "--root-ca", root, "--token", token,
                       "--inpod-uds", d / "zds.sock", "--instance-ip", self.nodes[node], *extra]
            cwd = d
        self.ztunnels[node] = self.role(f"ztunnel-{node}", command, netns=node, env=env, cwd=cwd)

    def wait_node(self, node):
        for role, port in ((self.agents[node], 15101), (self.ztunnels[node], 15021)):
            wait_until(lambda: http_get(f"http://127.0.0.1:{port}/healthz/ready", node)[0] == 200 or not role.alive(),
                       lambda: f"{role.name} ready: {role.log()[-2000:]}")
            assert role.alive(), role.log()[-3000:]

    def start(self):
        self.write_base()
        self.write_pods()
        self.start_controller()
        for node in self.nodes:
            self.start_agent(node)
            self.start_ztunnel(node)
        for node in self.nodes:
            self.wait_node(node)
        for p in list(self.pods.values()):
            self.enrol(p, settle=False)
        self.settle()
        return self

    # -- enrolment --

    def cni(self, command, pod, stdin=None, env=None, timeout=60):
        """The plug-in, as a runtime executes it: (exit, output as JSON when it is)."""
        d = self.node_dir(pod.node)
        config = {"cniVersion": "1.0.0", "name": "k8s-pod-network", "type": "mesh-cni", "socket": str(d / "cni.sock"),
                  "state": str(d),
                  "prevResult": {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": net.path(pod.netns)}],
                                 "ips": [{"interface": 0, "address": f"{pod.ip}/24", "gateway": pod.ip.rsplit(".", 1)[0] + ".1"}]}}
        variables = {"CNI_COMMAND": command, "CNI_CONTAINERID": pod.uid.replace("-", ""), "CNI_NETNS": net.path(pod.netns),
                     "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin",
                     "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={pod.ns};K8S_POD_NAME={pod.name};K8S_POD_UID={pod.uid}",
                     **(env or {})}
        done = subprocess.run([*net.inside(pod.node), BINARY], executable=None, env=variables | {"PATH": os.environ["PATH"]},
                              input=json.dumps(config).encode() if stdin is None else stdin, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout)
        text = done.stdout.decode(errors="replace")
        try:
            return done.returncode, json.loads(text)
        except ValueError:
            return done.returncode, text

    def shown(self, pod):
        """Does the agent show the pod as captured?"""
        return pod.uid in http_get("http://127.0.0.1:15100/config_dump", pod.node)[1]

    def enrol(self, pod, settle=True):
        code, out = self.cni("ADD", pod)
        assert code == 0, f"plug-in: {out}\n{self.agents[pod.node].log()[-2000:]}"
        if pod.captured:
            wait_until(lambda: self.shown(pod), f"the agent shows {pod.name}")
            pod.annotated = True
        if settle:
            self.settle()

    def settle(self):
        """Writes the pods as they are now, and waits until every ztunnel knows them."""
        self.write_pods()
        for node, z in self.ztunnels.items():
            wait_until(lambda: self.knows(node), lambda: f"{z.name} knows every pod: {z.log()[-1500:]}", deadline=30)

    def dump(self, node):
        status, text = http_get("http://127.0.0.1:15000/config_dump", node)
        return json.loads(text) if status == 200 else {}

    def knows(self, node):
        have = {w.get("uid"): w for w in as_list(self.dump(node).get("workloads"))}
        for p in self.pods.values():
            w = have.get(f"Kubernetes//Pod/{p.ns}/{p.name}")
            if not w or (w["protocol"] == "HBONE") != p.annotated:
                return False
        return True

    # -- what is seen --

    def metrics(self, node):
        """{(name, labels as text): value} of the ztunnel of a node."""
        rows = {}
        for line in http_get("http://127.0.0.1:15020/metrics", node)[1].splitlines():
            m = re.match(r"([a-z_0-9]+)(\{.*\})? ([0-9.e+-]+)$", line)
            if m:
                rows[(m.group(1), m.group(2) or "")] = float(m.group(3))
        return rows

    def sum(self, node, name, *labels):
        return sum(v for (n, l), v in self.metrics(node).items() if n == name and all(x in l for x in labels))

    def close(self):
        for p in [*self.apps, *self.ztunnels.values(), *self.agents.values(), self.controller]:
            if p and p.alive():
                p.kill()
        self.net.close()


def as_list(value):
    return list(value.values()) if isinstance(value, dict) else value or []

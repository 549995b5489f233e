"""A node of a cluster: containerd, kubelet and kube-proxy on a machine made of namespaces (machine.py)."""
import json

from cluster import images, programs
from cluster.machine import Machine
from harness.proc import wait_until


SOCKET = "/run/containerd/containerd.sock"


class Node:
    """Paths of the node are the usual ones; folder is ours, and seen by it."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name
        self.folder = cluster.folder / name
        self.folder.mkdir()
        self.netns, self.ip, self.pods = cluster.network.add_node(name)
        self.machine = Machine(name, self.netns, self.folder, cluster.logs / f"{name}.log")

    def start(self):
        self._write_containerd()
        self._write_cni()
        self._write_kubelet()
        self.start_containerd()
        self.start_kubelet()
        self.start_kube_proxy()

    def _run(self, name, program, *args, **kw):
        nsenter, *rest = self.machine.inside(program, *args)
        return self.cluster.run(f"{self.name}-{name}", *rest, program=nsenter, **kw)

    def sh(self, *command, **kw):
        """Runs a command on the node; returns its output."""
        return self.machine.sh(*command, **kw)

    # -- containerd --

    def _write_containerd(self):
        (self.folder / "containerd.toml").write_text(f"""version = 2
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "{self.cluster.snapshotter}"
""")

    def start_containerd(self):
        path = ":".join(programs.DEBIAN.folders())  # of its shim and of runc
        self._run("containerd", programs.path("containerd"), "--config", self.folder / "containerd.toml",
                  env={"PATH": path})
        wait_until(self.machine.path(SOCKET).exists, lambda: self.cluster.fail("containerd has no socket"), deadline=30)
        for image in self.cluster.images:
            self.load(image)

    def load(self, archive):
        self.sh(programs.path("ctr"), "--namespace", "k8s.io", "images", "import", "--digests=false", archive,
                timeout=120)

    # -- CNI --

    def _write_cni(self):
        """A veth a pod and a route to it: all traffic passes the node's rules, also between its own pods."""
        binaries, config = self.machine.path("/opt/cni/bin"), self.machine.path("/etc/cni/net.d")
        config.mkdir(parents=True, exist_ok=True)
        binaries.mkdir(parents=True)
        for plugin in programs.DEBIAN.plugins().iterdir():
            (binaries / plugin.name).symlink_to(plugin)
        ipam = {"type": "host-local", "ranges": [[{"subnet": self.pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
        (config / "10-pods.conflist").write_text(json.dumps({
            "cniVersion": "0.4.0", "name": "pods",
            "plugins": [{"type": "ptp", "ipMasq": False, "ipam": ipam},
                        {"type": "portmap", "capabilities": {"portMappings": True}}]}))

    # -- kubelet --

    def _write_kubelet(self):
        c = self.cluster
        pair = c.ca.issue(self.name, f"/O=system:nodes/CN=system:node:{self.name}",
                          [f"IP:{self.ip}", f"DNS:{self.name}"])
        self.kubeconfig = c.write_kubeconfig(f"kubelet-{self.name}", pair)
        (self.folder / "kubelet.json").write_text(json.dumps({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {"x509": {"clientCAFile": str(c.ca.crt)}, "webhook": {"enabled": True},
                               "anonymous": {"enabled": False}},
            "authorization": {"mode": "Webhook"}, "tlsCertFile": str(pair[0]), "tlsPrivateKeyFile": str(pair[1]),
            "address": self.ip, "healthzPort": 0, "failSwapOn": False, "failCgroupV1": False,
            "cgroupDriver": "cgroupfs", "cgroupsPerQOS": False, "enforceNodeAllocatable": [], "resolvConf": "",
            "clusterDNS": [c.dns_ip], "clusterDomain": c.domain, "containerRuntimeEndpoint": f"unix://{SOCKET}",
            "localStorageCapacityIsolation": False, "imageMinimumGCAge": "24h", "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
                             "imagefs.available": "0%"},
            "syncFrequency": "5s", "nodeStatusUpdateFrequency": "2s", "serializeImagePulls": False,
            "volumePluginDir": "/var/lib/kubelet/volume-plugins", "maxPods": 100, "shutdownGracePeriod": "0s"}))

    def start_kubelet(self):
        self._run("kubelet", programs.path("kubelet"), "--config", self.folder / "kubelet.json",
                  "--kubeconfig", self.kubeconfig, "--cert-dir", self.folder / "kubelet-pki",
                  "--hostname-override", self.name, "--node-ip", self.ip)

    def start_kube_proxy(self):
        pair = self.cluster.ca.issue(f"kube-proxy-{self.name}", "/CN=system:kube-proxy")
        config = self.cluster.write_kubeconfig(f"kube-proxy-{self.name}", pair)
        self._run("kube-proxy", programs.path("kube-proxy"), "--proxy-mode=nftables", "--kubeconfig", config,
                  "--hostname-override", self.name, "--cluster-cidr", self.cluster.pod_cidr,
                  "--conntrack-max-per-core=0",
                  "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
                  "--bind-address", self.ip, "--healthz-bind-address=", f"--metrics-bind-address={self.ip}:10249")

    def stop(self):
        """Its pods end with the machine."""
        for name in ("kube-proxy", "kubelet", "containerd"):
            self.cluster.end(f"{self.name}-{name}")
        self.machine.stop()

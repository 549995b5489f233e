"""A node of a cluster: containerd, kubelet and kube-proxy in a network namespace."""
import json
import os
import pathlib
import signal
import subprocess

from cluster import images, programs
from harness import net
from harness.proc import wait_until


class Node:
    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name
        self.folder = cluster.folder / name
        self.folder.mkdir()
        self.netns, self.ip, self.pods = cluster.network.add_node(name)
        # sockets' paths are short by law, and /run is the sandbox's own
        self.run_folder = pathlib.Path(f"/run/{self.netns}")
        self.run_folder.mkdir()
        self.socket = self.run_folder / "containerd.sock"

    def start(self):
        self._write_containerd()
        self._write_cni()
        self._write_kubelet()
        self.start_containerd()
        self.start_kubelet()
        self.start_kube_proxy()

    def _run(self, name, *args, **kw):
        return self.cluster.run(f"{self.name}-{name}", *args, netns=self.netns, **kw)

    # -- containerd --

    def _write_containerd(self):
        (self.folder / "containerd.toml").write_text(f"""version = 2
root = "{self.folder}/containerd"
state = "{self.run_folder}/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "{self.cluster.snapshotter}"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{self.folder}/cni/bin"
  conf_dir = "{self.folder}/cni/net.d"
""")

    def start_containerd(self):
        path = ":".join(programs.DEBIAN.folders())  # of its shim and of runc
        self._run("containerd", "--config", self.folder / "containerd.toml", program=programs.path("containerd"),
                  env={"PATH": path})
        wait_until(self.socket.exists, lambda: self.cluster.fail("containerd has no socket"), deadline=30)
        for image in self.cluster.images:
            self.load(image)

    def ctr(self, *args, check=True):
        command = [programs.path("ctr"), "--address", self.socket, "--namespace", "k8s.io"]
        return net.sh(*command, *args, check=check, timeout=120)

    def load(self, archive):
        self.ctr("images", "import", "--digests=false", archive)

    # -- CNI --

    def _write_cni(self):
        """A veth a pod and a route to it: all traffic passes the node's rules, also between its own pods."""
        binaries, config = self.folder / "cni/bin", self.folder / "cni/net.d"
        config.mkdir(parents=True)
        binaries.mkdir()
        for plugin in programs.DEBIAN.plugins().iterdir():
            (binaries / plugin.name).symlink_to(plugin)
        ipam = {"type": "host-local", "ranges": [[{"subnet": self.pods}]], "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": str(self.run_folder / "ipam")}
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
            "clusterDNS": [c.dns_ip], "clusterDomain": c.domain, "containerRuntimeEndpoint": f"unix://{self.socket}",
            "localStorageCapacityIsolation": False, "imageMinimumGCAge": "24h", "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
                             "imagefs.available": "0%"},
            "syncFrequency": "5s", "nodeStatusUpdateFrequency": "2s", "serializeImagePulls": False,
            "volumePluginDir": str(self.folder / "volume-plugins"), "maxPods": 100,
            "podLogsDir": str(self.folder / "pod-logs"), "shutdownGracePeriod": "0s"}))

    def start_kubelet(self):
        self._run("kubelet", "--config", self.folder / "kubelet.json", "--kubeconfig", self.kubeconfig,
                  "--root-dir", self.folder / "kubelet", "--cert-dir", self.folder / "kubelet-pki",
                  "--hostname-override", self.name, "--node-ip", self.ip,
                  program=self.cluster.program("kubelet"))

    def start_kube_proxy(self):
        pair = self.cluster.ca.issue(f"kube-proxy-{self.name}", "/CN=system:kube-proxy")
        config = self.cluster.write_kubeconfig(f"kube-proxy-{self.name}", pair)
        self._run("kube-proxy", "--proxy-mode=nftables", "--kubeconfig", config, "--hostname-override", self.name,
                  "--cluster-cidr", self.cluster.pod_cidr, "--conntrack-max-per-core=0",
                  "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
                  "--bind-address", self.ip, "--healthz-bind-address=", f"--metrics-bind-address={self.ip}:10249",
                  program=self.cluster.program("kube-proxy"))

    def stop(self):
        """What runs on it first: pods outlive their runtime."""
        for name in ("kube-proxy", "kubelet"):
            self.cluster.end(f"{self.name}-{name}")
        if self.cluster.running(f"{self.name}-containerd"):
            for task in self.ctr("tasks", "list", "-q", check=False).split():
                self.ctr("tasks", "kill", "--signal", "SIGKILL", "--all", task, check=False)
        self.cluster.end(f"{self.name}-containerd")
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if str(self.socket) in (process / "cmdline").read_text().split("\0"):  # a shim of ours
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:
                pass
        self._unmount()

    def _unmount(self):
        roots = (str(self.folder), str(self.run_folder))
        for line in reversed(pathlib.Path("/proc/self/mounts").read_text().splitlines()):
            at = line.split()[1].encode().decode("unicode_escape")
            if at.startswith(roots):
                subprocess.run(["umount", "-l", at], capture_output=True)

"""The network of a cluster: a hub (the namespace that it is made in) with a bridge to its nodes, each a namespace. Several
of one hub have different numbers."""
from harness import net


class Network:
    def __init__(self, number=0):
        self.number, self.nodes = number, {}
        self.bridge = f"kube{number}"
        self.hub = f"10.64.{number}.1"
        net.sh("ip", "link", "add", self.bridge, "type", "bridge")
        net.sh("ip", "addr", "add", f"{self.hub}/24", "dev", self.bridge)
        net.sh("ip", "link", "set", self.bridge, "up")
        net.sh("sysctl", "-qw", "net.ipv4.ip_forward=1")

    def pods(self, i):
        return f"10.{65 + self.number}.{i}.0/24"

    def add_node(self, name):
        """Returns (namespace, address, pod subnet)."""
        i = len(self.nodes) + 1
        netns, ip, link = f"{self.bridge}-{name}", f"10.64.{self.number}.{9 + i}", f"{self.bridge}-{i}"
        net.add(netns)
        net.sh("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", netns)
        net.sh("ip", "link", "set", link, "master", self.bridge, "up")
        for args in (["addr", "add", f"{ip}/24", "dev", "eth0"], ["link", "set", "eth0", "up"],
                     ["route", "add", "default", "via", self.hub]):
            net.sh("ip", "-n", netns, *args)
        net.sh("sysctl", "-qw", "net.ipv4.ip_forward=1", netns=netns)
        net.sh("ip", "route", "add", self.pods(i), "via", ip)  # the nodes reach each other's pods by the hub's routes
        for other, (k, other_ip) in self.nodes.items():
            net.sh("ip", "-n", netns, "route", "add", self.pods(k), "via", other_ip)
            net.sh("ip", "-n", f"{self.bridge}-{other}", "route", "add", self.pods(i), "via", ip)
        self.nodes[name] = (i, ip)
        return netns, ip, self.pods(i)

    def close(self):
        for name in self.nodes:
            net.sh("ip", "netns", "del", f"{self.bridge}-{name}", check=False)
        net.sh("ip", "link", "del", self.bridge, check=False)

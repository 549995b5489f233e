"""Network namespaces with addresses, by iproute2: independent of the code under test."""
import os
import subprocess


def sh(*args, netns=None, check=True, timeout=60, **kw):
    """Runs a command, in a namespace when named; returns its output."""
    command = [*inside(netns), *map(str, args)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, **kw)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}")
    return done.stdout


def inside(netns):
    return ["nsenter", f"--net={path(netns)}"] if netns else []


def path(netns):
    return f"/run/netns/{netns}"


def add(netns):
    sh("ip", "netns", "add", netns)
    sh("ip", "-n", netns, "link", "set", "lo", "up")


def delete(netns):
    sh("ip", "netns", "del", netns)


class Network:
    """A hub (the sandbox's own namespace), nodes on a bridge of it, pods on a bridge of each node."""

    HUB = "192.168.100.1"

    def __init__(self):
        self.nodes, self.pods = {}, {}
        sh("ip", "link", "add", "br0", "type", "bridge")
        sh("ip", "addr", "add", f"{self.HUB}/24", "dev", "br0")
        sh("ip", "link", "set", "br0", "up")

    def node(self, name):
        i = len(self.nodes) + 1
        add(name)
        ip = f"192.168.100.{9 + i}"
        sh("ip", "link", "add", f"link-{i}", "type", "veth", "peer", "name", "eth0", "netns", name)
        sh("ip", "link", "set", f"link-{i}", "master", "br0", "up")
        for args in (["addr", "add", f"{ip}/24", "dev", "eth0"], ["link", "set", "eth0", "up"],
                     ["link", "add", "cni0", "type", "bridge"], ["addr", "add", f"10.244.{i}.1/24", "dev", "cni0"],
                     ["link", "set", "cni0", "up"]):
            sh("ip", "-n", name, *args)
        sh("sysctl", "-qw", "net.ipv4.ip_forward=1", netns=name)
        for other, (k, other_ip) in self.nodes.items():
            sh("ip", "-n", name, "route", "add", f"10.244.{k}.0/24", "via", other_ip)
            sh("ip", "-n", other, "route", "add", f"10.244.{i}.0/24", "via", ip)
        self.nodes[name] = (i, ip)
        return ip

    def pod(self, name, node):
        """Makes the namespace and returns its address."""
        i = self.nodes[node][0]
        n = len([p for p in self.pods.values() if p == node]) + 10
        ip = f"10.244.{i}.{n}"
        add(name)
        sh("ip", "-n", node, "link", "add", f"p{n}", "type", "veth", "peer", "name", "eth0", "netns", name)
        sh("ip", "-n", node, "link", "set", f"p{n}", "master", "cni0", "up")
        for args in (["addr", "add", f"{ip}/24", "dev", "eth0"], ["link", "set", "eth0", "up"],
                     ["route", "add", "default", "via", f"10.244.{i}.1"]):
            sh("ip", "-n", name, *args)
        self.pods[name] = node
        return ip


    def close(self):
        for i, _ in self.nodes.values():  # a namespace goes in its own time, with its devices
            sh("ip", "link", "del", f"link-{i}")
        for name in [*self.pods, *self.nodes]:
            sh("ip", "netns", "del", name, check=False)
        sh("ip", "link", "del", "br0")


class entered:
    """The calling thread is inside a namespace for the length of a with block."""

    def __init__(self, netns):
        self.netns = netns

    def __enter__(self):
        self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        fd = os.open(path(self.netns), os.O_RDONLY)
        setns(fd)
        os.close(fd)

    def __exit__(self, *exc):
        setns(self.home)
        os.close(self.home)


def setns(fd):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), "setns")

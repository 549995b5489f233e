"""A cluster that stays, for trying things by hand:

    python3 -m cluster up [--name NAME] [--nodes N]    starts one and says how to use it
    python3 -m cluster down [--name NAME | --all]      ends it, also after a crash
"""
import argparse
import fcntl
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from cluster import programs
from harness import sandbox
from harness.proc import wait_until

PREFIX = "mesh-cluster-"


def say(text):
    print(f"==> {text}", file=sys.stderr, flush=True)


def folder_of(name):
    return pathlib.Path(tempfile.gettempdir()) / f"{PREFIX}{name}"


# -- the process that holds it: outside the sandbox it waits, inside it is the cluster --

def outer(folder, nodes, fd):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    (folder / "holder").write_text(f"{os.getpid()} {sandbox.started(os.getpid())}")
    sys.exit(sandbox.run([sys.executable, "-m", "cluster", "inner", str(folder), str(nodes), str(fd)], pass_fds=[fd]))


def _pipe(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        for s in (a, b):
            s.close()


def _forward(listener, address):
    """The listener is of the machine's own network, the connections are of the sandbox's."""
    while True:
        ours, _ = listener.accept()
        try:
            theirs = socket.create_connection(address, timeout=10)
        except OSError:
            ours.close()
            continue
        theirs.settimeout(None)
        for pair in ((ours, theirs), (theirs, ours)):
            threading.Thread(target=_pipe, args=pair, daemon=True).start()


def inner(folder, nodes, fd):
    from cluster.cluster import Cluster
    listener = socket.socket(fileno=fd)
    c = Cluster(folder / "state", nodes=nodes).start()
    port = listener.getsockname()[1]
    config = json.loads(c.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    (folder / "kubeconfig.new").write_text(json.dumps(config, indent=1))
    (folder / "kubeconfig.new").rename(folder / "kubeconfig")
    _forward(listener, (c.address, 6443))


# -- commands --

def _holder(folder):
    """The holder's PID while it lives."""
    try:
        pid, started = (folder / "holder").read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if sandbox.started(int(pid)) == started else None


def _start_holder(folder, nodes):
    """Returns when it can be ended by its name."""
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as listener, open(folder / "log", "w") as log:
        holder = subprocess.Popen([sys.executable, "-m", "cluster", "outer", str(folder), str(nodes),
                                   str(listener.fileno())], pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL,
                                  stdout=log, stderr=log, start_new_session=True)
    wait_until(lambda: holder.poll() is not None or _holder(folder), "the holder does not start")
    return holder


def up(name, nodes):
    if os.geteuid():
        raise SystemExit("error: a cluster is made of namespaces and cgroups, which takes root\n"
                         "remedy: run it as root")
    programs.build(say)
    began, folder = time.monotonic(), folder_of(name)
    with open(programs.FOLDER / "up.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _holder(folder):
            raise SystemExit(f"error: cluster \"{name}\" runs already: {folder}\nremedy: end it (make cluster-down), "
                             "or choose another NAME")
        down(name)
        holder = _start_holder(folder, nodes)

    def ready():
        return holder.poll() is not None or (folder / "kubeconfig").exists()
    try:
        wait_until(ready, "", deadline=120, every=0.1)
        failed = holder.poll() is not None
    except AssertionError:
        failed = True
    except KeyboardInterrupt:
        down(name)
        raise SystemExit(130)
    if failed:  # its logs stay
        holder.terminate()
        raise SystemExit(f"error: the cluster did not start; its logs are in {folder}\n"
                         f"{(folder / 'log').read_text()[-3000:]}")
    say(f"cluster \"{name}\" is ready after {time.monotonic() - began:.0f} s: {nodes} node(s), DNS, Services, metrics")
    kubectl = programs.path("kubectl")
    print(f"export KUBECONFIG={folder}/kubeconfig PATH={kubectl.parent}:$PATH\n"
          "kubectl get nodes,pods -A\n"
          "kubectl run try --image=docker.io/local/tools:1 --image-pull-policy=Never   # busybox and curl\n"
          "kubectl exec try -- nslookup kubernetes.default.svc.cluster.local\n"
          "kubectl run mesh --image=docker.io/local/mesh:1 --image-pull-policy=Never --restart=Never -- version\n"
          f"# logs of its components: {folder}/state/logs; to end it: make cluster-down")


def down(name):
    """True: there was something to end."""
    folder = folder_of(name)
    pid = _holder(folder)
    if pid:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not _holder(folder), "the holder does not end", deadline=30)
    sandbox.sweep()
    there = folder.exists()
    shutil.rmtree(folder, ignore_errors=True)
    return there


def main():
    if len(sys.argv) > 1 and sys.argv[1] in ("outer", "inner"):
        globals()[sys.argv[1]](pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
        return
    p = argparse.ArgumentParser(prog="cluster", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("command", choices=["up", "down"])
    p.add_argument("--name", default="mesh")
    p.add_argument("--nodes", type=int, default=1, choices=[0, 1, 2, 3])
    p.add_argument("--all", action="store_true")
    opts = p.parse_args()
    if opts.command == "up":
        up(opts.name, opts.nodes)
        return
    names = [f.name.removeprefix(PREFIX) for f in folder_of("").parent.glob(f"{PREFIX}*")] if opts.all else [opts.name]
    for name in names:
        say(f"cluster \"{name}\": ended" if down(name) else f"cluster \"{name}\": there is none")


if __name__ == "__main__":
    main()

"""The machine that a node is: network, mount, PID and host name of its own, with the folders that a node's programs write
to at their usual places. All of it ends with its first process."""
import pathlib
import shutil
import subprocess

from cluster import programs
from harness import net
from harness.proc import Process, wait_until

EMPTY = ["/opt", "/var/lib", "/var/log"]  # of /etc it has a copy, /run is in memory


class Machine:
    """name is the host's; netns exists. folder is empty and on a disk. Several look at one folder outside of EMPTY."""

    def __init__(self, name, netns, folder, log):
        self.name, self.netns, self.folder = name, netns, pathlib.Path(folder)
        self.root = self.folder / "root"
        for place in EMPTY:
            (self.root / place[1:]).mkdir(parents=True)
        subprocess.run(["cp", "-a", "/etc", self.root], check=True)
        shutil.rmtree(self.root / "etc/cni", ignore_errors=True)  # not the machine's own pod network
        self.started = self.folder / "started"
        self.holder = Process(f"{name}-machine", ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child",
                                                  "--mount-proc", "sh", "-ec", self._script()], netns=netns, log=log)
        wait_until(self._is_up, lambda: f"{name} does not start: {self.holder.log()}")
        children = f"/proc/{self.holder.pid}/task/{self.holder.pid}/children"
        self.pid = int(pathlib.Path(children).read_text().split()[0])

    def _script(self):
        lines = []
        for place in ("/etc", *EMPTY):
            own = f"{self.root}{place}"
            for needed in (programs.FOLDER, self.folder.parent):  # what is there, and we need
                if pathlib.Path(place) in needed.parents:
                    inner = f"{own}/{needed.relative_to(place)}"
                    lines.append(f"mkdir -p {inner}; mount --rbind {needed} {inner}")
            if pathlib.Path(place).is_dir():
                lines.append(f"mount --rbind {own} {place}")
        return "\n".join([*lines, "mount -t tmpfs -o mode=755 tmpfs /run", "mkdir /run/netns", "mount --make-rshared /",
                          f"hostname {self.name}", f"echo >{self.started}",
                          "sleep 2147483647"])  # the shell stays, it buries orphans

    def _is_up(self):
        if not self.holder.alive():
            raise AssertionError(f"{self.name} does not start: {self.holder.log()}")
        return self.started.exists()

    def inside(self, *command):
        """The command line that runs command there, and ends it when it is killed itself."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--uts", f"--net={net.path(self.netns)}",
                "setpriv", "--pdeathsig", "KILL", *command]

    def sh(self, *command, **kw):
        """Runs a command on the node; returns its output."""
        return net.sh(*self.inside(*command), **kw)

    def path(self, path):
        """A path of the node as we see it."""
        return pathlib.Path(f"/proc/{self.pid}/root{path}")

    def stop(self):
        self.holder.kill()
        wait_until(lambda: not pathlib.Path(f"/proc/{self.pid}").exists(), f"{self.name} does not end")

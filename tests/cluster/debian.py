"""Programs that a node runs, from Debian's packages. Unpacked into the cache and not installed: installed they would run
services, and push out what is there for the same (Docker's containerd, the other busybox)."""
import os
import pathlib
import shutil
import subprocess

PACKAGES = ["containerd", "runc", "containernetworking-plugins", "busybox-static"]
PROGRAMS = ["containerd", "containerd-shim-runc-v2", "ctr", "runc", "busybox", "ptp"]
FOLDERS = ["usr/bin", "usr/sbin", "bin", "sbin", "usr/lib/cni"]


def _release():
    for line in pathlib.Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    return "unknown"


class Debian:
    """The programs in cache/debian-RELEASE; where there is no apt-get, those of the machine."""

    def __init__(self, cache):
        self.folder = cache / f"debian-{_release()}"
        self.apt = shutil.which("apt-get")

    def folders(self):
        """Where programs are found, ours first."""
        ours = [str(self.folder / f) for f in FOLDERS]
        return [*ours, *os.environ["PATH"].split(":"), "/usr/sbin", "/sbin", "/usr/lib/cni", "/opt/cni/bin"]

    def find(self, program):
        return shutil.which(program, path=":".join(self.folders()))

    def path(self, program):
        found = self.find(program)
        if not found:
            raise SystemExit(f"error: {program} is missing\nremedy: cd tests && python3 -m cluster.programs")
        return pathlib.Path(found)

    def plugins(self):
        """The folder of the CNI plug-ins."""
        return self.path("ptp").parent

    def complete(self):
        return self.folder.exists() if self.apt else all(self.find(p) for p in PROGRAMS)

    def unpack(self, say):
        if self.complete():
            return
        if not self.apt:
            missing = " ".join(p for p in PROGRAMS if not self.find(p))
            raise SystemExit(f"error: a node needs {missing}\nremedy: install them with your system's package manager")
        say(f"unpacking Debian's {', '.join(PACKAGES)}")
        work = self.folder.with_name(f".work-{self.folder.name}")
        shutil.rmtree(work, ignore_errors=True)
        (work / "packages").mkdir(parents=True)
        self._download(work / "packages")
        for package in sorted((work / "packages").iterdir()):
            subprocess.run(["dpkg-deb", "-x", package, work / "root"], check=True)
        (work / "root").rename(self.folder)
        shutil.rmtree(work)

    def _download(self, folder):
        for attempt in range(3):
            done = subprocess.run([self.apt, "-q", "-o", "APT::Sandbox::User=root", "download", *PACKAGES], cwd=folder,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode == 0:
                return
            if attempt < 2:  # lists that are missing or old name packages that are not there
                subprocess.run([self.apt, "-qq", "update"], capture_output=True)
        raise SystemExit(f"error: Debian's packages can't be fetched\n{done.stdout[-1500:]}\n"
                         f"remedy: check the network, then run: apt-get update")

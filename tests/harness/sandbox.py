"""Runs the calling program again as the first process of fresh mount, network, PID and cgroup namespaces: what
it starts, mounts or configures ends with it, even when it (or who waits for it) is killed."""
import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import time

MARK = "MESH_SANDBOX"
RUN = "/run"
PREFIX = "mesh-sandbox-"
ORDINARY = {"rw", "ro", "relatime", "nosuid", "nodev", "noexec", "xattr", "clone_children"}  # the rest: controllers


def enter(argv):
    """Returns inside the sandbox only; outside, it waits for the inner run and exits with its status."""
    if os.environ.get(MARK):
        return
    sys.exit(run(argv))


def run(argv, **popen):
    """Runs argv in a sandbox of its own and returns its status."""
    sweep()
    mounts = _cgroup_mounts()
    folders = [_cgroup_add(*m) for m in mounts]
    again = "".join(f"umount -l {at}; mount -t {fs} -o {options} cgroup {at}; " for at, fs, options in mounts)
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    only = mounts[0][0] if len(mounts) == 1 and mounts[0][1] == "cgroup2" else None
    if only:  # of version 2: who has children with controllers has no processes, and the first unshare stays
        command += ["sh", "-ec", f'echo 0 >{folders[0]}/cgroup.procs; exec "$@"', "sh"]
        again += f"mkdir {only}/init; echo 0 >{only}/init/cgroup.procs; " \
                 f"for c in $(cat {only}/cgroup.controllers); do echo +$c >{only}/cgroup.subtree_control || :; done; "
    # the shell stays: the first process inherits orphans and has to bury them
    command += ["unshare", "--cgroup", "sh", "-ec", f'mount -t tmpfs -o mode=755 tmpfs {RUN}; {again}'
                'ip link set lo up; "$@"', "sh", *argv]
    begin = [_wait_folder(folders[0])] if only else folders
    try:
        return subprocess.call(command, env={**os.environ, MARK: "1"}, preexec_fn=lambda: _join(begin), **popen)
    finally:
        for folder in folders:
            _cgroup_remove(folder)


def _join(folders):
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: who waits for us is gone, so are we
    for folder in folders:
        (folder / "cgroup.procs").write_text("0")


def _wait_folder(folder):
    """Where the process is that waits for the sandbox's first one."""
    (folder / "wait").mkdir()
    return folder / "wait"


# -- cgroups: pods get theirs below the sandbox's own --

def _cgroup_mounts():
    """[(mount point, file system, options)]; none where we may not make any."""
    found = []
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, at, fs, options = line.split()[:4]
        if fs not in ("cgroup", "cgroup2"):
            continue
        mine = [o for o in options.split(",") if fs == "cgroup" and o not in ORDINARY and "release_agent" not in o]
        if os.access(at, os.W_OK) and "rw" in options.split(","):
            found.append((at, fs, ",".join(mine) or "rw"))
    return found


def _cgroup_add(at, fs, options):
    parent = pathlib.Path(at)
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if fs == "cgroup" and controllers and controllers in options:
            parent = parent / path.lstrip("/")
    folder = parent / f"{PREFIX}{os.getpid()}-{started(os.getpid())}"
    folder.mkdir(exist_ok=True)
    for name in ("cpuset.cpus", "cpuset.mems"):  # version 1: empty, and nobody may join
        if fs == "cgroup" and (folder / name).exists():
            (folder / name).write_text((parent / name).read_text())
    return folder


def _cgroup_remove(folder):
    for _ in range(100):
        try:
            for inner, _, _ in os.walk(folder, topdown=False):
                os.rmdir(inner)
            return
        except OSError:
            time.sleep(0.02)  # the kernel takes a moment to let go of the dead


def started(pid):
    """When the process began, in ticks; None: there is none, or it waits to be buried."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return fields[19] if fields[0] not in "ZX" else None


def sweep():
    """Removes what sandboxes left whose owner was killed. What is below a living one is its own affair."""
    for at, _, _ in _cgroup_mounts():
        for inner, names, _ in os.walk(at):
            for name in [n for n in names if n.startswith(PREFIX)]:
                names.remove(name)
                pid, began = name.removeprefix(PREFIX).split("-")
                if started(pid) != began:
                    _cgroup_remove(pathlib.Path(inner, name))

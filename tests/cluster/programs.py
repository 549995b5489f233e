"""The programs of a Kubernetes, built once from their Go modules into the cache: $MESH_CACHE/kubernetes/NAME-VERSION.

    python3 -m cluster.programs        builds what is missing and says where it is
"""
import fcntl
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

from cluster.debian import Debian

CACHE = pathlib.Path(os.environ.get("MESH_CACHE", pathlib.Path.home() / ".cache/mesh"))
FOLDER = CACHE / "kubernetes"
DEBIAN = Debian(FOLDER)
GO_MIN = (1, 21)  # the first that fetches a newer one by itself
TRIES = 3
PROXY_ERRORS = re.compile(r"dial tcp|i/o timeout|connection re|TLS handshake|EOF|50[0-9] |no such host|lookup ")


class Module:
    """A Go module with programs. local: the version of the modules that it replaces by folders of its repository,
    where its own go.mod does not name one that exists."""

    def __init__(self, name, path, version, programs, local=None, flags=""):
        self.name, self.path, self.version, self.programs = name, path, version, programs
        self.local, self.flags = local, flags

    @property
    def folder(self):
        return FOLDER / f"{self.name}-{self.version}"

    def missing(self):
        return [p for p in self.programs if not (self.folder / p).exists()]


def kubernetes(version):
    components = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"]
    major, minor, _ = version.split(".")
    flags = " ".join(f"-X {package}.{name}={value}"
                     for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
                     for name, value in (("gitVersion", f"v{version}"), ("gitMajor", major), ("gitMinor", minor)))
    return Module("kubernetes", "k8s.io/kubernetes", version, {c: f"k8s.io/kubernetes/cmd/{c}" for c in components},
                  local=f"0.{minor}.{version.split('.')[2]}", flags=flags)


# etcd from its module as well: Debian's is too old for streaming lists (it lacks progress requests).
MODULES = [
    Module("etcd", "go.etcd.io/etcd/server/v3", "3.6.6", {"etcd": "go.etcd.io/etcd/server/v3"}),
    kubernetes("1.36.3"),
    Module("coredns", "github.com/coredns/coredns", "1.15.0", {"coredns": "github.com/coredns/coredns"}),
    Module("metrics-server", "sigs.k8s.io/metrics-server", "0.9.0",
           {"metrics-server": "sigs.k8s.io/metrics-server/cmd/metrics-server"}),
]
# Modules whose files tests read: CRDs, manifests.
SOURCES = {"gateway-api": ("sigs.k8s.io/gateway-api", "1.6.3"),
           "gateway-api-conformance": ("sigs.k8s.io/gateway-api/conformance", "1.6.3"),
           "istio": ("istio.io/istio", "0.0.0-20260827124520-eed52ebb66ad"),
           "istio-api": ("istio.io/api", "1.31.4"),
           "kubernetes": ("k8s.io/kubernetes", "1.36.3"),
           "kubernetes-api": ("k8s.io/api", "0.36.3")}


def path(program):
    """Where a program is: built here, or Debian's."""
    return next((m.folder / program for m in MODULES if program in m.programs), None) or DEBIAN.path(program)


def _go():
    go = shutil.which("go") or ("/usr/local/go/bin/go" if os.access("/usr/local/go/bin/go", os.X_OK) else None)
    if not go:
        raise SystemExit("error: Kubernetes is built from source, and there is no Go\n"
                         "remedy: install Go 1.21 or newer (go.dev/dl) and put it on PATH; it fetches what it needs")
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True).stdout.strip()
    version = tuple(int(n) for n in re.findall(r"\d+", said)[:2])
    if version < GO_MIN:
        raise SystemExit(f"error: {go} is {said}, too old to fetch the Go that Kubernetes needs\n"
                         f"remedy: install Go {'.'.join(map(str, GO_MIN))} or newer (go.dev/dl) and put it on PATH")
    return go


def _run(args, cwd):
    """Runs go; what the network did is tried again."""
    env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "auto", "GOWORK": "off"}
    for attempt in range(TRIES):
        done = subprocess.run(args, cwd=cwd, env=env, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout
        said = done.stderr + done.stdout  # go mod download -json fails in JSON
        if not PROXY_ERRORS.search(said) or attempt == TRIES - 1:
            break
        time.sleep(2 << attempt)  # the registry is busy; nothing tells when it is not
    errors = [line for line in said.splitlines() if not line.startswith("go: downloading")]
    raise SystemExit(f"error: {' '.join(map(str, args))} failed\n" + "\n".join(errors[-15:]))


def _download(module, version, cwd):
    """The folder of a module's source, read-only, in Go's own module cache."""
    return pathlib.Path(json.loads(_run([_go(), "mod", "download", "-json", f"{module}@v{version}"], cwd))["Dir"])


def _source_note(name):
    return FOLDER / f"source-{name}-{SOURCES[name][1]}"


def source(name):
    """The folder of one of SOURCES; None: build() has to fetch it."""
    note = _source_note(name)
    folder = pathlib.Path(note.read_text()) if note.exists() else None
    return folder if folder and folder.exists() else None


def _scratch(m, folder):
    """A module that requires m, with m's own replacements: go install refuses modules that have any."""
    (folder / "go.mod").write_text("module scratch\n")
    source_folder = _download(m.path, m.version, folder)
    said = json.loads(_run([_go(), "mod", "edit", "-json", str(source_folder / "go.mod")], folder))
    lines = ["module scratch", f"go {said['Go']}", f"require {m.path} v{m.version}"]
    for r in said.get("Replace") or []:
        old, new = r["Old"], r["New"]
        if new["Path"].startswith("."):  # another module of the same repository
            if not m.local:
                continue
            new = {"Path": old["Path"], "Version": f"v{m.local}"}
        lines.append(f"replace {old['Path']} {old.get('Version', '')} => {new['Path']} {new['Version']}")
    (folder / "go.mod").write_text("\n".join(lines) + "\n")
    shutil.copyfile(source_folder / "go.sum", folder / "go.sum")
    os.chmod(folder / "go.sum", 0o644)


def _build(m, say):
    work = FOLDER / f".work-{m.name}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    say(f"{m.name} {m.version}: fetching its source")
    _scratch(m, work)
    m.folder.mkdir(parents=True, exist_ok=True)
    for program in m.missing():
        began = time.monotonic()
        say(f"{m.name} {m.version}: building {program}")
        _run([_go(), "build", "-trimpath", "-ldflags", f"-s -w {m.flags}", "-o", str(work / program),
              m.programs[program]], work)
        os.replace(work / program, m.folder / program)
        say(f"{m.name} {m.version}: {program} took {time.monotonic() - began:.0f} s")
    shutil.rmtree(work)


def complete():
    return not any(m.missing() for m in MODULES) and all(source(name) for name in SOURCES) and DEBIAN.complete()


def need():
    """For what runs without a network."""
    if not complete():
        raise SystemExit(f"error: the programs of Kubernetes are not (all) in {FOLDER}\n"
                         "remedy: cd tests && python3 -m cluster.programs")


def build(say=lambda text: print(f"==> {text}", file=sys.stderr, flush=True)):
    """Builds and fetches what is missing. Several at once wait for each other."""
    if complete():
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        began = time.monotonic()
        DEBIAN.unpack(say)
        for name in SOURCES:
            if not source(name):
                say(f"{name} {SOURCES[name][1]}: fetching its source")
                _source_note(name).write_text(str(_download(*SOURCES[name], FOLDER)))
        todo = [m for m in MODULES if m.missing()]
        if todo:
            say("building Kubernetes from its Go modules (once, about 10 minutes on 2 cores from nothing)")
        for m in todo:
            _build(m, say)
        say(f"Kubernetes is in {FOLDER}, after {(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    build()
    for module in MODULES if "--quiet" not in sys.argv else []:
        for name in module.programs:
            print(path(name))

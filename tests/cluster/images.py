"""Images without a registry and without a container engine: files in a layer, as an archive that containerd imports."""
import hashlib
import io
import json
import os
import pathlib
import platform
import re
import subprocess
import tarfile

from cluster import programs

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def _add(tar, name, data, mode):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def archive(path, name, files, entrypoint, links=(), user="0"):
    """Writes the archive of an image at path. files: {"/path": source file or bytes}; links: {"/path": target}."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        folders = sorted({str(p) for f in [*files, *dict(links)] for p in pathlib.PurePath(f).parents} | {"/tmp"})
        for folder in folders[1:]:
            info = tarfile.TarInfo(folder.lstrip("/"))
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if folder == "/tmp" else 0o755
            tar.addfile(info)
        for target, source in files.items():
            data = source if isinstance(source, bytes) else pathlib.Path(source).read_bytes()
            _add(tar, target.lstrip("/"), data, 0o755)
        for link, target in dict(links).items():
            info = tarfile.TarInfo(link.lstrip("/"))
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    layer = layer.getvalue()
    config = json.dumps({
        "architecture": ARCHITECTURE, "os": "linux",
        "config": {"Entrypoint": entrypoint, "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "User": user},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}}).encode()
    digest = hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{digest}.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        _add(tar, "manifest.json", json.dumps(manifest).encode(), 0o644)
        _add(tar, f"{digest}.json", config, 0o644)
        _add(tar, "layer.tar", layer, 0o644)
    return path


CURL = "/usr/bin/curl"
APPLETS = ["sh", "sleep", "nslookup", "cat", "echo", "httpd", "ip", "ls", "ping", "kill", "ps", "mount", "mkdir",
           "touch", "head", "env", "hostname", "dd", "yes", "test", "id", "rm", "grep", "wc", "tail", "true", "nc"]
PAUSE, TOOLS, MESH = "docker.io/local/pause:1", "docker.io/local/tools:1", "docker.io/local/mesh:1"


def with_libraries(program):
    """{"/path": file} of a program of this machine with all that it loads."""
    said = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    libraries = re.findall(r"(/\S+) \(0x", said)
    return {path: os.path.realpath(path) for path in [program, *libraries]}


def standard(folder, mesh=None):
    """The images that every node has: pause, tools (busybox, curl) and, when its binary is given, mesh."""
    busybox = programs.path("busybox")
    found = [archive(folder / "pause.tar", PAUSE, {"/busybox": busybox}, ["/busybox", "sleep", "2147483647"]),
             archive(folder / "tools.tar", TOOLS, {"/bin/busybox": busybox, **with_libraries(CURL)},
                     ["/bin/sleep", "2147483647"], {f"/bin/{a}": "busybox" for a in APPLETS})]
    if mesh:
        found.append(archive(folder / "mesh.tar", MESH, {"/usr/local/bin/mesh": mesh}, ["/usr/local/bin/mesh"]))
    return found

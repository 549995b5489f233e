"""Memory, the binary, an empty chroot."""
import os
import pathlib
import shutil
import subprocess

from harness import apps, net
from harness.mesh import BINARY, http_get
from harness.proc import Process, wait_until


def test_memory_of_every_role_when_idle(shop):
    m = shop.m
    with apps.Server(shop.web[0], 8080, apps.name_of("web-1")), apps.Server(shop.web[1], 8080, apps.name_of("web-2")):
        for _ in range(40):
            apps.ask(shop.client, (shop.VIP, 80))
    limits = [("ztunnel", m.ztunnels.values(), 12, 4), ("controller", [m.controller], 16, 6), ("agent", m.agents.values(), 10, 3)]
    for role, procs, rss_mb, anon_mb in limits:
        for p in procs:
            rss, anon = p.memory()
            assert rss <= rss_mb * 1000 and anon <= anon_mb * 1000, f"{role}: {rss} kB RSS, {anon} kB RssAnon"


def test_every_role_works_in_an_empty_chroot(shop, tmp_path):
    """Only the file itself, and the paths that flags name."""
    root = tmp_path / "root"
    (root / "d/source").mkdir(parents=True)
    shutil.copy(BINARY, root / "mesh")
    for f in shop.m.source.glob("*.yaml"):
        shutil.copy(f, root / "d/source")
    netns = "chroot-test"
    net.add(netns)
    procs = []

    def start(name, *args):
        p = Process(name, ["chroot", root, "/mesh", *args], netns=netns, log=tmp_path / f"{name}.log")
        procs.append(p)
        return p

    def ready(p, url):
        wait_until(lambda: http_get(url, netns)[0] == 200 or not p.alive(), lambda: f"{p.name}: {p.log()}")
        assert p.alive(), p.log()

    try:
        c = start("controller", "controller", "--source", "/d/source", "--state", "/d/state", "--listen-grpc", "127.0.0.1:15012")
        ready(c, "http://127.0.0.1:8080/ready")
        a = start("agent", "cni", "agent", "--source", "/d/source", "--node", "node-1", "--state", "/d/agent", "--cni-socket",
                  "/d/cni.sock", "--zds-socket", "/d/zds.sock", "--metrics", "127.0.0.1:15102")
        ready(a, "http://127.0.0.1:8000/healthz/ready")
        z = start("ztunnel", "ztunnel", "--node", "node-1", "--xds-address", "https://127.0.0.1:15012", "--root-ca",
                  "/d/state/root-cert.pem", "--token", "/d/state/tokens/node/node-1", "--inpod-uds", "/d/zds.sock")
        ready(z, "http://127.0.0.1:15021/healthz/ready")
        out = subprocess.run([*net.inside(netns), "chroot", root, "/mesh"], env={"CNI_COMMAND": "VERSION", "PATH": os.environ["PATH"]}, input=b"{}",
                             stdout=subprocess.PIPE, timeout=10)
        assert out.returncode == 0 and b"1.1.0" in out.stdout
        # nothing was written but where flags said
        assert sorted(os.listdir(root)) == ["d", "mesh"]
    finally:
        for p in procs:
            p.kill()
        net.delete(netns)


def test_the_binary_is_one_file(shop):
    assert pathlib.Path(BINARY).stat().st_size <= 16_000_000
    out = subprocess.run(["readelf", "-lW", "-d", BINARY], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "INTERP" not in out and "NEEDED" not in out

"""`mesh demo`, as a newcomer runs it."""
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest
from harness.mesh import BINARY
from harness.proc import wait_until


def run(*args, **kw):
    start = time.monotonic()
    done = subprocess.run([BINARY, "demo", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, **kw)
    assert time.monotonic() - start < 60
    return done.returncode, done.stdout


def leftovers():
    """Processes of a demo, and namespaces: there must be none."""
    found = []
    for p in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = p.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"/run/mesh-demo" in b" ".join(words) or words[1:2] == [b"demo"]:
            found.append(words)
    return found + [l for l in pathlib.Path("/proc/mounts").read_text().splitlines() if "mesh-demo" in l]


def check(code, out):
    assert code == 0, out
    assert "FAIL" not in out, out
    served = re.search(r"(\d+) of 40 answered: (\d+) by web-1 on node-1, (\d+) by web-2 on node-2", out)
    assert served and served[1] == "40" and int(served[2]) and int(served[3]), out
    for text in ("spiffe://cluster.local/ns/shop/sa/client", "spiffe://cluster.local/ns/shop/sa/web", "shop/no-intruders",
                 "the payload in none of them", "ztunnel on node-2"):
        assert text in out, out
    assert leftovers() == []


def test_it_shows_what_it_promises_and_leaves_nothing():
    check(*run())


def test_it_scales():
    code, out = run("--nodes", "4", "--pods", "24")
    check(code, out)
    assert "19 of 19 called the Service" in out, out


def test_an_ordinary_user():
    folder = pathlib.Path("/run/ordinary")  # of the sandbox: every user may look into it
    folder.mkdir(mode=0o755)
    binary = folder / "mesh"
    shutil.copy(BINARY, binary)
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary, "demo"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)
    if "namespaces can't be made" in done.stdout:
        assert done.returncode == 1 and "remedy:" in done.stdout
        pytest.skip("this kernel lets no user make namespaces")
    check(done.returncode, done.stdout)


def test_it_can_be_kept_and_entered():
    p = subprocess.Popen([BINARY, "demo", "--keep"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        lines = []
        for line in p.stdout:
            lines.append(line)
            if line.startswith("Objects:"):
                break
        out = "".join(lines)
        enter = re.search(r"pod client +(nsenter .*)", out)[1].split()
        assert "saw=10.244.1.10" in subprocess.run([*enter, "curl", "-s", "-m", "5", "http://10.96.0.10/"], stdout=subprocess.PIPE,
                                                   text=True, timeout=20).stdout
        node = re.search(r"node-1 +(nsenter .*)", out)[1].split()
        assert "workloads" in subprocess.run([*node, "curl", "-s", "http://127.0.0.1:15000/config_dump"], stdout=subprocess.PIPE,
                                             text=True, timeout=20).stdout
    finally:
        p.send_signal(signal.SIGTERM)
        p.wait(15)
    wait_until(lambda: leftovers() == [], leftovers)

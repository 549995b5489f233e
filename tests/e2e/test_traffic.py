"""Bytes, identities and policy, from pod to pod."""
import collections
import socket
import struct
import threading

import pytest
from harness import apps
from harness.proc import wait_until

GIB = 1 << 30


@pytest.fixture(scope="module")
def servers(shop):
    with apps.Server(shop.web[0], 8080, apps.name_of("web-1")), apps.Server(shop.web[1], 8080, apps.name_of("web-2")):
        yield


def refused(fn):
    with pytest.raises((ConnectionError, socket.timeout)):
        fn()


def test_a_service_is_shared_between_its_backends(shop, servers):
    seen = collections.Counter()
    for i in range(40):
        who, saw, text = apps.ask(shop.client, (shop.VIP, 80), f"request-{i}").split()
        assert saw == shop.client.ip and text == f"request-{i}"
        seen[who] += 1
    assert set(seen) == {"web-1", "web-2"}


def test_both_sides_log_the_identities(shop, servers):
    mark = [len(shop.m.ztunnels[n].log()) for n in ("node-1", "node-2")]
    apps.ask(shop.client, (shop.web[1].ip, 8080))
    ends = ("connection complete", 'src.workload="client"', 'dst.workload="web-2"', f'src.identity="{shop.client.identity}"',
            f'dst.identity="{shop.web[1].identity}"', "bytes_sent=", "bytes_recv=", "duration=")
    shop.m.ztunnels["node-1"].wait_log('direction="outbound"', *ends, since=mark[0])
    shop.m.ztunnels["node-2"].wait_log('direction="inbound"', *ends, since=mark[1])


def test_the_counters_count(shop, servers):
    def opened():
        return shop.m.sum("node-1", "istio_tcp_connections_opened_total", 'reporter="source"', 'source_workload="client"')
    before = opened()
    for _ in range(5):
        apps.ask(shop.client, (shop.web[1].ip, 8080))
    wait_until(lambda: opened() == before + 5, "five more connections are counted")


def test_the_bytes_of_a_connection_count_while_it_is_open(shop):
    def received():
        return shop.m.sum("node-1", "istio_tcp_received_bytes_total", 'reporter="source"', 'source_workload="client"')
    with apps.Server(shop.web[1], 9005, apps.echo), apps.connect(shop.client, (shop.web[1].ip, 9005)) as s:
        before = received()
        s.sendall(b"x" * 100_000)
        got = 0
        while got < 100_000:
            got += len(s.recv(100_000))
        wait_until(lambda: received() == before + 100_000, lambda: f"counted: {received() - before}", 20)


@pytest.mark.parametrize("way", ["up", "down"])
def test_4_gib_arrive_with_the_right_hash(shop, way):
    result = {}

    def sink(s, peer):
        result["server"] = apps.receive_all(s)

    def source(s, peer):
        result["server"] = (4 * GIB, apps.send_all(s, 4 * GIB, "down"))
        s.shutdown(socket.SHUT_WR)

    with apps.Server(shop.web[1], 9000, sink if way == "up" else source):
        with apps.connect(shop.client, (shop.web[1].ip, 9000), timeout=120) as s:
            if way == "up":
                sent = (4 * GIB, apps.send_all(s, 4 * GIB, "up"))
                s.shutdown(socket.SHUT_WR)
                s.recv(1)  # the end of the other side: it has all
            else:
                sent = apps.receive_all(s)
        assert wait_until(lambda: result.get("server"), "the server has seen the end", 60) == sent


def test_2000_connections_keep_their_bytes_apart(shop):
    count, size = 2000, 4096
    with apps.Server(shop.web[1], 9001, apps.echo):
        conns = [apps.connect(shop.client, (shop.web[1].ip, 9001), timeout=60) for _ in range(count)]
        for i, s in enumerate(conns):
            s.sendall(apps.pattern(i, size))
        for i, s in enumerate(conns):
            got = b""
            while len(got) < size:
                data = s.recv(size - len(got))
                assert data, f"connection {i} was cut after {len(got)} bytes"
                got += data
            assert got == apps.pattern(i, size), f"connection {i} has foreign bytes"
        for s in conns:
            s.shutdown(socket.SHUT_WR)
        for i, s in enumerate(conns):
            assert s.recv(1) == b"", f"connection {i} has more bytes than it was sent"
            s.close()


def test_a_half_closed_connection_stays_half_open(shop):
    heard, go = threading.Event(), threading.Event()

    def handler(s, peer):
        assert s.recv(100) == b"question" and s.recv(100) == b""
        heard.set()
        go.wait(10)
        s.sendall(b"a late answer")

    with apps.Server(shop.web[1], 9002, handler), apps.connect(shop.client, (shop.web[1].ip, 9002)) as s:
        s.sendall(b"question")
        s.shutdown(socket.SHUT_WR)
        assert heard.wait(10), "the end of the question did not arrive"
        go.set()
        assert s.recv(100) == b"a late answer" and s.recv(100) == b""


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def test_a_reset_of_the_server_arrives_as_a_reset(shop):
    def handler(s, peer):
        s.recv(100)
        reset(s)
    with apps.Server(shop.web[1], 9003, handler), apps.connect(shop.client, (shop.web[1].ip, 9003)) as s:
        s.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            s.recv(100)


def test_a_reset_of_the_client_arrives_as_a_reset(shop):
    seen = []

    def handler(s, peer):
        try:
            s.recv(100)
            seen.append(s.recv(100))
        except ConnectionResetError as e:
            seen.append(e)
    with apps.Server(shop.web[1], 9004, handler):
        for _ in range(50):
            s = apps.connect(shop.client, (shop.web[1].ip, 9004))
            s.sendall(b"x")
            reset(s)  # at any moment: the server's side may not be connected yet
        wait_until(lambda: shop.m.ztunnels["node-2"].log().count(":9004") >= 50, "the last connection has ended")
        assert seen and all(isinstance(e, ConnectionResetError) for e in seen), seen


def test_nobody_listens(shop):
    refused(lambda: apps.ask(shop.client, (shop.web[1].ip, 9999)))


def test_plaintext_is_taken_where_policy_allows_it(shop, servers):
    assert apps.ask(shop.outsider, (shop.web[0].ip, 8080)).split()[:2] == ["web-1", shop.outsider.ip]
    # and a captured pod reaches one that is not
    with apps.Server(shop.outsider, 8080, apps.name_of("outsider")):
        assert apps.ask(shop.client, (shop.outsider.ip, 8080)).split()[0] == "outsider"


def eventually_refused(pod, address):
    def is_refused():
        try:
            apps.ask(pod, address, timeout=3)
            return False
        except OSError:
            return True
    wait_until(is_refused, f"{pod.name} is refused")


def eventually_answered(pod, address):
    def is_answered():
        try:
            return apps.ask(pod, address, timeout=3)
        except OSError:
            return False
    wait_until(is_answered, f"{pod.name} is answered")


def test_strict_refuses_plaintext_by_name(shop, servers):
    at = (shop.web[1].ip, 8080)
    shop.m.apply("strict", "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
                           "metadata: {name: strict, namespace: shop}\nspec: {mtls: {mode: STRICT}}\n")
    eventually_refused(shop.outsider, at)
    shop.m.ztunnels["node-2"].wait_log(f"src.addr={shop.outsider.ip}", "istio_converted_static_strict")
    assert apps.ask(shop.client, at)
    shop.m.remove("strict")
    eventually_answered(shop.outsider, at)


DENY = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-intruders, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  action: DENY
  rules:
  - from: [{source: {principals: [cluster.local/ns/shop/sa/intruder]}}]
"""


def test_a_policy_refuses_by_name_ends_what_is_open_and_goes_again(shop, servers):
    at = (shop.web[1].ip, 8080)
    with apps.connect(shop.intruder, at) as open_before, apps.connect(shop.client, at) as allowed:
        for s in (open_before, allowed):
            s.sendall(b"one\n")
            assert s.recv(100)
        shop.m.apply("deny", DENY)
        with pytest.raises(ConnectionResetError):
            open_before.recv(100)
        eventually_refused(shop.intruder, at)
        shop.m.ztunnels["node-2"].wait_log('src.workload="intruder"', "shop/no-intruders")
        allowed.sendall(b"two\n")
        assert b"two" in allowed.recv(100)
    shop.m.remove("deny")
    eventually_answered(shop.intruder, at)

"""Peers that mean no good, on port 15008 of a pod: certificates, CONNECT targets, silence."""
import socket
import ssl
import subprocess

import h2.config
import h2.connection
import h2.events
import pytest
from harness import apps
from harness.proc import wait_until


@pytest.fixture(scope="module")
def web(shop):
    with apps.Server(shop.web[1], 8080, apps.name_of("web-2")):
        yield shop.web[1]


class Pki:
    """Leaves of the mesh's own authority, whose key a test may read, and of a foreign one."""

    def __init__(self, state, folder):
        self.folder = folder
        self.mesh = (state / "ca-cert.pem", state / "ca-key.pem")
        self.foreign = (folder / "foreign.crt", folder / "foreign.key")
        self.run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.foreign[1])
        self.run("req", "-x509", "-new", "-key", self.foreign[1], "-subj", "/O=cluster.local", "-days", "2", "-out", self.foreign[0])

    def run(self, *args):
        subprocess.run(["openssl", *map(str, args)], cwd=self.folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def leaf(self, name, uri, ca, *, expired=False):
        base = self.folder / name
        self.run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{base}.key")
        self.run("req", "-new", "-key", f"{base}.key", "-subj", "/", "-out", f"{base}.csr")
        (self.folder / f"{name}.ext").write_text(f"subjectAltName=critical,URI:{uri}\nextendedKeyUsage=clientAuth,serverAuth\n")
        when = ["-days", "1"] if not expired else ["-days", "-1"]
        self.run("x509", "-req", "-in", f"{base}.csr", "-CA", ca[0], "-CAkey", ca[1], "-set_serial", "77", "-extfile", f"{base}.ext", *when,
                 "-out", f"{base}.crt")
        return f"{base}.crt", f"{base}.key"


@pytest.fixture(scope="module")
def pki(shop, tmp_path_factory):
    return Pki(shop.m.state, tmp_path_factory.mktemp("pki"))


def tls(pod, to, cert):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if cert:
        context.load_cert_chain(*cert)
    return context.wrap_socket(apps.connect(pod, (to.ip, 15008), timeout=30))


class Tunnel:
    """HBONE, by a library that is not ours."""

    def __init__(self, s):
        self.s, self.h2 = s, h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False))
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        self.s.sendall(self.h2.data_to_send())

    def connect(self, authority):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [(":method", "CONNECT"), (":authority", authority)])
        self.flush()
        return stream

    def until(self, wanted):
        """The first event that wanted() says yes to; None when the connection ended."""
        while True:
            data = self.s.recv(65536)
            if not data:
                return None
            for e in self.h2.receive_data(data):
                if wanted(e):
                    return e
            self.flush()

    def status(self, authority):
        stream = self.connect(authority)
        e = self.until(lambda e: isinstance(e, (h2.events.ResponseReceived, h2.events.StreamReset)) and e.stream_id == stream)
        return int(dict(e.headers)[":status"]) if isinstance(e, h2.events.ResponseReceived) else None


CLIENT = "spiffe://cluster.local/ns/shop/sa/client"


def test_a_foreign_library_gets_through_with_a_certificate_of_the_mesh(shop, web, pki):
    t = Tunnel(tls(shop.outsider, web, pki.leaf("good", CLIENT, pki.mesh)))
    stream = t.connect(f"{web.ip}:8080")
    t.h2.send_data(stream, b"hello\n")
    t.flush()
    e = t.until(lambda e: isinstance(e, h2.events.DataReceived))
    assert e and e.data.startswith(b"web-2 ")


@pytest.mark.parametrize("kind", ["none", "foreign", "expired", "other trust domain", "no spiffe"])
def test_certificates_that_are_refused(shop, web, pki, kind):
    cert = {"none": lambda: None,
            "foreign": lambda: pki.leaf("foreign-leaf", CLIENT, pki.foreign),
            "expired": lambda: pki.leaf("expired", CLIENT, pki.mesh, expired=True),
            "other trust domain": lambda: pki.leaf("other", "spiffe://elsewhere/ns/shop/sa/client", pki.mesh),
            "no spiffe": lambda: pki.leaf("plain", "https://example.com/", pki.mesh)}[kind]()
    before = len(shop.m.ztunnels["node-2"].log())
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        assert Tunnel(tls(shop.outsider, web, cert)).status(f"{web.ip}:8080") == 200
    assert "direction=\"inbound\"" not in shop.m.ztunnels["node-2"].log()[before:] or \
        "error=" in shop.m.ztunnels["node-2"].log()[before:]


def test_targets_that_are_refused(shop, web, pki):
    t = Tunnel(tls(shop.outsider, web, pki.leaf("targets", CLIENT, pki.mesh)))
    assert t.status(f"{web.ip}:8080") == 200
    for authority in ("127.0.0.1:8080", "127.0.0.1:15000", "[::1]:8080", f"{web.ip}:15008", f"{web.ip}:15001", f"{web.ip}:15006",
                      f"{shop.web[0].ip}:8080", f"{shop.client.ip}:8080", "169.254.169.254:80", f"{web.ip}:0", f"{web.ip}", "", "x" * 5000,
                      "web.elsewhere.svc.cluster.local:80"):
        assert t.status(authority) != 200, authority
    assert t.status(f"{web.ip}:8080") == 200, "the tunnel itself goes on"


def test_a_rapid_reset_flood_ends_the_session_and_nobody_else(shop, web, pki):
    t = Tunnel(tls(shop.outsider, web, pki.leaf("flood", CLIENT, pki.mesh)))
    with pytest.raises((ssl.SSLError, ConnectionError, h2.exceptions.ProtocolError, EOFError)):
        for _ in range(20000):
            t.h2.reset_stream(t.connect(f"{web.ip}:8080"))
            t.flush()
        while t.s.recv(65536):
            pass
        raise EOFError
    assert apps.ask(shop.client, (web.ip, 8080))


def test_who_says_nothing_is_not_waited_for(shop, web, pki):
    mute = apps.connect(shop.outsider, (web.ip, 15008), timeout=30)
    half = apps.connect(shop.outsider, (web.ip, 15008), timeout=30)
    half.sendall(b"\x16\x03\x01\x02\x00\x01")  # a ClientHello that never ends
    greeted = tls(shop.outsider, web, pki.leaf("greeted", CLIENT, pki.mesh))
    tunnel = Tunnel(tls(shop.outsider, web, pki.leaf("stalls", CLIENT, pki.mesh)))
    stream = tunnel.connect(f"{web.ip}:8080")
    tunnel.h2.send_data(stream, b"half a li")  # and no more
    tunnel.flush()
    for s in (mute, half, greeted):
        s.settimeout(30)
        try:
            while s.recv(4096):
                pass
        except (ConnectionResetError, ssl.SSLError):
            pass
        except socket.timeout:
            pytest.fail("still open after 30 s of silence")
    assert apps.ask(shop.client, (web.ip, 8080))
    tunnel.h2.send_data(stream, b"ne\n")  # a connection may be idle as long as it likes
    tunnel.flush()
    e = tunnel.until(lambda e: isinstance(e, h2.events.DataReceived))
    assert e and b"half a line" in e.data


def test_the_memory_does_not_grow_with_what_strangers_send(shop, web):
    z = shop.m.ztunnels["node-2"]
    conns = []
    for _ in range(500):
        s = apps.connect(shop.outsider, (web.ip, 15008))
        s.sendall(b"\x16\x03\x01\x3f\xff" + b"\x01\x00\x3f\xfb" + b"A" * 10000)
        conns.append(s)
    assert z.memory()[1] < 40_000, f"{z.memory()} kB"
    for s in conns:
        s.close()
    wait_until(lambda: apps.ask(shop.client, (web.ip, 8080)), "the client is answered")

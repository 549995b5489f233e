"""Applications in pods: sockets made in a pod's namespace, used by threads of the test itself."""
import hashlib
import socket
import struct
import threading

BLOCK = 1 << 20


def connect(pod, address, timeout=10):
    """A connection that a program in the pod makes."""
    with pod.entered():
        s = socket.socket()
    s.settimeout(timeout)
    try:
        s.connect(address)
    except OSError:
        s.close()
        raise
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def pattern(seed, n):
    """n bytes that belong to seed and nobody else."""
    unit = hashlib.blake2b(str(seed).encode(), digest_size=61).digest()
    return (unit * (n // len(unit) + 1))[:n]


class Server:
    """Accepts in a pod; each connection is served by handler(socket, peer) on a thread of its own."""

    def __init__(self, pod, port, handler, backlog=4096):
        with pod.entered():
            self.listener = socket.create_server((pod.ip, port), backlog=backlog)
        self.handler, self.peers, self.errors, self.open = handler, [], [], set()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                s, peer = self.listener.accept()
            except OSError:
                return
            s.settimeout(60)
            self.peers.append(peer)
            threading.Thread(target=self._serve, args=(s, peer), daemon=True).start()

    def _serve(self, s, peer):
        self.open.add(s)
        try:
            self.handler(s, peer)
        except OSError as e:
            self.errors.append(e)
        finally:
            self.open.discard(s)
            s.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self.thread.join()
        self.listener.close()
        for s in list(self.open):
            s.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def echo(s, peer):
    """Until the peer ends; then ends, too."""
    while True:
        data = s.recv(1 << 16)
        if not data:
            s.shutdown(socket.SHUT_WR)
            return
        s.sendall(data)


def name_of(name):
    """A handler that answers each line with the server's name and whom it sees."""
    def handler(s, peer):
        f = s.makefile("rb")
        for line in f:
            s.sendall(f"{name} {peer[0]} {line.decode()}".encode())
    return handler


def receive_all(s):
    """(bytes, sha256) until the peer ends."""
    total, digest, buf = 0, hashlib.sha256(), bytearray(BLOCK)
    view = memoryview(buf)
    while True:
        n = s.recv_into(buf)
        if n == 0:
            return total, digest.hexdigest()
        digest.update(view[:n])
        total += n


def send_all(s, total, seed):
    """Sends total bytes, never twice the same block; returns their sha256."""
    digest, sent, i = hashlib.sha256(), 0, 0
    base = bytearray(pattern(seed, BLOCK))
    while sent < total:
        base[:8] = struct.pack("<Q", i)
        chunk = memoryview(base)[:min(BLOCK, total - sent)]
        digest.update(chunk)
        s.sendall(chunk)
        sent += len(chunk)
        i += 1
    return digest.hexdigest()


def ask(pod, address, text="hello", timeout=10):
    """One line there and back; raises what the connection raises."""
    with connect(pod, address, timeout) as s:
        s.sendall(f"{text}\n".encode())
        answer = s.makefile("rb").readline()
    if not answer:
        raise ConnectionResetError("closed without an answer")
    return answer.decode().strip()

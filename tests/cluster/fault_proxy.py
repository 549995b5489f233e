"""Stands before an API server and does what a real one does only on bad days. HTTP/1.1 over TLS; what it passes on
goes to the real server, streams while they arrive."""
import http.client
import http.server
import json
import socket
import ssl
import threading
import urllib.parse


class Fault:
    """What happens to requests whose path holds match, times times (-1: until it is removed).

    status, headers, body: the answer, instead of the server's.
    cut: the connection ends after so many bytes of the server's answer.
    hang: after so many bytes nothing more comes, nor an end, until end() is called.
    inject: these bytes come first of the answer's body (an event of a watch)."""

    def __init__(self, match, times=1, status=None, headers=(), body=None, cut=None, hang=None, inject=b""):
        self.match, self.left, self.status, self.headers, self.body = match, times, status, dict(headers), body
        self.cut, self.hang, self.inject = cut, hang, inject
        self.met = 0
        self.over = threading.Event()

    def end(self):
        self.left = 0
        self.over.set()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 600

    def log_message(self, *args):
        pass

    def _upstream(self):
        proxy = self.server.proxy
        context = ssl.create_default_context(cafile=str(proxy.plane.ca.crt))
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
        if "Authorization" not in self.headers:
            context.load_cert_chain(*map(str, proxy.plane.admin))
        url = urllib.parse.urlsplit(proxy.plane.server)
        connection = http.client.HTTPSConnection(url.hostname, url.port, context=context, timeout=600)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
        connection.request(self.command, self.path, body, headers)
        self.server.proxy.open_sockets.add(connection.sock)
        return connection, connection.getresponse()

    def _plain(self, fault):
        body = fault.body
        if body is None:
            body = json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": fault.status,
                               "message": "made up by the test", "reason": {410: "Expired"}.get(fault.status, "")})
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(fault.status)
        for name, value in {"Content-Type": "application/json", **fault.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def _chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _pass(self, fault):
        try:
            connection, answer = self._upstream()
        except (OSError, http.client.HTTPException):  # the server is away
            self.close_connection = True
            return
        try:
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "content-length", "transfer-encoding", "date"):
                    self.send_header(name, value)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._body(answer, fault)
        finally:
            connection.close()

    def _body(self, answer, fault):
        passed, limit = 0, None
        if fault:
            limit = fault.cut if fault.cut is not None else fault.hang
            if fault.inject:
                self._chunk(fault.inject)
        while limit is None or passed < limit:
            data = answer.read1(65536 if limit is None else min(65536, limit - passed))
            if not data:
                if answer.isclosed() or answer.length == 0:  # it was whole
                    self._chunk(b"")
                else:
                    self.close_connection = True
                return
            passed += len(data)
            self._chunk(data)
        if fault.hang is not None:
            fault.over.wait(600)
        self.close_connection = True

    def _any(self):
        proxy = self.server.proxy
        proxy.requests.append((self.command, self.path))
        fault = proxy.take(self.path)
        try:
            if fault and fault.status:
                self._plain(fault)
            else:
                self._pass(fault)
        except (OSError, http.client.HTTPException):  # one of the two went away
            self.close_connection = True
        if self.close_connection:
            self._abort()

    def _abort(self):
        try:  # no TLS good-bye: as a machine that fell over
            socket.socket.shutdown(self.connection, socket.SHUT_RDWR)
        except OSError:
            pass

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def get_request(self):
        plain, peer = super().get_request()
        plain.settimeout(10)
        self.proxy.open_sockets.add(plain)
        return plain, peer

    def finish_request(self, request, client_address):
        try:  # in the connection's own thread: a client that does not speak keeps nobody waiting
            tls = self.proxy.tls.wrap_socket(request, server_side=True)
        except (OSError, ssl.SSLError):
            return
        tls.settimeout(600)
        self.proxy.open_sockets.add(tls)
        super().finish_request(tls, client_address)

    def handle_error(self, request, client_address):
        pass


class FaultProxy:
    def __init__(self, plane, address="127.0.0.1", port=7443):
        self.plane, self.url = plane, f"https://{address}:{port}"
        self.faults, self.requests = [], []
        self.open_sockets = set()
        self.lock = threading.Lock()
        self.serve_as(plane.ca.issue("proxy", "/CN=proxy", [f"IP:{address}"]))
        self.server = _Server((address, port), _Handler)
        self.server.proxy = self
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def serve_as(self, pair):
        """The certificate of connections from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*map(str, pair))
        self.tls = context

    def add(self, *args, **kw):
        self.faults.append(Fault(*args, **kw))
        return self.faults[-1]

    def take(self, path):
        with self.lock:
            for fault in self.faults:
                if fault.left and fault.match in path:
                    fault.left -= 1
                    fault.met += 1
                    return fault
        return None

    def cut_all(self):
        """Ends every connection, in the middle of whatever it carries."""
        sockets, self.open_sockets = self.open_sockets, set()
        for s in sockets:
            try:
                socket.socket.shutdown(s, socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        for fault in self.faults:
            fault.end()
        self.server.shutdown()
        self.server.server_close()
        self.cut_all()

"""A client of the API server for tests, of nothing but Python: what the client under test is compared with."""
import http.client
import json
import ssl
import urllib.parse


class ApiError(Exception):
    def __init__(self, status, text):
        super().__init__(f"status {status}: {text[:400]}")
        self.status = status


class Api:
    """One connection; not for several threads. token or (cert, key)."""

    def __init__(self, server, ca, cert=None, key=None, token=None, timeout=30):
        self.url, self.timeout = urllib.parse.urlsplit(server), timeout
        self.tls = ssl.create_default_context(cafile=str(ca))
        if cert:
            self.tls.load_cert_chain(str(cert), str(key))
        self.token = token
        self.connection = None

    def _send(self, method, path, body, headers):
        if not self.connection:
            self.connection = http.client.HTTPSConnection(self.url.hostname, self.url.port, context=self.tls,
                                                          timeout=self.timeout)
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read().decode()

    def request(self, method, path, body=None, content_type="application/json"):
        """Returns the decoded answer (text when it is not JSON)."""
        headers = {"Content-Type": content_type} if body is not None else {}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if body is not None and not isinstance(body, str):
            body = json.dumps(body)
        try:
            status, text = self._send(method, path, body, headers)
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        if status >= 300:
            raise ApiError(status, text)
        return json.loads(text) if text[:1] in "{[" else text

    def get(self, path):
        return self.request("GET", path)

    def create(self, path, body):
        return self.request("POST", path, body)

    def merge(self, path, body):
        return self.request("PATCH", path, body, "application/merge-patch+json")

    def apply(self, path, body, manager="tests"):
        return self.request("PATCH", f"{path}?fieldManager={manager}&force=true", body, "application/apply-patch+yaml")

    def delete(self, path):
        return self.request("DELETE", path)

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

"""The peers that carry TCP over mTLS between two pods: HAProxy and Envoy, configured as their manuals say."""
import json
import subprocess

from harness import net

HTTP, BULK = 8080, 5201  # of the servers


def certificates(folder):
    """A CA and one leaf for both sides, ECDSA P-256 as in the mesh."""
    folder.mkdir()

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name in ("ca", "leaf"):
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
    openssl("req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=bench", "-days", "2", "-out", "ca.crt")
    openssl("req", "-new", "-key", "leaf.key", "-subj", "/CN=leaf", "-out", "leaf.csr")
    (folder / "ext").write_text("subjectAltName=URI:spiffe://cluster.local/ns/shop/sa/bench\n")
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "ext", "-out", "leaf.crt")
    (folder / "leaf.pem").write_text((folder / "leaf.crt").read_text() + (folder / "leaf.key").read_text())
    return folder


def haproxy(client, server, folder, certs):
    """Client pod: 127.0.0.1:9080 and :9081 → TLS → server pod → nginx, iperf3. Returns [processes], HTTP, bulk."""
    common = ("global\n  maxconn 9000\n  nbthread 1\n  log stdout format raw local0\n"
              "defaults\n  mode tcp\n  log global\n  option tcplog\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n")
    tls = f"ssl crt {certs}/leaf.pem ca-file {certs}/ca.crt verify required ssl-min-ver TLSv1.3"
    (folder / "haproxy-client.cfg").write_text(common + "".join(
        f"listen l{i}\n  bind 127.0.0.1:{9080 + i}\n  server s {server.ip}:{9180 + i} {tls}\n" for i in (0, 1)))
    (folder / "haproxy-server.cfg").write_text(common + "".join(
        f"listen l{i}\n  bind {server.ip}:{9180 + i} {tls}\n  server s 127.0.0.1:{port}\n" for i, port in ((0, HTTP), (1, BULK))))
    procs = [pod.run(f"haproxy-{side}", "haproxy", "-db", "-f", folder / f"haproxy-{side}.cfg")
             for side, pod in (("client", client), ("server", server))]
    return procs, ("127.0.0.1", 9080), ("127.0.0.1", 9081)


def envoy(binary, client, server, folder, certs):
    """The same with Envoy, one worker."""
    def tls(kind):
        context = {"common_tls_context": {
            "tls_certificates": [{"certificate_chain": {"filename": f"{certs}/leaf.crt"},
                                  "private_key": {"filename": f"{certs}/leaf.key"}}],
            "validation_context": {"trusted_ca": {"filename": f"{certs}/ca.crt"}},
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}}}
        if kind == "Downstream":
            context["require_client_certificate"] = True
        return {"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": f"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}TlsContext", **context}}

    def address(ip, port):
        return {"socket_address": {"address": ip, "port_value": port}}

    def config(side, links):
        listeners, clusters = [], []
        for i, (ip, port, to_ip, to_port) in enumerate(links):
            log = {"name": "envoy.access_loggers.file", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": str(folder / f"envoy-{side}.access")}}
            chain = {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": f"c{i}", "cluster": f"c{i}", "access_log": [log]}}]}
            cluster = {"name": f"c{i}", "type": "STATIC", "connect_timeout": "5s", "load_assignment": {
                "cluster_name": f"c{i}", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(to_ip, to_port)}}]}]},
                "circuit_breakers": {"thresholds": [{"max_connections": 20000, "max_pending_requests": 20000}]}}
            if side == "server":
                chain["transport_socket"] = tls("Downstream")
            else:
                cluster["transport_socket"] = tls("Upstream")
            listeners.append({"name": f"l{i}", "address": address(ip, port), "filter_chains": [chain]})
            clusters.append(cluster)
        target = folder / f"envoy-{side}.json"
        target.write_text(json.dumps({"static_resources": {"listeners": listeners, "clusters": clusters}}))
        return target

    files = {"client": config("client", [("127.0.0.1", 9280 + i, server.ip, 9380 + i) for i in (0, 1)]),
             "server": config("server", [(server.ip, 9380, "127.0.0.1", HTTP), (server.ip, 9381, "127.0.0.1", BULK)])}
    procs = [pod.run(f"envoy-{side}", binary, "-c", files[side], "--concurrency", "1", "-l", "warn", "--disable-hot-restart")
             for side, pod in (("client", client), ("server", server))]
    return procs, ("127.0.0.1", 9280), ("127.0.0.1", 9281)


def reachable(pod, at):
    """Does an HTTP request from the pod arrive?"""
    return "200" in net.sh("curl", "-s", "-o", "/dev/null", "-m", "2", "-w", "%{http_code}", f"http://{at[0]}:{at[1]}/",
                           netns=pod.netns, check=False)

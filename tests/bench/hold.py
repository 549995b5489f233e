"""Holds many connections, each with one byte exchanged.

    hold.py listen PORT MAX      accepts, answers each first byte
    hold.py IP PORT COUNT        connects, prints `holding COUNT`, lets go when its stdin ends"""
import resource
import select
import socket
import sys


def listen(port):
    s = socket.create_server(("", port), backlog=4096)
    poll, conns = select.epoll(), {}
    poll.register(s, select.EPOLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == s.fileno():
                c, _ = s.accept()
                conns[c.fileno()] = c
                poll.register(c, select.EPOLLIN)
                continue
            data = b""
            try:
                data = conns[fd].recv(100)
                if data:
                    conns[fd].send(data)
            except OSError:
                pass
            if not data:
                poll.unregister(fd)
                conns.pop(fd).close()


def hold(ip, port, count):
    conns = []
    for i in range(count):
        c = socket.create_connection((ip, port), timeout=20)
        c.sendall(b"x")
        if c.recv(1) != b"x":
            print(f"connection {i} was closed", flush=True)
            return 1
        conns.append(c)
    print(f"holding {count}", flush=True)
    sys.stdin.read()
    return 0


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (19000, 19000))
    if sys.argv[1] == "listen":
        listen(int(sys.argv[2]))
    sys.exit(hold(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))


main()

"""Processes that end, at any moment."""
import json
import signal
import threading
import time

import pytest
from harness import apps
from harness.mesh import as_list, http_get
from harness.proc import wait_until


@pytest.fixture(scope="module")
def web(shop):
    with apps.Server(shop.web[0], 8080, apps.name_of("web-1")), apps.Server(shop.web[1], 8080, apps.name_of("web-2")):
        yield (shop.web[1].ip, 8080)


def sent(m):
    """What the controller has sent to each client since it started: {node: resources}."""
    status, text = http_get("http://127.0.0.1:9876/debug/statusz")
    return json.loads(text)["clients"] if status == 200 else []


def test_without_a_controller_the_mesh_goes_on_and_nothing_is_sent_again(shop, web):
    m = shop.m
    # so many that a controller which answered before it has read them would be caught
    m.apply("many", "---\n".join(f"apiVersion: v1\nkind: Service\nmetadata: {{name: s{i}, namespace: shop}}\nspec:\n  clusterIP: 10.97.{i // 250}.{i % 250}\n"
                                 f"  clusterIPs: [10.97.{i // 250}.{i % 250}]\n  ports: [{{name: p, port: 80}}]\n" for i in range(2000)))
    wait_until(lambda: len(as_list(m.dump("node-1").get("services"))) > 2000, "every Service has arrived", 30)
    with apps.connect(shop.client, web) as s:
        s.sendall(b"before\n")
        assert s.recv(100)
        m.controller.stop()
        s.sendall(b"during\n")
        assert b"during" in s.recv(100)
        for _ in range(20):
            assert apps.ask(shop.client, web)  # new connections between known pods
        m.controller.start()
        m.wait_controller()
        clients = wait_until(lambda: (c := sent(m)) and len(c) == 2 and all(synced(x) for x in c) and c,
                             lambda: f"both ztunnels are back: {sent(m)}", deadline=30)
        for c in clients:
            assert resources_sent(c) == 0, f"sent again after the restart: {c}"
        s.sendall(b"after\n")
        assert b"after" in s.recv(100)
    m.remove("many")


def synced(client):
    return len(client["types"]) == 2 and all(t["acked"] and not t["behind"] for t in client["types"])


def resources_sent(client):
    return sum(t["resources"] + t["removed"] for t in client["types"])


def traffic_until(stop, pod, web, seen):
    while not stop.is_set():
        try:
            seen.append(bool(apps.ask(pod, web, timeout=5)))
        except OSError:
            seen.append(False)


def test_a_ztunnel_that_is_killed_comes_back(shop, web):
    z = shop.m.ztunnels["node-2"]
    for _ in range(3):
        z.kill()
        # what is captured is never open: nobody answers for the ztunnel
        with pytest.raises(OSError):
            apps.ask(shop.client, web, timeout=3)
        with pytest.raises(OSError):
            apps.ask(shop.outsider, web, timeout=3)
        z.start()
        shop.m.wait_node("node-2")
        wait_until(lambda: answers(shop.client, web), "the client is answered")


def answers(pod, at):
    try:
        return apps.ask(pod, at, timeout=3)
    except OSError:
        return None


def test_an_agent_that_is_killed_changes_nothing_for_its_pods(shop, web):
    agent = shop.m.agents["node-2"]
    with apps.connect(shop.client, web) as s:
        agent.kill()
        s.sendall(b"one\n")
        assert b"one" in s.recv(100)
        assert apps.ask(shop.client, web)
        agent.start()
        shop.m.wait_node("node-2")
        wait_until(lambda: shop.m.shown(shop.web[1]), "the agent shows its pods again")
        s.sendall(b"two\n")
        assert b"two" in s.recv(100)
        assert apps.ask(shop.client, web)


def test_any_process_at_any_moment(shop, web):
    """Killed in turns under traffic; afterwards everything works, and nobody saw foreign bytes."""
    m, stop, seen = shop.m, threading.Event(), []
    t = threading.Thread(target=traffic_until, args=(stop, shop.client, web, seen))
    t.start()
    everything = [m.controller, *m.agents.values(), *m.ztunnels.values()]
    for i, p in enumerate(everything * 2):
        time.sleep(0.03 * (i % 5))  # another moment each time
        p.restart(signal.SIGKILL)
    m.wait_controller()
    for node in m.nodes:
        m.wait_node(node)
    wait_until(lambda: all(answers(shop.client, (w.ip, 8080)) for w in shop.web), "both backends answer", 30)
    stop.set()
    t.join()
    assert any(seen)


def test_rules_that_somebody_removes_are_written_again(shop, web):
    shop.web[1].sh("nft", "delete", "table", "inet", "mesh")
    log = shop.m.agents["node-2"]
    log.wait_log("rules of shop/web-2", "not as intended", deadline=30)
    wait_until(lambda: "mesh" in shop.web[1].sh("nft", "list", "tables"), "the table is there again")
    assert apps.ask(shop.client, web)


def test_a_drained_ztunnel_lets_connections_finish(shop, web):
    z = shop.m.ztunnels["node-2"]
    with apps.connect(shop.client, web) as s:
        s.sendall(b"one\n")
        assert s.recv(100)
        z.p.send_signal(signal.SIGTERM)
        s.sendall(b"two\n")
        assert b"two" in s.recv(100)
    assert z.p.wait(15) == 0
    z.start()
    shop.m.wait_node("node-2")
    wait_until(lambda: answers(shop.client, web), "the client is answered")

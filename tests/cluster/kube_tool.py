"""Drives tests/tools/kube_tool.c, and holds an informer to its word: no event missed, none told twice."""
import os
import pathlib
import subprocess
import threading

from harness.proc import wait_until

BINARY = pathlib.Path(os.environ.get("MESH_TOOLS", pathlib.Path(__file__).resolve().parents[2] / "build/tests"))


class KubeTool:
    def __init__(self, *args, program="kube_tool"):
        self.p = subprocess.Popen([BINARY / program, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, bufsize=1)
        self.lines, self.objects, self.wrong = [], {}, []
        self.changes = 0
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.p.stdout:
            line = line.rstrip("\n")
            words = line.split(" ")
            if len(words) == 4 and words[1] in "+~-":
                self._change(*words)
            else:
                self.lines.append(line)

    def _change(self, informer, sign, name, uid):
        self.changes += 1
        known = self.objects.setdefault(informer, {})
        if (sign == "+") == (name in known):
            self.wrong.append(f"{informer} {sign} {name} {uid}, known: {known.get(name)}")
        if sign == "-":
            if known.pop(name, None) != uid:
                self.wrong.append(f"{informer} - {name} {uid}: was another")
        else:
            known[name] = uid

    def say(self, *words):
        self.p.stdin.write(" ".join(map(str, words)) + "\n")
        self.p.stdin.flush()

    def mark(self):
        return len(self.lines)

    def wait(self, *texts, since=0, deadline=15):
        """The first line from mark since on that holds all texts."""
        def find():
            return next((line for line in self.lines[since:] if all(t in line for t in texts)), None)
        return wait_until(find, lambda: f"{texts} in the output:\n" + "\n".join(self.lines[since:][-15:]), deadline)

    def ask(self, *words, deadline=40):
        """A command with a reply: its words."""
        since = self.mark()
        self.say(*words)
        return self.wait("reply ", since=since, deadline=deadline).split(" ", 6)[1:]

    def informer(self, name, kind, *args, deadline=60):
        self.say("informer", name, kind, *args)
        return int(self.wait(f"{name} synced", deadline=deadline).split()[2])

    def dump(self, name):
        since = self.mark()
        self.say("dump", name)
        self.wait(f"{name} end", since=since, deadline=60)
        return [line.split(" ", 2)[2] for line in self.lines[since:] if line.startswith(f"{name} = ")]

    def bytes_kept(self, name):
        """Bytes of the objects that an informer holds."""
        since = self.mark()
        self.say("dump", name)
        return int(self.wait(f"{name} end", since=since, deadline=60).split()[3])

    def rss(self):
        """Resident memory in bytes."""
        status = pathlib.Path(f"/proc/{self.p.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) * 1024

    def is_as(self, name, expected, deadline=30):
        """The informer's objects are these, {"ns/name": uid}, and every event fitted the ones before."""
        def same():
            return self.objects.get(name, {}) == expected
        wait_until(same, lambda: f"{name} has {_differences(self.objects.get(name, {}), expected)}", deadline)
        assert not self.wrong, self.wrong[:5]

    def close(self):
        if self.p.poll() is None:
            self.p.stdin.close()
            status = self.p.wait(15)
            self.thread.join(5)
            assert status == 0, "\n".join(self.lines[-15:])
        else:
            raise AssertionError(f"kube_tool ended with {self.p.returncode}: {self.lines[-15:]}")


def _differences(a, b):
    out = [f"{len(a)} objects, {len(b)} expected"]
    out += [f"+{k}" for k in sorted(a.keys() - b.keys())[:5]] + [f"-{k}" for k in sorted(b.keys() - a.keys())[:5]]
    return " ".join(out + [f"~{k}" for k in a.keys() & b.keys() if a[k] != b[k]][:5])

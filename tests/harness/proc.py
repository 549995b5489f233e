"""Processes of the system under test: started, watched, killed, measured."""
import os
import pathlib
import signal
import subprocess
import time

from harness import net


def wait_until(fn, what, deadline=15.0, every=0.02):
    """Returns the first true value of fn; fails with what after the deadline."""
    end = time.monotonic() + deadline
    while True:
        value = fn()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what() if callable(what) else what}")
        time.sleep(every)


class Process:
    def __init__(self, name, command, netns=None, env=None, cwd=None, log=None):
        self.name, self.command, self.netns, self.env, self.cwd = name, list(map(str, command)), netns, env, cwd
        self.log_path = pathlib.Path(log)
        self.p = None
        self.start()

    def start(self):
        with open(self.log_path, "ab") as log:
            self.p = subprocess.Popen([*net.inside(self.netns), *self.command], stdin=subprocess.DEVNULL, stdout=log,
                                      stderr=log, cwd=self.cwd, env={**os.environ, **self.env} if self.env else None)
        return self

    @property
    def pid(self):  # nsenter executes the program in its own place
        return self.p.pid

    def alive(self):
        return self.p.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace")

    def kill(self, signo=signal.SIGKILL, timeout=15):
        if self.alive():
            self.p.send_signal(signo)
        return self.p.wait(timeout)

    def stop(self, timeout=15):
        return self.kill(signal.SIGTERM, timeout)

    def restart(self, signo=signal.SIGKILL):
        self.kill(signo)
        return self.start()

    def wait_log(self, *texts, deadline=10, since=0):
        """The first line, from an offset of the log on, that holds all texts."""
        def find():
            for line in self.log()[since:].splitlines():
                if all(t in line for t in texts):
                    return line
        return wait_until(find, lambda: f"{self.name} logs {texts}; last: {self.log()[-1500:]}", deadline)

    def memory(self):
        """(RSS, RssAnon) in kB."""
        rows = dict(l.split(":", 1) for l in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines())
        return int(rows["VmRSS"].split()[0]), int(rows["RssAnon"].split()[0])

    def cpu_s(self):
        """User and system time so far."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

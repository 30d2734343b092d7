"""Processes the bench starts: their start, their end, and what they cost, by the kernel's own accounting."""

import ctypes
import os
import signal
import subprocess
import time

CLOCK_PROCESS = 2  # CPUCLOCK_SCHED of a whole process, threads that have ended included: see clock_getcpuclockid(3)
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class StartError(Exception):
    """A program did not come up; the message ends with the last lines it wrote."""


class Service:
    """One program in the foreground with its children. Output goes to `output.log` in its folder."""

    def __init__(self, argv, folder, cpus=None):
        self.output = os.path.join(folder, "output.log")
        bench = os.getpid()

        def before_exec():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # a killed bench leaves nothing behind
            if os.getppid() != bench:
                os._exit(1)
            if cpus:
                os.sched_setaffinity(0, cpus)

        with open(self.output, "wb") as log:
            self.process = subprocess.Popen(
                argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=before_exec)

    def wait_until(self, ready, what, patience=15):
        """Poll `ready()` until it returns something true, and return that. If it does not come to that, stop."""
        try:
            return self.poll(ready, what, patience)
        except BaseException:
            self.stop()
            raise

    def poll(self, ready, what, patience):
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if result := ready():
                return result
            if self.process.poll() is not None:
                raise StartError(f"ended with status {self.process.returncode} before {what}: {self.last_words()}")
            time.sleep(0.02)
        raise StartError(f"not {what} after {patience} s: {self.last_words()}")

    def last_words(self):
        with open(self.output, encoding="utf-8", errors="replace") as log:
            return " / ".join(log.read().strip().splitlines()[-5:]) or "(it wrote nothing)"

    def pids(self):
        """The process and all its descendants."""
        children = {}
        for name in os.listdir("/proc"):
            if name.isdigit() and (parent := parent_of(name)):
                children.setdefault(parent, []).append(int(name))
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            queue += children.get(pid, [])
        return sorted(found)

    def cpu_ns(self):
        """User and system time of each process so far, in nanoseconds."""
        return {pid: time.clock_gettime_ns((~pid << 3) | CLOCK_PROCESS) for pid in self.pids()}

    def pss_kib(self):
        """Memory of all processes, pages they share counted once."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
                total += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        return total

    def stop(self, patience=3):
        if self.process.poll() is not None:
            return
        family = self.pids()
        self.process.terminate()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            # Children first: while their parent lives, unreaped, their ids cannot mean anybody else.
            for pid in [pid for pid in self.pids() if pid in family and pid != self.process.pid]:
                os.kill(pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()


class CpuMeter:
    """CPU that a service spends inside the `with` block, in microseconds."""

    IDLE = 20_000_000  # nanoseconds: who has used no more in all its life may go
    SETTLE = 0.1  # seconds for work that is under way (closing connections, log lines) to end before each reading

    def __init__(self, service):
        self.service = service

    def __enter__(self):
        time.sleep(self.SETTLE)
        self.before = self.service.cpu_ns()
        return self

    def __exit__(self, kind, *_):
        if kind:
            return
        time.sleep(self.SETTLE)
        after = self.service.cpu_ns()
        # nginx has a process that looks through an empty cache a minute after the start, and ends.
        gone = [pid for pid, used in self.before.items() if pid not in after and used > self.IDLE]
        if gone or set(after) - set(self.before):
            raise RuntimeError("a process of the proxy came or went while it was measured")
        self.us = sum(after[pid] - self.before[pid] for pid in after) / 1000


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None  # it ended meanwhile


def busy_share(seconds=0.5):
    """How busy this machine is with other things, 0 to 1."""
    def read():
        with open("/proc/stat", encoding="ascii") as stat:
            fields = [int(field) for field in stat.readline().split()[1:9]]
        return sum(fields), fields[3] + fields[4]

    total, idle = read()
    time.sleep(seconds)
    total_after, idle_after = read()
    return 1 - (idle_after - idle) / max(1, total_after - total)

"""What the clients of client.py are at, what librdkafka said last, and whether it moves at all: for the day on which one does not come back.

Every instance of librdkafka has a thread "rdk:main" that wakes up once a second whatever brokers say or don't. One that has not run for STILL_SECONDS waits
for a lock that nobody will give: that is the library's, and no answer of a broker, nor the lack of one, can bring it about or end it.

`Recording.listen`: SIGUSR1 writes the stacks of all Python threads into PATH.stacks, SIGUSR2 what each client is at, and its last words, into PATH.words.
"""
import collections
import faulthandler
import json
import logging
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from waiting import wait_until

STILL_SECONDS = 10
WORDS = 300  # lines of each client that are kept
END_OF_WORDS = "that was all\n"
LIBRARY_THREAD = "rdk:main"
TASKS = Path("/proc/self/task")


def library_threads():
    """The ids of all threads that have that name."""
    found = set()
    for task in TASKS.iterdir():
        try:
            if (task / "comm").read_text().strip() == LIBRARY_THREAD:
                found.add(int(task.name))
        except OSError:
            continue  # it has just ended
    return found


def switches(thread):
    """How often a thread was let run and stopped; None: there is no such thread."""
    try:
        lines = (TASKS / str(thread) / "status").read_text().splitlines()
    except OSError:
        return None
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


class Words(logging.Handler):
    """The last lines that one client's library logged."""

    def __init__(self, process):
        super().__init__(logging.DEBUG)
        self.lines, self.count = collections.deque(maxlen=WORDS), 0
        self.logger = logging.Logger(f"librdkafka of {process}", logging.DEBUG)
        self.logger.addHandler(self)

    def emit(self, record):
        self.count += 1
        self.lines.append(f"{time.monotonic():.3f} {record.getMessage()}")


class Client:
    """One instance of librdkafka, made with `make(words.logger)`, and what its owner does with it."""

    def __init__(self, recording, process, make):
        self.recording, self.process, self.words, self.statistics = recording, process, Words(process), None
        with recording.making:  # so that the new thread of that name is ours
            before = library_threads()
            self.library = make(self)
            # A thread that one of that name begins has it too, until it names itself.
            def begun():
                found = library_threads() - before
                return found if len(found) == 1 else None
            [self.thread] = wait_until(begun, 10, f"the one thread {LIBRARY_THREAD} of {process}")  # of that look: a later one may see such a passing thread
            self.count, self.ran_at = None, time.monotonic()
        self.does("begins")
        recording.clients[process] = self

    def does(self, what):
        self.what, self.since = what, time.monotonic()

    def ended(self):
        self.recording.clients.pop(self.process, None)

    def said(self, statistics):
        """stats_cb"""
        self.statistics = statistics

    def look(self):
        """For how many seconds the library's thread has not run; to be asked again and again. One that is gone is not called still: it has run to its end."""
        count, now = switches(self.thread), time.monotonic()
        if count is None or count != self.count:
            self.count, self.ran_at = count, now
        return now - self.ran_at

    def is_still(self):
        return self.look() > STILL_SECONDS

    def told(self):
        still = self.look()
        return f"in {self.what} for {time.monotonic() - self.since:.0f} s" + (f" (librdkafka stands still, its {LIBRARY_THREAD} has not run for {still:.0f} s)" if still > STILL_SECONDS else "")


class Recording:
    def __init__(self, path):
        self.path, self.clients, self.making = path, {}, threading.Lock()

    def told(self):
        return {process: client.told() for process, client in sorted(self.clients.items())}

    def listen(self):
        """To be called on the main thread, before there are others: they leave the second signal to the one that waits for it, whatever the main thread is in."""
        faulthandler.register(signal.SIGUSR1, open(f"{self.path}.stacks", "w", encoding="utf-8"), all_threads=True)  # noqa: SIM115
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        threading.Thread(target=self.answer, daemon=True).start()

    def answer(self):
        while signal.sigwait({signal.SIGUSR2}):
            self.write()

    def write(self):
        with open(f"{self.path}.words", "w", encoding="utf-8") as file:
            for process, client in sorted(self.clients.items()):
                file.write(f"==== {process}, its {LIBRARY_THREAD} is {client.thread}: {client.told()}\n")
                file.write("".join(f"{line}\n" for line in list(client.words.lines)))
                file.write(f"---- {client.words.count} lines in all; statistics: {json.dumps(json.loads(client.statistics)) if client.statistics else None}\n")
            file.write(END_OF_WORDS)


def wait_for(threads, stuck, pause=0.1):
    """Until each (one of client.py, with its `client`) has ended or its library stands still: those are put into `stuck`, {process: what it is in}."""
    waiting = list(threads)
    while waiting:
        for thread in list(waiting):
            thread.join(pause)
            client = thread.client
            if not thread.is_alive():
                waiting.remove(thread)
            elif client is not None and client.is_still():
                stuck[client.process] = client.told()
                waiting.remove(thread)


def stacks_of(process, path, program="gdb"):
    """Where all threads of another process are, native ones by a debugger if there is one, into PATH. Never raises for want of it: this is called when something is wrong."""
    with open(path, "w", encoding="utf-8") as file:
        for task in sorted(Path(f"/proc/{process}/task").iterdir(), key=lambda one: int(one.name)):
            try:
                status = {line.partition(":")[0]: line.partition(":")[2].strip() for line in (task / "status").read_text().splitlines()}
                file.write(f"{task.name} {status['Name']}: {status['State']}, switches {status['voluntary_ctxt_switches']}, system call {(task / 'syscall').read_text()}")
            except OSError as error:
                file.write(f"{task.name}: {error}\n")
        file.flush()
        try:
            subprocess.run([program, "-p", str(process), "-batch", "-ex", "set pagination off", "-ex", "thread apply all bt"], stdin=subprocess.DEVNULL, stdout=file,
                           stderr=subprocess.STDOUT, timeout=90, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            file.write(f"no native stacks: {error}\n")

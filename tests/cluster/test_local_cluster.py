"""deploy/local-cluster: the demonstration of --check in both shapes, and what it does when somebody looks, breaks a node and presses Ctrl-C."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from cluster import ROOT, free_port, program
from waiting import stretched, wait_until

SCRIPT = ROOT / "deploy/local-cluster"


def environment():
    # To the nodes every MOLDAU_ name is an option.
    return {name: value for name, value in os.environ.items() if not name.startswith("MOLDAU_")}


def is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def base_port():
    """With room for five nodes: the script refuses ports that are taken."""
    for _ in range(100):
        base = free_port()
        if all(is_free(base + 100 * node + number) for node in range(5) for number in range(3)):
            return base
    raise OSError("no free range of ports found")


def run(*words, status=0, seconds=120):
    done = subprocess.run([SCRIPT, "--program", program(), *map(str, words)], env=environment(), capture_output=True, text=True,
                          timeout=stretched(seconds), check=False, cwd="/")
    assert done.returncode == status, f"{words}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.mark.parametrize("shape", [["3"], ["2", "--controllers", "3"], pytest.param(["5"], marks=pytest.mark.full)], ids=["3", "2+3", "5"])
def test_check_demonstrates_a_death(shape):
    done = run(*shape, "--check", "--base-port", base_port())
    assert "All 2100 messages came back, each once." in done.stdout and done.stdout.endswith("local-cluster: check passed\n"), done.stdout
    assert re.fullmatch(r"(wrote [^\n]*\n)*", done.stderr), done.stderr


def test_bad_words_are_refused_with_a_sentence(folder):
    for words in (["0"], ["three"], ["--controllers", "99"], ["--base-port", "80"], ["--frobnicate"], ["2", "--check"], ["31"]):
        done = run(*words, status=1, seconds=20)
        assert re.fullmatch(r"local-cluster: [^\n]+\n", done.stderr), done.stderr
    (folder / "cluster").write_text("brokers=7 controllers=0 base_port=9092\n")
    done = run("3", "--dir", folder, "--base-port", base_port(), status=1, seconds=20)
    assert "holds another cluster" in done.stderr


class Session:
    """The script as somebody runs it at a terminal; what it prints is collected."""

    def __init__(self, folder, port):
        command = [SCRIPT, "3", "--program", program(), "--dir", folder, "--base-port", str(port), "--", "--set", "min.insync.replicas=2"]
        # As at a terminal: what a job in the background was started with (Ctrl-C ignored) is inherited else, and a shell can't trap it.
        self.process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
                                        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        self.lines = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    @property
    def text(self):
        return "".join(self.lines)

    def wait_text(self, pattern, seconds=60):
        def said():
            found = re.search(pattern, self.text)
            assert found or self.process.poll() is None, f"it ended with status {self.process.poll()}:\n{self.text}"
            return found
        return wait_until(said, seconds, f"the script to say {pattern!r}")

    def end(self):
        """Ctrl-C, as a terminal sends it: to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)
        status = self.process.wait(stretched(60))
        self.reader.join(stretched(5))
        return status


def is_alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_it_stays_up_tells_of_a_death_and_ends_all_in_order(folder):
    port = base_port()
    session = Session(folder / "cluster", port)
    try:
        session.wait_text(r"Stop: Ctrl-C")
        pids = {int(node): int(pid) for node, pid in re.findall(r"^  node (\d+) .* pid (\d+)", session.text, re.MULTILINE)}
        assert sorted(pids) == [1, 2, 3]
        os.kill(pids[2], signal.SIGKILL)
        session.wait_text(r"Node 2 has ended \(status 137\)")
        command = session.wait_text(r"Start it again: (\S+)")[1]
        log = folder / "cluster/node-2/log"
        marked = log.stat().st_size
        by_hand = subprocess.Popen([command], env=environment(), stdin=subprocess.DEVNULL)
        try:
            bootstrap = f"127.0.0.1:{port}"
            status = [program(), "cluster", "status", "--output", "json", "--bootstrap-server", bootstrap]
            wait_until(lambda: subprocess.run(status, capture_output=True, text=True, env=environment(), check=False).stdout.count('"active"') == 3, 30,
                       "node 2 to be active again")
        finally:
            by_hand.send_signal(signal.SIGTERM)
            assert by_hand.wait(stretched(30)) == 0, log.read_text()[marked:]
        started = time.monotonic()
        assert session.end() == 130, session.text
        assert time.monotonic() - started < stretched(25), "nobody had to be killed"
        assert "was killed" not in session.text, session.text
        assert not any(is_alive(pid) for pid in pids.values())
    finally:
        if session.process.poll() is None:
            session.end()

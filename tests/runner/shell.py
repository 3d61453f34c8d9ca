"""Runs one command with a deadline, in a process group of its own, its output in a log file."""
import os
import signal
import subprocess
import time
from pathlib import Path


class Deadline(Exception):
    """The command did not end in time; it and its children are gone."""


def _end_group(process):
    for sig, patience_s in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, sig)
        except ProcessLookupError:
            return
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue


def start(command, log_path, env=None, cwd=None):
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with open(log_path, "ab") as log:
        log.write(f"$ {' '.join(map(str, command))}\n".encode())
        log.flush()
        return subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log,
                                stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}, cwd=cwd, start_new_session=True)


def finish(process, deadline):
    """The exit status; raises Deadline when the monotonic time `deadline` (None: never) passes first."""
    try:
        return process.wait(None if deadline is None else max(1.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise Deadline() from None
    finally:
        _end_group(process)  # also what a program that ended by itself has left behind


def run(command, log_path, deadline=None, env=None, cwd=None):
    return finish(start(command, log_path, env, cwd), deadline)


def tail(log_path, lines=40):
    path = Path(log_path)
    if not path.exists():
        return ""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

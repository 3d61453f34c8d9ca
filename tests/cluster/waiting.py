"""Waiting for conditions, never for time: every wait has a deadline, stretched by MOLDAU_TIME_FACTOR (sanitizer builds are slow)."""
import os
import threading
import time

FACTOR = float(os.environ.get("MOLDAU_TIME_FACTOR", "1"))
POLL_SECONDS = 0.01


def stretched(seconds):
    return seconds * FACTOR


def wait_until(condition, seconds, what):
    """The first true value of `condition`, asked again and again; AssertionError names `what` when `seconds` have passed."""
    deadline = time.monotonic() + stretched(seconds)
    pause = threading.Event()  # a pause between two questions, not a wait for anything
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {stretched(seconds):.0f} s in vain for {what}; last: {value!r}")
        pause.wait(POLL_SECONDS)

"""Fixtures and markers of the tests from outside."""
import shutil
import tempfile
from pathlib import Path

import pytest

import reference as kafka
from cluster import External, Node


def pytest_addoption(parser):
    parser.addoption("--external", metavar="HOST:PORT", help="test the broker that runs there instead of starting nodes")


def pytest_configure(config):
    config.addinivalue_line("markers", "full: too long for tests/run; tests/full runs it")
    config.addinivalue_line("markers", "needs_reference: needs Apache Kafka itself or its tools (and so Java)")


def pytest_collection_modifyitems(items):
    reason = kafka.missing()
    for item in items:
        if reason and item.get_closest_marker("needs_reference"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def folder():
    """A directory of its own, on the disk, gone after the test."""
    path = Path(tempfile.mkdtemp(prefix="moldau-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def module_folder():
    path = Path(tempfile.mkdtemp(prefix="moldau-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def node(request, module_folder):
    """A running node for the tests of one file that can share it."""
    external = request.config.getoption("--external")
    if external:
        yield External(external)
        return
    with Node(module_folder / "node", getattr(request.module, "NODE_SETTINGS", None)) as started:
        yield started.start()


@pytest.fixture(scope="module")
def reference(module_folder):
    """A running Apache Kafka."""
    with kafka.Reference(module_folder / "kafka") as started:
        yield started.start()

"""What cannot be started ends with exit status 1 and one clear sentence, and leaves the disk as it was."""
import hashlib
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from cluster import Node, free_port, program
from waiting import stretched

SECONDS_MAX = 20  # a start that is refused takes milliseconds


def tree(folder):
    """What lies below `folder`: {path: content's digest}, directories and links included."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_symlink():
            content = f"link to {os.readlink(path)}"
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            content = "directory"
        found[str(path.relative_to(folder))] = f"{content} {path.lstat().st_mode:o}"
    return found


class Workplace:
    """A working directory in which starts are tried; `port` is free."""

    def __init__(self, folder):
        self.folder, self.port = Path(folder), free_port()
        self.listeners = f"listeners=PLAINTEXT://127.0.0.1:{self.port}"

    def refused(self, *arguments, environment=None, before=()):
        """Tries `moldau server ARGUMENTS`; it must end with status 1 and one line, which is returned, and change nothing."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MOLDAU_")}
        was = tree(self.folder)
        done = subprocess.run([*before, str(program()), "server", *arguments], cwd=self.folder, capture_output=True, text=True,
                              env={**inherited, **(environment or {})}, timeout=stretched(SECONDS_MAX))
        assert done.returncode == 1, f"exit status {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.stdout == "", done.stdout
        assert re.fullmatch(r"moldau: [^\n]+\n", done.stderr), f"not one sentence:\n{done.stderr}"
        assert tree(self.folder) == was, f"the disk was changed by a start that was refused: {done.stderr}"
        return done.stderr

    def refused_with(self, **settings):
        """The same with settings (dots as __) beside a listener and ./data; a setting given here wins."""
        pairs = {"listeners": self.listeners.partition("=")[2], "log.dirs": "data"}
        pairs.update({name.replace("__", "."): value for name, value in settings.items()})
        return self.refused(*(part for name, value in pairs.items() for part in ("--set", f"{name}={value}")))

    def formed(self, name):
        """A data directory in which a node has lived, stopped in order."""
        with Node(self.folder / "life", {"log.dirs": self.folder / name}) as node:
            node.start()
        return self.folder / name


@pytest.fixture
def place(folder):
    return Workplace(folder)


# ---- configuration ----
@pytest.mark.parametrize("arguments,said", [
    (["--set", "nod.id=1"], r'no option "nod.id"; did you mean node.id\?'),
    (["--set", "no.such.option=1"], r'no option "no.such.option"; `moldau server --help` lists them'),
    (["--set", "node.id=abc"], r'node.id is "abc", but it must be a whole number'),
    (["--set", "node.id=-1"], r'node.id is "-1", but it must be a whole number'),
    (["--set", "log.level=loud"], r"one of: error,warn,info,debug"),
    (["--set", "node.id"], r"name=value, as in --set node.id=1"),
    (["--set"], r"--set needs name=value"),
    (["--no-such-argument"], r"unknown argument .*--no-such-argument"),
    (["surplus"], r"unknown argument .*surplus"),
    (["--config", "missing.properties"], r"configuration file missing.properties: does not exist"),
    (["--set", "listeners=elsewhere"], r'"elsewhere" is not NAME://host:port'),
    (["--set", "listeners=PLAINTEXT://127.0.0.1:99999"], r"is not NAME://host:port"),
    (["--set", "listeners=PLAINTEXT://127.0.0.1:0,PLAINTEXT://127.0.0.1:0"], r"the name PLAINTEXT is used twice"),
    (["--set", "listeners=PLAINTEXT://no.such.host.invalid:9092"], r"no.such.host.invalid:9092 .* can't be resolved"),
    (["--set", "log.durability=maybe"], r'log.durability is "maybe", but it must be one of: synced,cached'),
    (["--set", "process.roles=broker"], r"controller.quorum.voters is empty, but this node is no controller"),
    (["--set", "http.listener=127.0.0.1:x"], r"http.listener must be host:port"),
    (["--set", "log.dirs="], r"log.dirs is empty; name at least one directory"),
], ids=lambda value: "-".join(value) if isinstance(value, list) else "")
def test_bad_configuration(place, arguments, said):
    assert re.search(said, place.refused(*arguments))


def test_bad_line_of_a_file_is_named(place):
    (place.folder / "node.properties").write_text("# a node\nnode.id=1\nretention.of.logs=5\n")
    assert 'node.properties:3: there is no option "retention.of.logs"' in place.refused("--config", "node.properties")
    (place.folder / "node.properties").write_text("node.id\n")
    assert 'node.properties:1: expected name=value, found "node.id"' in place.refused("--config", "node.properties")


def test_bad_environment(place):
    assert 'no option "MOLDAU_NO_SUCH"' in place.refused(environment={"MOLDAU_NO_SUCH": "1"})


def test_another_nodes_controller(place):
    assert "name it as 1@host:port too" in place.refused_with(controller__quorum__voters="2@127.0.0.1:9093")


# ---- addresses ----
def test_occupied_port(place):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert f"can't listen on {address} (listener PLAINTEXT): the address is in use" in place.refused_with(
            listeners=f"PLAINTEXT://{address}")
        assert f"can't listen on {address} (http.listener): the address is in use" in place.refused_with(http__listener=address)


def test_address_of_another_machine(place):
    assert "192.0.2.1:9092 (listener PLAINTEXT): the address does not exist on this machine" in place.refused_with(
        listeners="PLAINTEXT://192.0.2.1:9092")


# ---- directories ----
def test_directory_with_other_files(place):
    (place.folder / "photos").mkdir()
    (place.folder / "photos/cat.jpg").write_bytes(b"a cat")
    assert "photos has no meta.properties but other files (cat.jpg): it is no data directory of Moldau" in place.refused_with(
        log__dirs="photos")
    assert "cat.jpg is a file, not a directory" in place.refused_with(log__dirs="photos/cat.jpg")


def test_directory_of_apache_kafka(place):
    (place.folder / "kafka/topic-0").mkdir(parents=True)
    (place.folder / "kafka/meta.properties").write_text("version=1\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\nnode.id=1\n")
    assert "kafka/meta.properties is not a meta.properties that Moldau wrote" in place.refused_with(log__dirs="kafka")


def test_good_directory_beside_a_bad_one(place):
    """The good one must not be made or locked for good when the node can't start."""
    (place.folder / "photos").mkdir()
    (place.folder / "photos/cat.jpg").write_bytes(b"a cat")
    assert "photos has no meta.properties" in place.refused_with(log__dirs="new,photos")
    assert "log.dirs names one directory twice" in place.refused_with(log__dirs="new,./new")


def test_directory_that_cannot_be_written(place):
    """Root may write anywhere: the capability that lets it is taken away first."""
    locked = place.folder / "locked"
    locked.mkdir(mode=0o555)
    before = []
    if os.geteuid() == 0:
        assert shutil.which("setpriv"), "setpriv (util-linux) is missing"
        before = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    for path, said in (("locked", "can't write to the directory locked: permission denied"),
                       ("locked/new", "can't make the directory locked/new: permission denied")):
        assert said in place.refused("--set", place.listeners, "--set", f"log.dirs={path}", before=before)
    assert "can't make the directory /proc/moldau: " in place.refused_with(log__dirs="/proc/moldau")


def test_directory_of_another_node_or_cluster(place):
    first, second = place.formed("first"), place.formed("second")
    assert "belongs to node 1, this is node 7; set node.id=1" in place.refused_with(log__dirs=first, node__id=7)
    assert re.search(r"second belongs to cluster \S{22}, this is cluster \S{22}; set log.dirs to a directory of this cluster",
                     place.refused_with(log__dirs=f"{first},{second}"))


def test_directory_in_use(folder):
    with Node(folder / "node") as node:
        node.start()
        place = Workplace(folder / "elsewhere")
        place.folder.mkdir()
        assert f"{node.data} is in use by another running process" in place.refused_with(log__dirs=node.data)
        node.wait_ready()


def test_damaged_directories(place):
    """Each damage is found before anything is changed, and the file is named."""
    good = place.formed("good")
    (quorum_log,) = good.glob("__cluster_metadata/moldau-metadata/log-*")

    def damaged(file, change):
        copy = place.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(good, copy)
        path = copy / file.relative_to(good)
        path.write_bytes(change(path.read_bytes()))
        return place.refused_with(log__dirs="copy")

    assert "copy/meta.properties is not a meta.properties that Moldau wrote" in damaged(good / "meta.properties", lambda _: b"garbage\n")
    assert "copy/meta.properties is not a meta.properties that Moldau wrote" in damaged(good / "meta.properties", lambda _: b"")
    assert "identity is damaged (its checksum does not fit)" in damaged(
        quorum_log.parent / "identity", lambda content: content[:40] + bytes([content[40] ^ 0x55]) + content[41:])
    assert "nothing was changed" in damaged(quorum_log, lambda content: content[:0x90] + b"XXXX" + content[0x94:])


def test_metadata_that_was_lost(place):
    good = place.formed("good")
    shutil.rmtree(good / "__cluster_metadata")
    assert "__cluster_metadata holds no metadata: it was lost or metadata.log.dir points elsewhere" in place.refused_with(log__dirs=good)

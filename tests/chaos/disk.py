"""Disks with faults for the nodes of a run: disk_fuse.c, one process and one mount for each node.

    disk.give(world, nodes)            # before the start, once for each node
    node.disk.tell("slow", 200, 0)     # the words are those of disk_faults.h; the answer has all counts
    disk.power_off([node, ...])        # SIGKILL, and what was not synced is gone; the kernel's boot id becomes another one

The mounts are in a namespace of the run's own and go with its last process. A kernel's boot id is a file that is bound over /proc's, in a namespace of each node.
"""
import contextlib
import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path

from net import LIBC, call
from waiting import stretched

CLONE_NEWNS = 0x20000
HERE = Path(__file__).resolve().parent
BOOT_ID = "/proc/sys/kernel/random/boot_id"
AS_BOOTED = f'mount --bind "$0" {BOOT_ID} && exec "$@"'


def missing():
    """Why there can be no such disks here; None: there can."""
    if os.geteuid() != 0:
        return "needs root for mount namespaces"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"needs FUSE: /dev/fuse: {error.strerror}"
    for program in ("cc", "pkg-config"):
        if shutil.which(program) is None:
            return f"no {program} here (deploy/install-deps)"
    if subprocess.run(["pkg-config", "--exists", "fuse3 >= 3.12"], check=False).returncode != 0:
        return "no libfuse 3.12 with its headers here (deploy/install-deps --tests)"
    done = subprocess.run(["unshare", "--mount", "mount", "--make-rprivate", "/"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"needs mount namespaces: {done.stderr.strip()[:200]}"


def build(folder):
    """(the file system, what its users preload)"""
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], capture_output=True, text=True, check=True).stdout.split()
    fuse, preload = folder / "disk_fuse", folder / "disk_preload.so"
    call("cc", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-o", fuse, *[HERE / f"disk_{name}.c" for name in ("fuse", "faults", "layers")], *flags)
    call("cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", preload, HERE / "disk_preload.c")
    return fuse, preload


def private_mounts():
    """From here on this thread, and what it starts, has mounts of its own."""
    if LIBC.unshare(CLONE_NEWNS) != 0:
        raise OSError("a mount namespace can't be made: disks with faults need root")
    call("mount", "--make-rprivate", "/")


class Disk:
    def __init__(self, fuse, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", str(fuse), str(self.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "mounted\n", f"{self.folder} was not mounted"

    def tell(self, *words):
        """Gives a command; all counts."""
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert answer["known"], f"no such command: {words}"
        return answer

    def count(self, name):
        return self.tell("told")[name]

    def heal(self):
        """No more faults; what hangs goes on. A write that was torn never comes to an end but with the power."""
        for words in (("hang", "none"), ("slow", 0, 0), ("fail", "write", 0, "*"), ("fail", "sync", 0, "*"), ("space", -1), ("tear", "none", 0), ("on",)):
            self.tell(*words)

    def end(self, keep=None):
        """`keep`: where to copy what is on it."""
        if keep is not None:
            shutil.copytree(self.folder, keep)
        self.process.stdin.close()
        self.process.wait(stretched(10))
        self.process.stdout.close()
        with contextlib.suppress(OSError):  # the world's folder goes as a whole
            self.folder.rmdir()


def give(world, nodes):
    """Disks for those that have none; they are the nodes' data directories from now on."""
    nodes = [node for node in nodes if node.disk is None]
    if nodes and not world.disks:
        private_mounts()
        world.disk_programs = build(world.folder)
    for node in nodes:
        fuse, preload = world.disk_programs
        node.disk = Disk(fuse, node.folder / "disk")
        world.disks.append(node.disk)
        node.use_data(node.disk.folder / "data")
        node.data.mkdir()
        node.disk.tell("sync")
        node.preload(preload)
        node.boot_path = node.folder / "boot_id"
        boot(node)
        node.wrap = [*node.wrap, "unshare", "--mount", "--propagation", "private", "sh", "-c", AS_BOOTED, str(node.boot_path)]


def boot(node):
    node.boot_path.write_text(f"{uuid.uuid4()}\n")


LOST = ("lost_files", "lost_bytes", "lost_names")


def power_off(nodes):
    """All at once; what was lost, by node. The power goes with the signal, not with the process: one that is within a slow sync, or in a call that its disk never
    answers, is gone no sooner. Until it is, its disk takes nothing more."""
    before = {node.id: node.disk.count("cut_syncs") for node in nodes}
    for node in nodes:
        node.process.kill()
    losses = {node.id: node.disk.tell("off") for node in nodes}
    for node in nodes:
        node.process.wait(stretched(10))
        node.process = None
        node.disk.heal()
        boot(node)
    return {node.id: {**{name: losses[node.id][name] for name in LOST}, "cut_syncs": node.disk.count("cut_syncs") - before[node.id]} for node in nodes}

"""The disk with faults (disk_fuse.c): what it keeps, what it loses, how it fails. Each case is a disk of its own, in a namespace of its own."""
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cluster")]

import disk

BEGIN = """
import ctypes, errno, os, sys, threading, time
from pathlib import Path
sys.path[:0] = [%r, %r]
import disk
from waiting import wait_until
disk.private_mounts()
one = disk.Disk(Path(%r), Path(%r) / "mount")
root = one.folder
libc = ctypes.CDLL(%r, use_errno=True)

def sync(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

def sync_all():
    fd = os.open(root, os.O_RDONLY)
    status = libc.syncfs(fd)
    os.close(fd)
    return 0 if status == 0 else ctypes.get_errno()

def fails(what, number):
    try:
        what()
    except OSError as error:
        assert error.errno == number, error
        return True
    return False
"""


@unittest.skipIf(disk.missing() is not None, str(disk.missing()))
class Disks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.fuse, cls.preload = disk.build(Path(cls.folder))

    def run_on_disk(self, text):
        with tempfile.TemporaryDirectory() as folder:
            begin = BEGIN % (str(HERE), str(HERE.parent / "cluster"), str(self.fuse), folder, str(self.preload))
            done = subprocess.run([sys.executable, "-B", "-c", begin + textwrap.dedent(text) + "\none.heal(); one.end()\nprint('whole')\n"],
                                  capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual((done.stdout, done.returncode), ("whole\n", 0), done.stderr)

    def test_a_power_loss_takes_what_was_not_synced(self):
        self.run_on_disk("""
            (root / "kept").write_bytes(b"a" * 10000); sync(root / "kept")
            (root / "unnamed").write_bytes(b"b"); sync(root / "unnamed")
            sync(root)
            (root / "later").write_bytes(b"c"); sync(root / "later")
            (root / "empty").touch()
            with open(root / "kept", "r+b") as file:
                file.seek(5000); file.write(b"x" * 100); file.seek(0, 2); file.write(b"more")
            lost = one.tell("lose")
            assert (lost["lost_names"], lost["lost_bytes"]) == (2, 4), lost
            assert sorted(os.listdir(root)) == ["kept", "unnamed"], os.listdir(root)
            assert (root / "kept").read_bytes() == b"a" * 10000 and (root / "unnamed").read_bytes() == b"b"
        """)

    def test_names_are_the_directory_s_and_bytes_the_file_s(self):
        self.run_on_disk("""
            (root / "old").write_bytes(b"old"); (root / "gone").write_bytes(b"gone"); one.tell("sync")
            (root / "new").write_bytes(b"new"); os.rename(root / "new", root / "old"); os.unlink(root / "gone")
            one.tell("lose")
            assert (root / "old").read_bytes() == b"old" and (root / "gone").read_bytes() == b"gone"
            (root / "new").write_bytes(b"new"); os.rename(root / "new", root / "old"); sync(root)
            one.tell("lose")
            assert (root / "old").read_bytes() == b"", "a name without its bytes"
            (root / "new").write_bytes(b"new"); sync(root / "new"); os.rename(root / "new", root / "old"); os.unlink(root / "gone"); sync(root)
            one.tell("lose")
            assert os.listdir(root) == ["old"] and (root / "old").read_bytes() == b"new"
            (root / "folder").mkdir(); (root / "folder/file").write_bytes(b"1"); sync(root)
            one.tell("lose")
            assert os.listdir(root / "folder") == []
        """)

    def test_cuts_and_growth(self):
        self.run_on_disk("""
            (root / "file").write_bytes(b"a" * 20000); one.tell("sync")
            os.truncate(root / "file", 100)
            one.tell("lose")
            assert (root / "file").read_bytes() == b"a" * 20000
            os.truncate(root / "file", 100); os.truncate(root / "file", 9000); sync(root / "file")
            one.tell("lose")
            assert (root / "file").read_bytes() == b"a" * 100 + bytes(8900)
            with open(root / "file", "r+b") as file:
                file.seek(30000); file.write(b"end"); file.flush(); os.fsync(file.fileno())
            one.tell("lose")
            assert (root / "file").read_bytes() == b"a" * 100 + bytes(29900) + b"end"
        """)

    def test_the_preloaded_syncfs_reaches_it(self):
        self.run_on_disk("""
            (root / "folder").mkdir(); (root / "folder/file").write_bytes(b"1")
            assert sync_all() == 0
            lost = one.tell("lose")
            assert lost["lost_names"] == 0 and (root / "folder/file").read_bytes() == b"1", lost
            one.tell("fail", "sync", 1, "*")
            assert sync_all() == errno.EIO and sync_all() == 0
            assert libc.syncfs(os.open("/", os.O_RDONLY)) == 0
        """)

    def test_a_failed_sync_leaves_pages_clean_and_lost(self):
        self.run_on_disk("""
            (root / "file").write_bytes(b"a" * 4096); one.tell("sync")
            with open(root / "file", "r+b", buffering=0) as file:
                file.seek(4096); file.write(b"b" * 4096)
                one.tell("fail", "sync", 1, "*file")
                assert fails(lambda: os.fsync(file.fileno()), errno.EIO)
                os.fsync(file.fileno())
                file.write(b"c" * 4096); os.fsync(file.fileno())
                assert (root / "file").read_bytes() == b"a" * 4096 + b"b" * 4096 + b"c" * 4096
            one.tell("lose")
            assert (root / "file").read_bytes() == b"a" * 4096 + bytes(4096) + b"c" * 4096
            with open(root / "file", "r+b", buffering=0) as file:
                file.write(b"d" * 8192); one.tell("fail", "sync", 1, "*"); assert fails(lambda: os.fsync(file.fileno()), errno.EIO)
                file.seek(0); file.write(b"d" * 8192); os.fsync(file.fileno())
            one.tell("lose")
            assert (root / "file").read_bytes() == b"d" * 8192 + b"c" * 4096, "written again, so it is there"
        """)

    def test_writes_fail_and_the_disk_fills_up(self):
        self.run_on_disk("""
            one.tell("fail", "write", 1, "*/x.log")
            (root / "folder").mkdir()
            (root / "folder/x.index").write_bytes(b"1")
            assert fails(lambda: (root / "folder/x.log").write_bytes(b"1"), errno.EIO)
            (root / "folder/x.log").write_bytes(b"1")
            # What the kernel sends as the second part of one write: its failure is heard of when the rest is tried again.
            (root / "folder/y.log").write_bytes(b"1" * 4096)
            with open(root / "folder/y.log", "r+b", buffering=0) as file:
                one.tell("fail", "write", 1, "*/y.log")
                for expected in (True, True, False):
                    assert fails(lambda: os.pwrite(file.fileno(), b"2" * 100, 4096), errno.EIO) == expected
                os.pwrite(file.fileno(), b"1" * 8092, 4196); before = one.count("writes")
                assert os.pwrite(file.fileno(), b"3" * 8192, 12288 + 100) == 8192 and one.count("writes") - before > 1
            one.tell("space", one.count("used") + 10)
            fd = os.open(root / "folder/x.log", os.O_WRONLY | os.O_APPEND)
            assert os.write(fd, b"2" * 20) == 10
            assert fails(lambda: os.write(fd, b"3"), errno.ENOSPC)
            assert os.statvfs(root).f_bavail == 0
            one.tell("space", -1)
            assert os.write(fd, b"3") == 1 and one.count("full") == 2
        """)

    def test_slow_and_hung(self):
        self.run_on_disk("""
            (root / "file").write_bytes(b"1" * 4096)
            one.tell("slow", 200, 40960); began = time.monotonic(); sync(root / "file")
            assert 0.29 < time.monotonic() - began < 5
            one.tell("slow", 0, 0); one.tell("hang", "write")
            thread = threading.Thread(target=(root / "file").write_bytes, args=(b"22",)); thread.start()
            wait_until(lambda: one.count("waiting") == 1, 5, "the write to hang")
            sync(root)
            one.tell("hang", "none"); thread.join(5)
            assert not thread.is_alive() and (root / "file").read_bytes() == b"22"
        """)

    def test_power_goes_within_a_slow_sync(self):
        """When the bytes were safe is not known: before the waiting at one sync, behind it at the next."""
        self.run_on_disk("""
            kept = []
            for number in range(2):
                (root / f"file{number}").touch(); one.tell("sync")
                file = open(root / f"file{number}", "wb", buffering=0)
                file.write(b"1" * 100)
                one.tell("slow", 30000, 0); slow = one.count("slow_ms")
                failed = []
                thread = threading.Thread(target=lambda: failed.append(fails(lambda: os.fsync(file.fileno()), errno.EIO))); thread.start()
                wait_until(lambda: one.count("slow_ms") > slow, 5, "the sync to be waited for")
                one.tell("lose"); thread.join(5)
                assert failed == [True]
                one.tell("slow", 0, 0); file.close()
                kept.append((root / f"file{number}").read_bytes())
            assert sorted(kept) == [b"", b"1" * 100], kept
        """)

    def test_the_power_of_a_process_goes_within_its_slow_sync(self):
        """Not behind it, though the kernel lets nobody die in a call that is not answered."""
        self.run_on_disk("""
            import subprocess, types
            code = "import os, sys; file = open(sys.argv[1], 'wb', buffering=0); file.write(b'1' * 100); os.fsync(file.fileno()); file.write(b'late'); os.fsync(file.fileno())"
            kept, cut = [], 0
            for number in range(2):
                path = root / f"file{number}"; path.touch(); one.tell("sync")
                one.tell("slow", 3000, 0); slow = one.count("slow_ms")
                process = subprocess.Popen([sys.executable, "-c", code, path])
                wait_until(lambda: one.count("slow_ms") > slow, 5, "the sync to be waited for")
                node = types.SimpleNamespace(id=1, disk=one, process=process, boot_path=root.parent / "boot_id")
                cut += disk.power_off([node])[1]["cut_syncs"]
                assert node.process is None and process.returncode == -9
                kept.append(path.read_bytes())
            assert (sorted(kept), cut) == ([b"", b"1" * 100], 1), (kept, cut)
        """)

    def test_without_power_it_takes_nothing(self):
        self.run_on_disk("""
            (root / "file").write_bytes(b"1"); one.tell("sync")
            one.tell("off")
            file = os.open(root / "file", os.O_WRONLY)
            for what in (lambda: os.write(file, b"2"), lambda: os.fsync(file), (root / "new").touch, (root / "file").unlink, lambda: os.ftruncate(file, 0)):
                assert fails(what, errno.EIO)
            one.tell("on")
            os.close(file)
            assert os.listdir(root) == ["file"] and (root / "file").read_bytes() == b"1"
        """)

    def test_reads_hang_with_all_else(self):
        self.run_on_disk("""
            (root / "file").write_bytes(b"1" * 4096); one.tell("sync")
            one.tell("hang", "all")
            thread = threading.Thread(target=(root / "file").read_bytes); thread.start()
            wait_until(lambda: one.count("waiting") == 1, 5, "the read to hang")
            one.tell("hang", "none"); thread.join(5)
            assert not thread.is_alive()
        """)

    def test_torn(self):
        self.run_on_disk("""
            (root / "file").write_bytes(b"1" * 100); one.tell("sync")
            one.tell("tear", "*file", 500)
            failed = []
            def write():
                fd = os.open(root / "file", os.O_WRONLY | os.O_APPEND)
                failed.append(fails(lambda: os.write(fd, b"2" * 100), errno.EIO))
            thread = threading.Thread(target=write); thread.start()
            wait_until(lambda: one.count("torn") == 1, 5, "the write to be torn")
            one.tell("lose"); thread.join(5)
            assert failed == [True] and (root / "file").read_bytes() == b"1" * 100 + b"2" * 50
        """)


if __name__ == "__main__":
    unittest.main()

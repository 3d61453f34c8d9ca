"""tests/tidy/check.py [--build DIR] [--junit FILE]: the tree's rules that no compiler checks (docs/style.md). One function a rule.

With --build also looks into the built objects (what they call, what they keep in writable memory) and runs clang-format and
clang-tidy. test_check.py plants a violation for every rule and sees it reported: a rule without that is refused.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.sax.saxutils import quoteattr

FILE_LINES_MAX, FUNCTION_LINES_MAX = 500, 70
TIDY_FILES_MAX, TIDY_SECONDS_MAX = 30, 110
# Nothing includes upward (docs/architecture.md).
LAYERS = {"common": 0, "proto": 1, "controller": 2, "broker": 3, "console": 4, "connect": 4, "streams": 4, "cli": 5}
HEADER_FIELDS = ("Shape:", "Units:", "Limits:", "Errors:", "Ownership:", "Threads:", "Source:", "Memory:", "Time:")

# What only the seam's production side (common/posix/) may use: design.md 3. Symbols are compared without "__", "_chk" and "64".
SYSTEM_HEADERS = re.compile(r"(sys/(?!param\.h|types\.h|uio\.h|cdefs\.h).*|unistd|pthread|threads|time|fcntl|poll|signal|dirent|netdb|"
                            r"net/.*|netinet/.*|arpa/inet|semaphore|sched|spawn|event2?/.*|evhttp|event|uv)(\.h)?")
SYSTEM_SYMBOLS = re.compile(
    r"(open(at)?|creat|p?(read|write)v?2?|close|f?(data)?sync|syncfs|sync_file_range|rename(at2?)?|unlink(at)?|link(at)?|symlink|mkdir(at)?|rmdir|"
    r"remove|(open|read|close)dir|scandir|[fl]?stat(x|at|fs|vfs)?|f?truncate|(posix_)?fallocate|fadvise|posix_fadvise|m(un)?map|msync|m(in|ad)core|"
    r"sendfile|splice|copy_file_range|f?open|fdopen|freopen|popen|tmpfile|mkd?s?temp|f(un)?lock|lockf|fcntl|ioctl|dup[23]?|pipe2?|realpath|getcwd|"
    r"chdir|access|ch(mod|own)|umask|socket(pair)?|bind|listen|accept4?|connect|shutdown|(send|recv)(to|from|m?msg)?|[gs]etsockopt|getsockname|"
    r"getpeername|getaddrinfo|gethostby.*|poll|ppoll|p?select|epoll_.*|eventfd|timerfd_.*|signalfd|io_uring_.*|pthread_.*|sem_.*|thrd_.*|mtx_.*|"
    r"cnd_.*|sched_.*|time|clock|clock_.*|gettimeofday|(u|nano)?sleep|localtime(_r)?|mktime|s?rand(om)?(_r)?|[dlm]rand48|getrandom|getentropy|"
    r"arc4random.*|RAND_.*|fork|vfork|exec[lv].*|posix_spawnp?|system|kill|raise|signal|sig(action|procmask|wait.*)|getenv|secure_getenv|[su]n?setenv|"
    r"getpid|gethostname|getuid|sysconf|getrlimit|setrlimit|getrusage|sysinfo|syscall|environ|f?printf|vf?printf|puts|putchar|f(put[cs]|get[cs]|read|write|"
    r"flush|close|seek|tell)|getline|getdelim|std(in|out|err)|perror|event_.*|evbuffer_.*|bufferevent_.*|ev(http|util|dns|listener|connlistener)_.*)")
# (file, symbols or headers, reason). Short, and each line argued for.
SYSTEM_ALLOWED = (
    ("common/check.c", r"f?printf|fflush|stderr", "a broken invariant must be told even when nothing else can be trusted"),
    ("common/metric.c", r"pthread\.h|pthread_mutex_.*", "a lock around the registry's lists; counting takes none, nothing waits for another node"),
    ("common/logger.c", r"time\.h", "struct tm and gmtime_r, which compute; the clock comes through the seam"),
    ("cli/.*", r"f?printf|vf?printf|puts|putchar|f(put[cs]|write|flush)|std(out|err)", "the command line's own output"),
)
# (object or symbol, reason): what may be in writable memory. None.
GLOBALS_ALLOWED = ()
RAFT_FILES_MAX = 3
# (document, command that prints it; {build} is the build folder).
GENERATED_DOCS = (("docs/options.md", ("{build}/moldau", "server", "--options-markdown")),
                  ("docs/metrics.md", ("{build}/moldau", "server", "--metrics-markdown")))


class Tree:
    def __init__(self, root, paths=None):
        self.root = Path(root)
        if paths is None:
            paths = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
        self.paths = [path for path in paths if path and (self.root / path).is_file()]
        self.text = {path: self._read(path) for path in self.paths}

    def _read(self, path):
        try:
            return (self.root / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return ""

    def c_files(self, product_only=False):
        for path in self.paths:
            if path.endswith((".c", ".h")) and (not product_only or path.split("/")[0] in LAYERS):
                yield path, self.text[path]

    def includes(self):
        for path, text in self.c_files(product_only=True):
            for number, line in enumerate(text.splitlines(), 1):
                match = re.match(r'\s*#\s*include\s*(["<])([^">]+)', line)
                if match:
                    yield path, number, match.group(1) == "<", match.group(2)


def file_length(tree, _):
    for path in tree.paths:
        lines = tree.text[path].count("\n")
        if path.endswith((".c", ".h", ".py", ".build", ".sh")) and lines > FILE_LINES_MAX:
            yield f"{path}: {lines} lines, {FILE_LINES_MAX} at most"


def function_length(tree, _):
    for path, text in tree.c_files():
        start = None
        for number, line in enumerate(text.splitlines(), 1):
            if line == "{":
                start = number
            elif line == "}" and start is not None:
                if number - start - 1 > FUNCTION_LINES_MAX:
                    yield f"{path}:{start}: a function of {number - start - 1} lines, {FUNCTION_LINES_MAX} at most"
                start = None


def unique_stems(tree, _):
    folders = {}
    for path, _text in tree.c_files():
        folders.setdefault(Path(path).stem, set()).add(str(Path(path).parent))
    for stem, where in sorted(folders.items()):
        if len(where) > 1:
            yield f"stem '{stem}' is used in {', '.join(sorted(where))}"


def header_comments(tree, _):
    for path, text in tree.c_files(product_only=True):
        if path.endswith(".h"):
            comment = text.split("*/")[0]
            if not text.startswith(f"/* {Path(path).stem}: "):
                yield f"{path}:1: must begin with '/* {Path(path).stem}: ' and say what the module is responsible for"
            elif not any(field in comment for field in HEADER_FIELDS):
                yield f"{path}:1: the head comment says neither ownership nor threads nor errors (style.md 4)"


def include_direction(tree, _):
    for path, number, angle, name in tree.includes():
        layer, other = path.split("/")[0], name.split("/")[0]
        if not angle and (other == "tests" or LAYERS.get(other, 0) > LAYERS[layer]):
            yield f"{path}:{number}: {layer}/ includes {name}: upward"


def system_includes(tree, _):
    for path, number, angle, name in tree.includes():
        if angle and not path.startswith("common/posix/") and SYSTEM_HEADERS.fullmatch(name) and not _allowed(path, name):
            yield f"{path}:{number}: <{name}> outside common/posix/: go through common/seam/"


def raft_includes(tree, _):
    users = sorted({path for path, _number, _angle, name in tree.includes() if name == "raft.h"})
    yield from (f"{path}: raft.h outside controller/" for path in users if not path.startswith("controller/"))
    if len(users) > RAFT_FILES_MAX:
        yield f"raft.h is included by {', '.join(users)}: {RAFT_FILES_MAX} files at most"


def todo_with_issue(tree, _):
    word = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b(?!\((issue )?#?\d+\))")
    for path in tree.paths:
        if path.endswith((".c", ".h", ".py", ".build", ".proto", ".kmsg", ".sh")):
            for number, line in enumerate(tree.text[path].splitlines(), 1):
                if word.search(line):
                    yield f"{path}:{number}: name the issue, as in {'TO' 'DO'}(issue 12)"


def _allowed(path, name):
    return any(re.fullmatch(file, path) and re.fullmatch(what, name) for file, what, _reason in SYSTEM_ALLOWED)


def _objects(build):
    """(source path without ../, object) of everything built for the product."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        layer = entry["output"].split("/")[0]
        source = re.sub(r"^.*?/(?=%s/)" % layer, "", os.path.normpath(entry["file"]).replace("../", "/"), count=1)
        if layer in LAYERS and (build / entry["output"]).exists():
            yield source, build / entry["output"]


def system_calls(_, build):
    """What the objects outside the seam call, whatever their sources include."""
    for source, path in _objects(build):
        if source.startswith("common/posix/"):
            continue
        for line in subprocess.run(["nm", "-u", path], capture_output=True, text=True, check=True).stdout.splitlines():
            symbol = line.split()[-1]
            name = re.sub(r"^_*(isoc\d+_)?|_chk$", "", re.sub(r"64(_r)?(?=_chk$|$)", r"\1", symbol))
            if SYSTEM_SYMBOLS.fullmatch(name) and not _allowed(source, name):
                yield f"{source}: calls {symbol}: go through common/seam/"


def mutable_globals(_, build):
    for source, path in _objects(build):
        for line in subprocess.run(["objdump", "-t", path], capture_output=True, text=True, check=True).stdout.splitlines():
            match = re.match(r"[0-9a-f]+ .{7} (\*COM\*|\.\S+)\t([0-9a-f]+) (?:\.hidden )?(\S+)", line)
            if not match or int(match.group(2), 16) == 0 or match.group(1).startswith(".data.rel.ro"):
                continue
            if match.group(1).startswith((".data", ".bss", ".tdata", ".tbss", "*COM*")):
                if not any(allowed in (source, match.group(3)) for allowed, _reason in GLOBALS_ALLOWED):
                    yield f"{source}: '{match.group(3)}' is writable for the whole process ({match.group(1)}): put it into a context"


def generated_docs(tree, build):
    for document, command in GENERATED_DOCS:
        printed = subprocess.run([part.format(build=build) for part in command], capture_output=True, text=True, check=True).stdout
        if printed != tree.text.get(document):
            yield f"{document} is out of date: {' '.join(command).format(build='build-ci')} > {document}"


class Skipped(Exception):
    pass


def _version_14(tool):
    for name in (f"{tool}-14", tool):
        path = shutil.which(name)
        if path and re.search(r"version 14\.", subprocess.run([path, "--version"], capture_output=True, text=True).stdout):
            return path
    raise Skipped(f"{tool} 14 is not here")


def clang_format(tree, _):
    files = [tree.root / path for path, _text in tree.c_files()]
    command = [_version_14("clang-format"), "--dry-run", "--Werror", "--ferror-limit=1", *files]
    errors = subprocess.run(command, capture_output=True, text=True, cwd=tree.root).stderr.replace(f"{tree.root}/", "") if files else ""
    yield from sorted({line.split(": ")[0] + ": not as clang-format 14 writes it" for line in errors.splitlines() if "error:" in line})


def _changed(root):
    """Files that the work tree, this branch, or (on the main branch) the last commits changed, newest first."""
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True).stdout.split()
    base, head = (git("merge-base", "HEAD", "origin/HEAD") or git("merge-base", "HEAD", "origin/main")), git("rev-parse", "HEAD")
    commits = f"{base[0]}..HEAD" if base and base != head else "HEAD"
    return list(dict.fromkeys(git("diff", "--name-only", "HEAD") + git("log", "-n", "50", "--name-only", "--format=", commits)))


def clang_tidy(tree, build):
    tool, changed = _version_14("clang-tidy"), _changed(tree.root)
    built = {path for path, _object in _objects(build)}
    sources = [path for path in changed if path in built and path.endswith(".c")][:TIDY_FILES_MAX]
    deadline = time.monotonic() + TIDY_SECONDS_MAX

    def one(path):
        if time.monotonic() > deadline:
            return []
        command = [tool, "--quiet", "-p", build, "--extra-arg=-Wno-unknown-warning-option", tree.root / path]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tree.root)
        found = [re.sub(r"^.*\.\./", "", line) for line in done.stdout.splitlines() if re.search(r": (warning|error): ", line)]
        return found or ([f"{path}: clang-tidy ended with {done.returncode}"] if done.returncode else [])

    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(one, sources):
            yield from found


SOURCE_RULES = (file_length, function_length, unique_stems, header_comments, include_direction, system_includes, raft_includes, todo_with_issue,
                clang_format)
BUILD_RULES = (system_calls, mutable_globals, generated_docs, clang_tidy)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, help="a finished build without sanitizers")
    parser.add_argument("--junit", type=Path)
    arguments = parser.parse_args()
    tree, cases, bad = Tree(Path(__file__).resolve().parents[2]), [], 0
    for rule in SOURCE_RULES + (BUILD_RULES if arguments.build else ()):
        name, inner = rule.__name__.replace("_", "-"), ""
        try:
            found = sorted(set(rule(tree, arguments.build)))
            print(f"{name}: {'ok' if not found else ''}", *found, sep="\n  " if found else "")
            inner = f"<failure message={quoteattr('; '.join(found))}/>" if found else ""
            bad += bool(found)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{name}: {error}")
            inner, bad = f"<error message={quoteattr(str(error))}/>", bad + 1
        except Skipped as reason:
            print(f"{name}: skipped: {reason}")
            inner = f"<skipped message={quoteattr(str(reason))}/>"
        cases.append(f'<testcase name="{name}">{inner}</testcase>')
    if arguments.junit:
        arguments.junit.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

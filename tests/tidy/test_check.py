"""Every rule of check.py is shown a planted violation and reports it, and accepts the same thing done right."""
import json
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import check

ROOT = Path(__file__).resolve().parents[2]
HEADER = "/* {stem}: a thing.\n *\n * Errors:    none.\n * Threads:   any.\n */\n"


class TidyTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name) / "tree"
        self.root.mkdir()

    def plant(self, files):
        for path, text in files.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)
        return check.Tree(self.root, list(files))

    def compile(self, files):
        """Builds the planted C files as Meson would lay them out."""
        tree, build, commands = self.plant(files), self.root / "build", []
        for path in files:
            output = f"{path.split('/')[0]}/lib.a.p/{Path(path).name}.o"
            (build / output).parent.mkdir(parents=True, exist_ok=True)
            command = ["gcc", "-O2", "-fPIC", "-D_FILE_OFFSET_BITS=64", "-D_FORTIFY_SOURCE=2", "-c", str(self.root / path), "-o", output]
            subprocess.run(command, cwd=build, check=True)
            commands.append({"directory": str(build), "arguments": command, "file": f"../{path}", "output": output})
        (build / "compile_commands.json").write_text(json.dumps(commands))
        return tree, build

    def assert_caught(self, rule, bad, good, compiled=False):
        for files, expected in ((bad, True), (good, False)):
            shutil.rmtree(self.root)
            self.root.mkdir()
            tree, build = self.compile(files) if compiled else (self.plant(files), None)
            found = list(rule(tree, build))
            self.assertEqual(bool(found), expected, found)

    def test_file_length(self):
        self.assert_caught(check.file_length, {"common/a.c": "\n" * 501}, {"common/a.c": "\n" * 500})

    def test_function_length(self):
        text = "int f(void)\n{{\n{}}}\n"
        self.assert_caught(check.function_length, {"common/a.c": text.format("    x();\n" * 71)}, {"common/a.c": text.format("    x();\n" * 70)})

    def test_unique_stems(self):
        self.assert_caught(check.unique_stems, {"common/a.c": "", "broker/a.h": ""}, {"common/a.c": "", "common/a.h": ""})

    def test_header_comments(self):
        self.assert_caught(check.header_comments, {"common/a.h": HEADER.format(stem="b")}, {"common/a.h": HEADER.format(stem="a")})
        self.assert_caught(check.header_comments, {"common/a.h": "/* a: a thing. */\n"}, {"common/a.h": HEADER.format(stem="a")})

    def test_include_direction(self):
        self.assert_caught(check.include_direction, {"common/a.c": '#include "proto/b.h"\n'}, {"proto/a.c": '#include "common/b.h"\n'})
        self.assert_caught(check.include_direction, {"cli/a.c": '#include "tests/support/b.h"\n'}, {"cli/a.c": '#include "broker/b.h"\n'})

    def test_system_includes(self):
        for header in ("unistd.h", "sys/socket.h", "event2/event.h", "time.h", "pthread.h", "fcntl.h"):
            text = f"#include <{header}>\n"
            self.assert_caught(check.system_includes, {"broker/a.c": text}, {"common/posix/a.c": text})

    def test_raft_includes(self):
        text = "#include <raft.h>\n"
        self.assert_caught(check.raft_includes, {"broker/a.c": text}, {"controller/a.c": text})
        self.assert_caught(check.raft_includes, {f"controller/{name}.c": text for name in "abcd"}, {f"controller/{name}.c": text for name in "abc"})

    def test_todo_with_issue(self):
        self.assert_caught(check.todo_with_issue, {"common/a.c": "/* TO" "DO: later */\n"}, {"common/a.c": "/* TO" "DO(issue 12): later */\n"})

    def test_clang_format(self):
        self.needs("clang-format")
        shutil.copy(ROOT / ".clang-format", self.root.parent / ".clang-format")
        self.assert_caught(check.clang_format, {"common/a.c": "int f(void) { return 1; }\n"}, {"common/a.c": "int f(void)\n{\n    return 1;\n}\n"})

    def test_system_calls(self):
        """Found in the object even when no header of the system is included."""
        bad = {
            "open": "int open(const char *p, int f, ...); int f(void) { return open(\"x\", 0); }",
            "open64": "#include <fcntl.h>\nint f(void) { return open(\"x\", 0); }",
            "read_chk": "#include <unistd.h>\nlong f(unsigned long n) { char b[8]; return read(0, b, n) + b[0]; }",
            "time": "#include <time.h>\nlong f(void) { return time(0); }",
            "rand": "int rand(void); int f(void) { return rand(); }",
            "mutex": "#include <pthread.h>\nint f(pthread_mutex_t *m) { return pthread_mutex_lock(m); }",
            "event": "struct event_base; int event_base_loop(struct event_base *, int); int f(void) { return event_base_loop(0, 0); }",
            "stdout": "#include <stdio.h>\nvoid f(void) { printf(\"%d\", 1); }",
        }
        good = {"common/a.c": "#include <string.h>\nvoid f(char *a, char *b) { memmove(a, b, 7); }"}
        for name, text in bad.items():
            with self.subTest(name):
                self.assert_caught(check.system_calls, {"common/a.c": text}, good, compiled=True)

    def test_mutable_globals(self):
        good = {"common/a.c": "static const char *const names[] = {\"a\", \"b\"}; const char *f(int i) { return names[i]; }"}
        bad = {
            "bss": "int counter; int f(void) { return counter++; }",
            "data": "int counter = 3; int f(void) { return counter++; }",
            "static": "int f(void) { static int counter; return counter++; }",
            "thread": "_Thread_local int counter; int f(void) { return counter++; }",
            "common": "int counter __attribute__((common)); int f(void) { return counter++; }",
            "pointer": "static const char *name = \"a\"; void g(const char **); void f(void) { g(&name); }",
        }
        for name, text in bad.items():
            with self.subTest(name):
                self.assert_caught(check.mutable_globals, {"common/a.c": text}, good, compiled=True)

    def test_generated_docs(self):
        previous, check.GENERATED_DOCS = check.GENERATED_DOCS, (("docs/a.md", ["echo", "one"]),)
        self.addCleanup(setattr, check, "GENERATED_DOCS", previous)
        self.assert_caught(check.generated_docs, {"docs/a.md": "two\n"}, {"docs/a.md": "one\n"})

    def test_clang_tidy(self):
        self.needs("clang-tidy")
        shutil.copy(ROOT / ".clang-tidy", self.root.parent / ".clang-tidy")
        previous, check._changed = check._changed, lambda _root: ["common/a.c"]
        self.addCleanup(setattr, check, "_changed", previous)
        bad = "int f(int a);\nint f(int a)\n{\n    int *nothing = 0;\n    return a == 1 ? *nothing : 0;\n}\n"
        good = "int f(int a);\nint f(int a)\n{\n    return a;\n}\n"
        self.assert_caught(check.clang_tidy, {"common/a.c": bad}, {"common/a.c": good}, compiled=True)

    def needs(self, tool):
        try:
            check._version_14(tool)
        except check.Skipped as reason:
            self.skipTest(str(reason))

    def test_every_rule_is_shown_able_to_fail(self):
        for rule in check.SOURCE_RULES + check.BUILD_RULES:
            self.assertTrue(hasattr(self, f"test_{rule.__name__}"), f"plant a violation for {rule.__name__}")


if __name__ == "__main__":
    unittest.main()

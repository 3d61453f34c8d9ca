"""expect_report.py PROGRAM TEXT: succeeds only if PROGRAM ends badly and its standard error says TEXT.

A gate that cannot fail guards nothing: each sanitizer build runs programs with planted bugs through this.
"""
import subprocess
import sys

program, text = sys.argv[1:3]
done = subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
if done.returncode == 0 or text not in done.stderr:
    print(f"{program}: exit status {done.returncode}, and {text!r} was expected in:\n{done.stderr}")
    sys.exit(1)

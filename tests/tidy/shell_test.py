#!/usr/bin/env python3
"""Fails when shellcheck finds anything in a shell script of ours."""

import subprocess
import sys

import project_files as pf

scripts = [path for path in pf.all_files() if path.endswith(".sh") or path == ".ci/run"]
result = subprocess.run(
    ["shellcheck", "-x", "-s", "bash", *scripts], cwd=pf.ROOT, capture_output=True, text=True, check=False
)
print(result.stdout + result.stderr, end="")
print(f"{len(scripts)} scripts.")
sys.exit(result.returncode)

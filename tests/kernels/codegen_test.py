#!/usr/bin/env python3
"""Checks what the compiler made of each kernel, for sm_90a, without a GPU.

 - No kernel spills registers or uses a stack frame (ptxas -v).
 - Every access to global memory is 16 bytes wide but for those that TABLE allows by name: a load of
   16 bytes is one instruction or it is four, and nothing else in the tests sees the difference.
 - The accesses that TABLE expects are there, so that an empty kernel does not pass.
 - Where cuobjdump is installed, the machine code agrees: 128-bit accesses and no local memory.

Exit status 0 when all hold; 1 with one line for each finding.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ARCH = ["-gencode=arch=compute_90a,code=sm_90a"]
FLAGS = ["-std=c++20", "-O3"]

# File -> kernel -> (least 16-byte loads, least 16-byte stores, most narrow loads, most narrow
# stores). Narrow ones in rmsnorm: rstd (one float a row) and the column sums of dw.
TABLE = {
    "rmsnorm.cu": {
        "forward_kernel": (2, 1, 0, 1),
        "backward_kernel": (4, 1, 1, 0),
        "weight_partials_kernel": (2, 0, None, None),
        "weight_sum_kernel": (0, 0, None, 1),
    },
    "swiglu.cu": {
        "swiglu_forward_kernel": (2, 1, 0, 0),
        "swiglu_backward_kernel": (3, 2, 0, 0),
    },
    "rope.cu": {
        "rope_kernel": (4, 2, 0, 0),
    },
    # Narrow in adamw: the last elements, the sums of blocks, the norm.
    "adamw.cu": {
        "norm_blocks_kernel": (1, 0, 1, 1),
        "norm_total_kernel": (0, 0, None, 1),
        "adamw_kernel": (8, 7, 5, 4),
    },
    # Narrow in nf4: absmax and its codes and scales, the tables.
    "nf4.cu": {
        "nf4_quantize_kernel": (2, 1, 0, 8),
        "nf4_dequantize_kernel": (1, 4, 5, 0),
    },
}


def run(command):
    """stdout + stderr of a command; a failing one ends the test with its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def kernel_of(symbol, kernels):
    """The kernel's plain name inside a mangled symbol, or None."""
    for name in kernels:
        if f"{len(name)}{name}" in symbol:
            return name
    return None


def check_resources(report, kernels, findings):
    """Spills and stack frames, from `ptxas -v`. Returns how many entries were read per kernel."""
    seen = dict.fromkeys(kernels, 0)
    entries = re.findall(
        r"Function properties for (\S+)\n\s*(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads", report)
    for symbol, stack, stores, loads in entries:
        name = kernel_of(symbol, kernels)
        if name is None:
            findings.append(f"{symbol}: a kernel that codegen_test.py does not list")
            continue
        seen[name] += 1
        if (stack, stores, loads) != ("0", "0", "0"):
            findings.append(f"{symbol}: stack {stack} B, spill stores {stores} B, loads {loads} B")
    for name, count in seen.items():
        if count == 0:
            findings.append(f"{name}: no instance in the compiler's report")
    return seen


def check_ptx(ptx, kernels, findings):
    """Widths of global loads and stores, kernel by kernel."""
    bodies = re.findall(r"\.entry\s+(\S+?)\s*\((.*?)\n\}", ptx, re.S)
    if not bodies:
        findings.append("no .entry found in the PTX")
    for symbol, body in bodies:
        name = kernel_of(symbol, kernels)
        if name is None:
            continue
        counts = {}
        for kind in ("ld", "st"):
            accesses = re.findall(rf"\b{kind}\.global\S*", body)
            wide = [a for a in accesses if re.search(r"\.v4\.(b|u|f|s)32$", a)]
            counts[kind] = (len(wide), len(accesses) - len(wide))
        loads_min, stores_min, narrow_loads_max, narrow_stores_max = kernels[name]
        for what, have, least in (("loads", counts["ld"][0], loads_min),
                                  ("stores", counts["st"][0], stores_min)):
            if have < least:
                findings.append(f"{symbol}: {have} 16-byte {what}, at least {least} expected")
        for what, have, most in (("loads", counts["ld"][1], narrow_loads_max),
                                 ("stores", counts["st"][1], narrow_stores_max)):
            if most is not None and have > most:
                findings.append(f"{symbol}: {have} narrow {what}, at most {most} allowed")
        if "ld.local" in body or "st.local" in body:
            findings.append(f"{symbol}: local memory in the PTX")


def check_sass(sass, kernels, findings):
    """128-bit accesses and no local memory in the machine code."""
    for chunk in re.split(r"\n\s*Function : ", sass)[1:]:
        symbol = chunk.split()[0]
        name = kernel_of(symbol, kernels)
        if name is None:
            continue
        if re.search(r"\b(LDL|STL)\b", chunk):
            findings.append(f"{symbol}: local memory in the machine code")
        loads = len(re.findall(r"\bLDG\.E\S*\.128", chunk))
        if loads < kernels[name][0]:
            findings.append(f"{symbol}: {loads} LDG.128, at least {kernels[name][0]} expected")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nvcc", required=True)
    parser.add_argument("--source-dir", required=True, type=pathlib.Path)
    args = parser.parse_args()
    cuobjdump = shutil.which(str(pathlib.Path(args.nvcc).with_name("cuobjdump"))) or shutil.which(
        "cuobjdump")
    findings = []
    for file, kernels in TABLE.items():
        source = args.source_dir / "kernels" / file
        base = [args.nvcc, *FLAGS, *ARCH, f"-I{args.source_dir}", str(source)]
        with tempfile.TemporaryDirectory() as folder:
            cubin, ptx = pathlib.Path(folder) / "k.cubin", pathlib.Path(folder) / "k.ptx"
            seen = check_resources(run([*base, "-Xptxas=-v", "-cubin", "-o", str(cubin)]), kernels,
                                   findings)
            run([args.nvcc, *FLAGS, "-arch=compute_90a", f"-I{args.source_dir}", str(source),
                 "-ptx", "-o", str(ptx)])
            check_ptx(ptx.read_text(), kernels, findings)
            if cuobjdump:
                check_sass(run([cuobjdump, "-sass", str(cubin)]), kernels, findings)
        print(f"{file}: {sum(seen.values())} kernel instances, "
              f"machine code {'checked' if cuobjdump else 'not checked (no cuobjdump)'}")
    unlisted = {p.name for p in (args.source_dir / "kernels").glob("*.cu")} - set(TABLE)
    findings.extend(f"kernels/{name}: not in codegen_test.py's TABLE" for name in sorted(unlisted))
    for finding in findings:
        print(finding, file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())

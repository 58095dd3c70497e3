"""What the Python benchmarks share: the machine, the commit, a row in bench/results, /proc."""

import datetime
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def percentile(values, share):
    """Nearest rank; None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def cpu_name():
    for line in open("/proc/cpuinfo", encoding="utf-8"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def commit():
    done = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"],
                          capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def about():
    """The first columns of every row; load is the machine's, a minute's mean, before the run."""
    return {"date": datetime.date.today().isoformat(), "commit": commit(), "cpu": cpu_name(),
            "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2)}


def append_row(name, row):
    """A row of bench/results/NAME.tsv, with its header when the file is new; prints it."""
    table = ROOT / "bench" / "results" / name
    if not table.exists():
        table.write_text("\t".join(row) + "\n", encoding="utf-8")
    header = table.read_text(encoding="utf-8").splitlines()[0].split("\t")
    if header != list(row):
        raise SystemExit(f"{table} has other columns than this run; rename it first.")
    with open(table, "a", encoding="utf-8") as file:
        file.write("\t".join("" if value is None else str(value) for value in row.values()) + "\n")
    for key, value in row.items():
        print(f"{key:28} {value}")


class ProcessUse:
    """CPU seconds and memory of a process that lives."""

    def __init__(self, pid):
        self.folder = pathlib.Path("/proc") / str(pid)
        self.tick = os.sysconf("SC_CLK_TCK")

    def cpu_s(self):
        fields = (self.folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / self.tick

    def memory_mib(self, kind="VmRSS"):
        """VmRSS: resident now; VmHWM: the most it ever was."""
        for line in (self.folder / "status").read_text(encoding="utf-8").splitlines():
            if line.startswith(kind + ":"):
                return round(int(line.split()[1]) / 1024, 1)
        return None

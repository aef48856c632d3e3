"""Result files of the scripts: CSV under comments that state what was measured, where, and by which command."""

import csv
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent


def said_by(command):
    """Returns what a command prints on standard output, run at the root of the project; exits if it fails."""
    words = list(map(str, command))
    result = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    if result.returncode:
        sys.exit(f"{shlex.join(words)} failed:\n{result.stderr}")
    return result.stdout.strip()


def versions(pythons, packages):
    """Returns `name version` of those of `packages` that one of the interpreters has."""
    code = (
        "import sys\nfrom importlib.metadata import version, PackageNotFoundError\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(name, version(name))\n    except PackageNotFoundError: pass"
    )
    names = {}
    for python in pythons:
        for line in said_by([python, "-c", code, *packages]).splitlines():
            names.update([line.split()])
    return ", ".join(f"{name} {names[name]}" for name in packages if name in names)


def provenance(lopper, engines, command):
    """Returns the header lines, as the other benchmarks write them."""
    cpu = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines())
    cpu = {key.strip(): value.strip() for key, value in cpu.items()}
    changed = said_by(["git", "status", "--porcelain", "--", ":!docs", ":!*.md"])
    bench = [lopper, "bench", "resnet8", "--size", "32", "--seconds", "0", "--threads", "1", "--json"]
    isa = json.loads(said_by(bench))["hardware"].partition(",")[0]
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": said_by(["git", "rev-parse", "--short", "HEAD"]) + (" with changes" if changed else ""),
        "cpu": f"{cpu.get('model name', platform.machine())}, family {cpu.get('cpu family')}, model {cpu.get('model')}",
        "cores": os.cpu_count(),
        "isa": isa,
        "rustc": said_by(["rustc", "--version"]),
        "engines": engines,
        "command": command,
    }


def write(path, head, columns, rows):
    """Writes the whole file atomically, so that an interrupted run keeps what it wrote before."""
    part = Path(path).with_suffix(".part")
    with part.open("w", newline="") as file:
        file.writelines(f"# {key}: {value}\n" for key, value in head.items())
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    part.rename(path)

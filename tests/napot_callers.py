#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Check that napot_callers.tsv judges every function that takes a PFN from a PTE.

On riscv with Svnapot, 16 equal PTEs map a 64 KiB hugetlb folio and pte_pfn() returns the first PFN
for each of them.  The table has a row for each function that a riscv kernel can run: may the
function meet such a PTE, and is its result right.  A function without a row, and a row without its
function, are errors.
"""
import argparse
import csv
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

HERE = Path(__file__).resolve().parent
# other architectures have no NAPOT PTEs
PLACES = ["mm", "fs", "kernel", "lib", "virt", "io_uring", "drivers", "net", "include", "security",
          "ipc", "block", "sound", "arch/riscv"]
# take the PFN or the page of a PTE, or compute the next PTE from one
NAMES = ["pte_pfn", "pte_pfn_at", "pte_page", "pte_folio", "pte_pgprot", "vm_normal_page",
         "vm_normal_folio", "folio_walk_start", "pte_next_pfn", "pte_advance_pfn",
         "folio_pte_batch", "folio_pte_batch_flags", "__kvm_faultin_pfn"]
PATTERN = r"\b(" + "|".join(NAMES) + r")[[:space:]]*\("


class Verdict(Enum):
    RIGHT = "right"
    WRONG = "wrong"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True)
class Row:
    caller: str
    verdict: Verdict
    reason: str
    # the script cannot find it: it takes no PFN from a PTE itself
    by_hand: bool


class Problem(Exception):
    """One line for the user."""


def function_of(line: str) -> str:
    """The name in the first line of a function or of a macro."""
    define = re.match(r"#\s*define\s+(\w+)", line)
    if define:
        return define[1]
    names = re.findall(r"(\w+)\s*\(", line)
    return names[0] if names else line.split()[-1].strip("{;")


def is_code(line: str) -> bool:
    """False for a line of a comment."""
    return not re.match(r"\s*(\*|/\*|//)", line)


def find_callers(kernel: str, ref: str) -> dict[str, set[str]]:
    """The functions that call one of NAMES, and which of these they call."""
    command = ["git", "-C", kernel, "grep", "-n", "-p", "-E", PATTERN, ref, "--", *PLACES]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        error = run.stderr.strip().splitlines() or [f"{ref} has none of these functions"]
        raise Problem(f"git grep in {kernel} failed: {error[0]}; run 'make tree' first")
    callers: dict[str, set[str]] = {}
    function = ""
    for line in run.stdout.splitlines():
        parts = re.match(re.escape(ref) + r":([^:=]+)([:=])(\d+)\2(.*)", line)
        if not parts:
            continue
        path, mark, text = parts[1], parts[2], parts[4]
        if mark == "=":
            function = function_of(text)
            continue
        used = {name for name in NAMES if re.search(rf"\b{name}\s*\(", text)}
        if re.match(r"(\w[\w\s*]*\()|#\s*define", text):
            # the definition, or the declaration, of one of NAMES, or a macro
            function = function_of(text)
            used.discard(function)
        if used and is_code(text):
            callers.setdefault(f"{path}:{function}", set()).update(used)
    return callers


def read_table(path: Path) -> list[Row]:
    rows = []
    with path.open(encoding="utf-8", newline="") as table:
        lines = (line for line in table if not line.startswith("#"))
        for number, fields in enumerate(csv.reader(lines, delimiter="\t"), 1):
            if len(fields) != 4 or fields[0] not in ("found", "by hand"):
                raise Problem(f"{path}: row {number} must be 'found' or 'by hand', a caller, a verdict, a reason")
            try:
                verdict = Verdict(fields[2])
            except ValueError:
                choices = ", ".join(v.value for v in Verdict)
                raise Problem(f"{path}: row {number}: verdict '{fields[2]}' must be one of: {choices}") from None
            rows.append(Row(fields[1], verdict, fields[3], fields[0] == "by hand"))
    double = [caller for caller, times in Counter(row.caller for row in rows).items() if times > 1]
    if double:
        raise Problem(f"{path}: {double[0]} has more than one row; keep one")
    return rows


def compare(callers: dict[str, set[str]], rows: list[Row]) -> list[str]:
    judged = {row.caller for row in rows}
    found = {row.caller for row in rows if not row.by_hand}
    return ([f"no row for {caller}, which calls {', '.join(sorted(callers[caller]))}"
             for caller in sorted(callers.keys() - judged)] +
            [f"the row of {caller} has no such caller" for caller in sorted(found - callers.keys())])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", default=str(HERE.parent / "out/linux"), help="git tree (default: out/linux)")
    parser.add_argument("--ref", default="refs/mm/base", help="commit to look at (default: refs/mm/base)")
    parser.add_argument("--table", type=Path, default=HERE / "napot_callers.tsv", help="the verdicts")
    parser.add_argument("--list", action="store_true", help="print the callers and do not compare")
    args = parser.parse_args()
    try:
        callers = find_callers(args.kernel, args.ref)
        if args.list:
            for caller in sorted(callers):
                print(caller, ",".join(sorted(callers[caller])), sep="\t")
            return 0
        rows = read_table(args.table)
    except (Problem, OSError) as problem:
        print(f"napot_callers: {problem}", file=sys.stderr)
        return 1
    problems = compare(callers, rows)
    for line in problems:
        print(f"napot_callers: {line}", file=sys.stderr)
    verdicts = Counter(row.verdict.value for row in rows)
    print(f"{len(callers)} callers in {args.ref}, {len(rows)} rows: " +
          ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items())))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

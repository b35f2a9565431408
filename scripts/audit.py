"""Known vulnerabilities of the locked packages, by pip-audit, on demand: `make audit`. It needs the internet.

pip-audit leaves out what it cannot look up and then says that nothing was found; here a package that was left out is a
failure, and so is a lock file of which fewer packages were looked up than it has. pip-audit itself is no dependency:
it is installed into .state/audit on first use.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

PLACE = Path(".state/audit")
LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def main() -> int:
    """Exit code: 0 where every locked package was looked up and none has a finding, else 1."""
    lock = Path(sys.argv[1] if len(sys.argv) > 1 else "requirements.lock")
    files = (lock, lock.with_name("torch.lock"))
    locked = {name: version for file in files for name, version in LOCKED.findall(file.read_text(encoding="utf-8"))}
    program = PLACE / "bin" / "pip-audit"
    if not program.exists():
        venv.create(PLACE, with_pip=True)
        subprocess.run([PLACE / "bin" / "python", "-m", "pip", "-q", "install", "pip-audit"], check=True)
    plain = PLACE / "packages.txt"
    plain.write_text("".join(f"{name}=={version}\n" for name, version in locked.items()), encoding="utf-8")
    command = [program, "--no-deps", "--disable-pip", "--progress-spinner=off", "-f", "json", "-r", plain]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        print(
            f"audit: pip-audit gave no report (exit {done.returncode}): {done.stderr.strip()[-500:]}", file=sys.stderr
        )
        return 1
    problems = problems_of(report, locked)
    print("\n".join([*problems, f"audit: {len(locked)} packages of {lock} and torch.lock, {len(problems)} problems"]))
    return 1 if problems else 0


def problems_of(report: dict[str, Any], locked: dict[str, str]) -> list[str]:
    """A line for each finding, each package that was skipped, and each that the report does not name."""
    lines, seen = [], set()
    for package in report.get("dependencies", []):
        name = normal(package["name"])
        if "skip_reason" in package or "version" not in package:
            lines.append(f"{name}: not looked up: {package.get('skip_reason', 'no reason given')}")
        for finding in package.get("vulns", []):
            fixed = ", ".join(finding.get("fix_versions", [])) or "no version"
            lines.append(f"{name} {package.get('version')}: {finding['id']}, mended in {fixed}")
        seen.add(name)
    return lines + [
        f"{name}: not looked up: the report does not name it" for name in map(normal, locked) if name not in seen
    ]


def normal(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    raise SystemExit(main())

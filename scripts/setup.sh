#!/bin/sh
# Make .venv from a lock file: scripts/setup.sh requirements.lock (or requirements-dev.lock). Everything stays in the clone;
# a second run with nothing changed is instant (a stamp), a run that was killed is begun anew (a marker).
set -eu
cd "$(dirname "$0")/.."
lock=$1
stamp=.venv/.textgan-$lock
marker=.venv/.textgan-installing

inputs() { cksum "$1" torch.lock pyproject.toml scripts/setup.sh; }
for done_lock in "$lock" requirements-dev.lock; do # the development lock holds all of the other
    if [ -f ".venv/.textgan-$done_lock" ] && [ "$(cat ".venv/.textgan-$done_lock")" = "$(inputs "$done_lock")" ]; then exit 0; fi
done

find_python() {
    for name in python3.11 python3 python3.12 python3.13; do # the lock was resolved for 3.11
        if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then echo "$name"; return; fi
    done
    echo "error: no Python from 3.11 to 3.13 on the PATH; textgan needs one (python3.11 is best)" >&2
    return 1
}

start=$(date +%s)
python=$(find_python)
if [ -f "$marker" ]; then rm -rf .venv; fi # a killed installation may have left half a package
if [ ! -x .venv/bin/python ]; then "$python" -m venv .venv; fi
: >"$marker"
echo "setup: $lock into .venv ($("$python" --version))"
pip=".venv/bin/python -m pip --disable-pip-version-check -q install --no-compile"

# The torch file has no hash in its lock: which build fits is the machine's affair (CPU where PIP_FIND_LINKS has it).
$pip --no-deps -r torch.lock & torch=$!
$pip --no-deps --require-hashes -r "$lock" || { kill $torch 2>/dev/null; echo "error: $lock: pip failed; the lines above say why" >&2; exit 1; }
wait $torch || { echo "error: torch.lock: pip failed; the lines above say why" >&2; exit 1; }
$pip -r torch.lock # brings what a CUDA build needs; nothing for a CPU build
$pip --no-deps --no-build-isolation -e .
rm "$marker"
rm -f .venv/.textgan-requirements*.lock
inputs "$lock" >"$stamp"
echo "setup: done in $(($(date +%s) - start)) s"

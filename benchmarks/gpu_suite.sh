#!/usr/bin/env bash
# Speed, memory and training on one GPU of a bare machine: PyTorch, numpy, pandas, pyarrow, pillow, safetensors.
#
#   benchmarks/gpu_suite.sh [PAYLOAD [RESULTS]]       one chunk of under 9 minutes; call it again while it exits 75
#   benchmarks/gpu_suite.sh --cpu-dry-run PAYLOAD RESULTS    the same steps on a CPU, tiny, in one call
#
# PAYLOAD (build/gpu_payload) comes from benchmarks/gpu_pack.py; RESULTS (build/gpu_results) holds files of at
# most 16 MiB, 64 MiB in all. What must outlast a chunk is kept in build/gpu_work. TEXTGAN_PYTHON names another python.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD:$PWD/benchmarks" PYTHONHASHSEED=0
exec "${TEXTGAN_PYTHON:-python3}" benchmarks/gpu_suite.py "$@"

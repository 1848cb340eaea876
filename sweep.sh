#!/usr/bin/env bash
# The 2×2 grid: ./sweep.sh is the study, ./sweep.sh experiment=embedded runs anywhere.
set -euo pipefail
cd "$(dirname "$0")"
exec "${PYTHON:-python}" run.py experiment=grid "$@"

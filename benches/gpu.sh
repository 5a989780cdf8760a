#!/bin/sh
# Everything that is measured on a GPU, in one go; without one it says so and ends with 0.
# PYTHON names the interpreter; arguments go to gpu_train.py.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$here/../python${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" "$here/gpu_train.py" "$@"

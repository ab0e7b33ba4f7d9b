#!/usr/bin/env bash
# greta-gpu-probe over the emulated AMD library: exit code and line for a GPU that is well, hangs, computes wrongly, faults
# or is gone, and for a machine without a driver.
set -euo pipefail
probe=$1

. "$(dirname "$0")/probing.sh"
options=(--driver hip)

expect 0 '^healthy: emulated MI300X, 0000:0c:00.0, .*: [0-9]+ sums are right$' --
expect 1 'no answer before the deadline: stuck in waiting for the kernel$' EMU_GPU_FAULT=hang -- --deadline 2
expect 1 'emulated MI300X, 0000:0c:00.0: .* sums are wrong; the first, 0, is 0 instead of 1$' EMU_GPU_FAULT=wrong --
expect 1 'emulated MI300X, 0000:0c:00.0: waiting for the GPU: .*hipErrorLaunchFailure' EMU_GPU_FAULT=fault --
expect 1 'shows no device .*hipErrorNoDevice' EMU_NO_DEVICE=1 --
expect 2 'GPU 3: there are 1' -- --device 3
expect 2 'from 1 to 3600' -- --deadline 0

#!/usr/bin/env bash
# Which driver is taken, and what is said of those that can't be: greta-gpu-probe over folders that look like ROCm's and over
# libraries that are named like NVIDIA's.
set -euo pipefail
probe=$1 library=$2 api=$3 # libamdhip64 over the emulator; gpu_api.h, which names the calls

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# rocm NAME FILE...: a ROCm whose lib has these.
rocm() {
	local root=$tmp/$1 f
	mkdir -p "$root/lib"
	shift
	for f in "$@"; do
		cp "$library" "$root/lib/$f"
	done
}

# cuda NAME: a folder with a libcuda.so.1 of the source on standard input.
cuda() {
	mkdir -p "$tmp/$1"
	cc -shared -x c - -o "$tmp/$1/libcuda.so.1"
}

. "$(dirname "$0")/probing.sh"
without=(-u ROCM_PATH)

rocm seven libamdhip64.so.6 libamdhip64.so.7
rocm six libamdhip64.so.6
rocm plain libamdhip64.so
rocm five libamdhip64.so.5
rocm empty

expect 0 "^healthy: .*$tmp/seven/lib/libamdhip64.so.7" ROCM_PATH="$tmp/seven" -- --driver hip
expect 0 "^healthy: .*$tmp/six/lib/libamdhip64.so.6" ROCM_PATH="$tmp/six" LD_LIBRARY_PATH="$tmp/seven/lib" -- --driver hip
expect 0 "^healthy: .*$tmp/plain/lib/libamdhip64.so\)" ROCM_PATH="$tmp/plain" -- --driver hip
expect 3 "plain/lib/libamdhip64.so is ROCm 5.2; ROCm 6 or 7 is needed" ROCM_PATH="$tmp/plain" EMU_HIP_VERSION=50221153 -- --driver hip
if [ ! -e /opt/rocm ]; then
	expect 0 "^healthy: .*\(libamdhip64.so.7" LD_LIBRARY_PATH="$tmp/seven/lib" -- --driver hip
	expect 3 "found $tmp/five/lib/libamdhip64.so.5 \(ROCm 5\); ROCm 6 or 7 is needed" ROCM_PATH="$tmp/five" -- --driver hip
	expect 3 "found libamdhip64.so.5 \(ROCm 5\); ROCm 6 or 7 is needed" LD_LIBRARY_PATH="$tmp/five/lib" -- --driver hip
	expect 3 "no GPU driver: looked for libamdhip64.so.6 and .so.7" ROCM_PATH="$tmp/empty" -- --driver hip
fi
expect 3 "can't load the kernels of this build: .*hipErrorNoBinaryForGpu.*too old" ROCM_PATH="$tmp/six" EMU_GPU_FAULT=old -- --driver hip

cuda old <<<'int cuInit(void) { return 0; }'
expect 3 "libcuda.so.1 lacks cuDriverGetVersion: the driver is too old; CUDA 12 or newer is needed" LD_LIBRARY_PATH="$tmp/old" -- --driver cuda

# NVIDIA's driver where it has no GPU: every call fails with CUDA_ERROR_NO_DEVICE.
grep -o '"cu[A-Za-z0-9_]*"' "$api" | tr -d '"' | sort -u | sed 's/.*/int &(void) { return 100; }/' | cuda none
expect 1 "no GPU: libcuda.so.1 is there but shows no device" LD_LIBRARY_PATH="$tmp/none" -- --driver cuda
expect 0 "^healthy: emulated MI300X" LD_LIBRARY_PATH="$tmp/none" ROCM_PATH="$tmp/six" --

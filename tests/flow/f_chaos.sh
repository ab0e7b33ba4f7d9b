#!/usr/bin/env bash
# A short fight with bench/chaos. Its figures are told when it was not clean.
# usage: f_chaos.sh FOLDER-OF-PROGRAMS
said=$("$(dirname "$0")/../../bench/chaos" --faults 20 --seed 6 --nodes 3 --every 0.3 "$1" 2>&1)
code=$?
[ $code = 0 ] || echo "$said"
exit $code

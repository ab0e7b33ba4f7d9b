#!/usr/bin/env bash
# greta-orch top in a terminal: what it shows, what its keys do, and how it leaves; and without one.
# usage: f_top.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots TERM=xterm
esc=$'\033'
terminal() { # OUTPUT SCRIPT
	local out=$1 script=$2
	shift 2
	"$here/in_terminal.py" 24 80 "$script" "$@" >"$out" 2>top.err || fail "$(cat top.err)"
}

greta-orch query 'SELECT 1' >/dev/null 2>&1
expect 3 'no database|does not exist|No such' greta-orch top --once
campaign shown.json 128 1 chatty-hang --layers 32 --layer-ms 10
sed -i 's/"slot": "cpu"/"slot": {"cpus": 1}/' shown.json
greta-orch submit --detach shown.json >/dev/null
wait_for 10 is "SELECT count(*) FROM attempt WHERE state = 'running'" 2 || fail "nothing was started"

# --- keys: select, logs, help, a new size, cancel after asking, quit
terminal screen '
see shown \(1\).*0 of 2
see >(baseline|v3) 128 #1 +local cpu
keys \x1b[B
see \n>(baseline|v3) 128 #1
keys l
see attempt [0-9a-f-]{36}.*
see still here
keys q
see up/down select
keys ?
see leave; nothing is stopped by it
keys x
size 12 60
see up/down select
keys c
see cancel (baseline|v3) 128 #1 on local
keys n
see up/down select
keys cy
see is cancelled
see 1 running
keys q
ends 0
' greta-orch top
wait_for 10 is "SELECT count(*) FROM attempt WHERE outcome = 'cancelled'" 1 || fail "the job was not cancelled"
equal "the other one" "SELECT count(*) FROM attempt WHERE state = 'running'" 1
grep -q "${esc}\[?1049h.*" screen || fail "it did not use the other screen"
[ "$(tail -c 14 screen)" = "${esc}[?25h${esc}[?1049l" ] || fail "it did not leave the other screen: $(tail -c 40 screen | cat -v)"
grep -q "${esc}\[[0-9;]*m" screen || fail "no colours on a terminal"

# --- no colours where they are not wanted; a signal leaves the terminal as it was
terminal plain 'see 1 running
signal TERM
ends 0' env NO_COLOR=1 greta-orch top
grep -q "${esc}\[[0-9;]*m" plain && fail "colours in spite of NO_COLOR"
[ "$(tail -c 14 plain)" = "${esc}[?25h${esc}[?1049l" ] || fail "a signal left the other screen on"

# --- without a terminal
expect 0 '1 running, 0 queued' greta-orch top --once
grep -q "$esc" <<<"$said" && fail "escape sequences without a terminal"
expect 0 '"attempts":\[\{' greta-orch top --once --json

# --- the controller ends and comes back while somebody looks; looking does not keep it
terminal gone "see 1 running
keys cy
see no controller is running
keys q
ends 0" greta-orch top
controller_ends
expect 3 'no controller is running.*resume' greta-orch top --once

done_testing

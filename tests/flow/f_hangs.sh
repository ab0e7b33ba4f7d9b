#!/usr/bin/env bash
# Hangs from end to end: what is stored of one, what `hangs` makes of several, and the script of `repro`, which really runs.
# usage: f_hangs.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
mkdir -m 700 spool
mkdir ledgers
export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots

# The variant v3 hangs, unless SDMA is switched off; what it is asked for has every character that a shell may stumble over.
cat >engine.sh <<SH
#!/bin/sh
[ "\$1" = v3 ] && [ "\${HSA_ENABLE_SDMA:-1}" != 0 ] && mode=hang-sleep || mode=ok
shift
exec $bin/fake_engine "\$mode" "\$@"
SH
chmod 755 engine.sh
echo "no real model" >m.bin
awkward='it'\''s a  "cell"; $HOME `id` * \n'

campaign() { # FILE REPEATS ENVIRONMENT
	cat >"$1" <<-JSON
		{"name": "$(basename "$1" .json)", "slot": "cpu", "contexts": [128, 256], "repeats": $2, "model": "$dir/m.bin",
		 "phases": {"prefill": {"silence_s": 1.5}}, "env": $3,
		 "engine": {"command": ["$dir/engine.sh", "{variant}", "--ctx", "{context}", "--attn", "{variant}",
		            "--ledgers", "$dir/ledgers", "--cell", $(jq -n --arg s "$awkward" '$s')], "adapter": "perf_timing"},
		 "variants": [{"name": "v3"}]}
	JSON
}
export FROM_HERE="not for the database"
campaign first.json 1 '{"FROM_HERE": null}'
expect 1 '0 of 2' greta-orch submit first.json
controller_ends
equal "hung" "SELECT count(*) FROM attempt WHERE outcome = 'hung' AND class = 'host_deadlock'" 2
equal "fingerprints" "SELECT count(*), count(DISTINCT fingerprint) FROM attempt" "2|1"
expect 0 '^  vanished  under nothing that was tried since' greta-orch hangs
campaign second.json 3 '{"HSA_ENABLE_SDMA": "0"}'
expect 0 '6 of 6' greta-orch submit second.json
controller_ends

# --- hangs
greta-orch hangs >said || fail "hangs: $(cat said)"
for line in '^[0-9a-f]{8} host_deadlock at prefill, layer \* attn v3' '^  seen +2x, first 20' '^  variants +v3 \(2\)$' \
	'^  contexts +(128 \(1\), 256|256 \(1\), 128) \(1\)$' '^  campaigns +first \(2\)$' \
	'^  vanished +0 of 6 with HSA_ENABLE_SDMA=0.* \(hang rate under 39\.3 %, one-sided 95 % bound\); 2 of 2 without$'; do
	grep -qE -- "$line" said || fail "no '$line' from hangs: $(cat said)"
done
[ "$(greta-orch hangs --json first | jq -c '.hangs[0] | [.n, .vanished[0].n, .n_unchanged_since, (.attempts | length)]')" = '[2,6,0,2]' ] ||
	fail "hangs --json: $(greta-orch hangs --json)"
expect 0 'no attempt hung' greta-orch hangs second

# --- show
hung=$(sql "SELECT uuid FROM attempt WHERE outcome = 'hung' LIMIT 1")
expect 0 '^log_tail \(all of it: --evidence log_tail\)' greta-orch show --attempt "$hung"
expect 0 '^black_box ' greta-orch show --attempt "$hung"
! command -v gdb >/dev/null || expect 0 '^  #[0-9] .*sleep_for_ever' greta-orch show --attempt "$hung"
expect 0 '^  *loading$' greta-orch show --attempt "$hung"
expect 0 '^loading$' greta-orch show --attempt "$hung" --evidence log_tail
expect 0 '^FROM_HERE=\(not stored\)$' greta-orch show --attempt "$hung" --evidence environment
expect 3 'no evidence "nothing"; there is .*threads' greta-orch show --attempt "$hung" --evidence nothing
expect 0 '^black_box ' greta-orch show "${hung:0:8}"
expect 0 '^loading$' greta-orch show "${hung:0:8}" --evidence log_tail
expect 2 'an attempt, which is to be named' greta-orch show --evidence threads
expect 3 'no campaign' greta-orch show nothing-of-that-name
! grep -aq "not for the database" "$GRETA_DB" || fail "a value that is stored nowhere is in the database"

# --- repro: of a good attempt, the same result; of one that hung, the same hang; of another engine, nothing
good=$(sql "SELECT a.uuid FROM attempt a JOIN job j ON j.id = a.job_id WHERE a.outcome = 'ok' AND j.context = 256 LIMIT 1")
greta-orch repro "$good" >good.sh || fail "repro: $(cat good.sh)"
sh -n good.sh && sh good.sh >said 2>&1 || fail "the script of a good attempt: $(cat said)"
grep -q '^\[PERF_TIMING\].*"attn_impl":"v3","prompt_tokens":256' said || fail "it ran something else: $(cat said)"
grep -qF -- "begin" ledgers/- && grep -qF -- " $awkward" ledgers/- || fail "its arguments did not arrive: $(cat ledgers/-)"
greta-orch repro "${hung:0:8}" >hung.sh
expect 2 'FROM_HERE' env -u FROM_HERE sh hung.sh
expect 124 'loading' timeout 2 sh hung.sh
echo "# another build" >>engine.sh
expect 65 "engine $dir/engine.sh is not the one that ran" sh good.sh
sed -i '$d' engine.sh
echo "another model" >m.bin
expect 65 "model $dir/m.bin is not the one that ran" sh good.sh
rm m.bin
expect 66 "model $dir/m.bin can't be read here" sh good.sh
expect 3 'no attempt "12345678"' greta-orch repro 12345678
done_testing

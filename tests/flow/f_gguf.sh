#!/usr/bin/env bash
# greta-gguf from outside: each verb, its exit codes, and what is left behind when it is killed or the disk is full.
# usage: f_gguf.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
gguf=$bin/greta-gguf
trap 'umount "$dir/full" 2>/dev/null; finish' EXIT
cd "$dir" || exit 1
small=(--layers 2 --embd 128 --heads 4 --kv-heads 2 --ffn 256 --vocab 300 --ctx 64)

hash_of() { "$gguf" verify "$2" | awk -v name="$1" '$1 == name {print $2}'; }
context_of() { "$gguf" inspect "$1" | awk '$1 == "llama.context_length" {print $3}'; }

# --- usage
expect 2 'Usage: greta-gguf' "$gguf"
expect 0 'tokenize' "$gguf" --help
expect 2 "did you mean 'verify'" "$gguf" verfy
expect 0 'Shapes: tiny' "$gguf" synth --help
expect 2 'no shape' "$gguf" synth --like llama9 m.gguf
expect 2 'not a multiple of --heads' "$gguf" synth --embd 100 --heads 3 m.gguf
expect 2 'No such file' "$gguf" inspect missing.gguf
expect 2 'a folder' "$gguf" verify .
expect 2 'a folder cannot be replaced' "$gguf" synth .
mkfifo pipe
expect 2 'no regular file cannot be replaced' "$gguf" synth "${small[@]}" pipe
expect 2 'not a regular file' "$gguf" inspect pipe
expect 3 'standard output' bash -c "'$gguf' --help >/dev/full"

# --- synth, inspect, verify
expect 0 'F16' "$gguf" synth "${small[@]}" m.gguf
expect 0 'blk.1.ffn_down.weight +F16 +256 x 128' "$gguf" inspect m.gguf
expect 0 'sound' "$gguf" verify m.gguf
[ "$(hash_of file m.gguf)" = "$(sha256sum <m.gguf | cut -d' ' -f1)" ] || fail "verify's file hash is not sha256sum's"
"$gguf" inspect --json m.gguf | python3 -c '
import json, sys
d = json.load(sys.stdin)
keys = {k["key"]: k for k in d["keys"]}
assert keys["llama.context_length"]["value"] == 64, keys
assert keys["tokenizer.ggml.tokens"]["n"] == 300
assert d["tensors"][0]["shape"] == [128, 300], d["tensors"][0]
' || fail "inspect --json"

# --- set: in place, then anew; only the hashes that should change do
tensors=$(hash_of tensors m.gguf) metadata=$(hash_of metadata m.gguf) inode=$(stat -c %i m.gguf)
expect 0 'in place' "$gguf" set m.gguf llama.context_length 32768
[ "$(context_of m.gguf)" = 32768 ] || fail "the context length was not set"
[ "$(stat -c %i m.gguf)" = "$inode" ] || fail "not in place"
[ "$(hash_of tensors m.gguf)" = "$tensors" ] || fail "set changed the tensors' hash"
[ "$(hash_of metadata m.gguf)" != "$metadata" ] || fail "set did not change the metadata's hash"
expect 0 'rewritten' "$gguf" set m.gguf general.name 'a name of another length'
[ "$(hash_of tensors m.gguf)" = "$tensors" ] || fail "rewriting changed the tensors' hash"
expect 0 'rewritten' "$gguf" set --type u32 m.gguf general.alignment 64
[ "$(hash_of tensors m.gguf)" = "$tensors" ] || fail "another alignment changed the tensors' hash"
expect 0 'sound' "$gguf" verify m.gguf
expect 0 'already' "$gguf" set m.gguf llama.context_length 32768
cp m.gguf before.gguf
expect 2 "no value of type u32" "$gguf" set m.gguf llama.context_length 12x
expect 2 "no value of type u32" "$gguf" set m.gguf llama.context_length 4294967296
expect 2 'add --type' "$gguf" set m.gguf my.key 1
expect 2 'is an array' "$gguf" set m.gguf tokenizer.ggml.tokens x
expect 2 'no engine could use the file' "$gguf" set m.gguf llama.attention.head_count 3
expect 2 'no engine could use the file' "$gguf" set m.gguf general.architecture gpt99
expect 2 'power of two' "$gguf" set m.gguf general.alignment 48
cmp -s m.gguf before.gguf || fail "a refused set changed the file"
expect 0 'now 3' "$gguf" set --force m.gguf llama.attention.head_count 3
expect 2 'head_count' "$gguf" verify m.gguf
cp before.gguf m.gguf
expect 0 'now -3' "$gguf" set --type i16 m.gguf my.key -- -3
chmod 444 m.gguf && [ "$(id -u)" != 0 ] && expect 3 'Permission denied' "$gguf" set m.gguf llama.context_length 1
chmod 644 m.gguf

# --- quantize
expect 0 'became' "$gguf" quantize --type q4_0 m.gguf q.gguf
expect 0 'sound' "$gguf" verify q.gguf
expect 0 'blk.0.attn_q.weight +Q4_0' "$gguf" inspect q.gguf
expect 2 'is Q4_0 already' "$gguf" quantize q.gguf q2.gguf
[ -e q2.gguf ] && fail "a refused quantize left a file"

"$gguf" synth "${small[@]}" --type F32 big.gguf >/dev/null
offset=$("$gguf" inspect big.gguf | awk '$1 == "output.weight" {print $NF}')
printf '\x00\x00\x80\x47' | dd of=big.gguf bs=1 seek="$offset" conv=notrunc status=none # 65536
expect 2 "tensor 'output.weight': value 0 is 65536, beyond type F16" "$gguf" quantize --type F16 big.gguf q2.gguf
expect 0 'became' "$gguf" quantize --type BF16 big.gguf q2.gguf

# --- tokenize
[ "$(printf 'ab' | "$gguf" tokenize m.gguf)" = '[259,100,101]' ] || fail "a space and two bytes"
[ "$(printf '' | "$gguf" tokenize m.gguf)" = '[]' ] || fail "no text gives no ids"
[ "$(printf '' | "$gguf" tokenize --bos m.gguf)" = '[1]' ] || fail "--bos"
[ "$(printf '</s>' | "$gguf" tokenize --special m.gguf)" = '[2]' ] || fail "--special"

# --- text from a file cannot reach the terminal as control characters
expect 0 'rewritten' "$gguf" set m.gguf general.name $'\e[31mred\n'
expect 0 '\\x1b\[31mred\\n' "$gguf" inspect m.gguf

# --- a value that is no number
cp before.gguf nan.gguf
offset=$("$gguf" inspect nan.gguf | awk '$1 == "output_norm.weight" {print $NF}')
printf '\x00\x00\xc0\x7f' | dd of=nan.gguf bs=1 seek="$offset" conv=notrunc status=none
expect 1 'output_norm.weight: 1 values are not finite, the first is value 0' "$gguf" verify nan.gguf

# --- killed at any moment: the old file or the new one, and nothing beside it
mkdir kill && cd kill || exit 1
for i in $(seq 1 25); do
	rm -f m.gguf
	"$gguf" synth "${small[@]}" --layers 8 m.gguf >/dev/null &
	pid=$!
	sleep "0.0$((i % 10))$((i % 7))"
	kill -9 $pid 2>/dev/null
	wait $pid 2>/dev/null
	[ ! -e m.gguf ] || "$gguf" verify m.gguf >/dev/null || fail "a killed synth left half a file"
	rm -f m.gguf.greta-tmp-$pid # for a moment of the commit it has this name, complete
	[ -z "$(ls -A | grep -v '^m.gguf$')" ] || fail "a killed synth left: $(ls -A)"
done
"$gguf" synth "${small[@]}" m.gguf >/dev/null
for i in $(seq 1 25); do
	"$gguf" set m.gguf general.name "$(printf "%${i}s" x)" >/dev/null &
	pid=$!
	sleep "0.00$((i % 10))"
	kill -9 $pid 2>/dev/null
	wait $pid 2>/dev/null
	rm -f m.gguf.greta-tmp-$pid
	"$gguf" verify m.gguf >/dev/null || fail "a killed set left half a file"
done
cd ..

# --- no room
(ulimit -f 100; "$gguf" synth "${small[@]}" --layers 8 limit.gguf) >/dev/null 2>&1 && fail "a file beyond the limit"
[ -e limit.gguf ] && fail "a file beyond the limit was left"
mkdir full
if mount -t tmpfs -o size=300k tmpfs full 2>/dev/null; then
	expect 3 'cannot reserve .* No space left on device' "$gguf" synth "${small[@]}" --layers 8 full/m.gguf
	[ -z "$(ls -A full)" ] || fail "a full disk keeps: $(ls -A full)"
	umount full
else
	echo "no full disk: cannot mount a tmpfs here"
fi

# --- what nodes have: these programs are uploaded as they are
for program in greta-gguf greta-infer; do
	versions=$(objdump -T "$bin/$program" | grep -o 'GLIBC_2\.[0-9]*' | sort -uV)
	[ "$(printf '%s\n' $versions GLIBC_2.35 | sort -V | tail -n 1)" = GLIBC_2.35 ] || fail "$program needs $versions"
	symbols=$(objdump -T "$bin/$program") # into a variable: grep -q leaves early, and pipefail would see a broken pipe
	grep -q __asan_init <<<"$symbols" && continue # what a sanitizer brings is not uploaded
	needed=$(objdump -p "$bin/$program" | awk '$1 == "NEEDED" {print $2}' | grep -vE '^(libc|libm|libpthread)\.so')
	[ -z "$needed" ] || fail "$program needs $needed"
done
done_testing

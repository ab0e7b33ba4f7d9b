# sshd.sh: several nodes on this machine, for flows: real sshds on 127.0.1.x with keys, configuration and spools of their
# own in a temporary folder. Nothing of the system's sshd, ~/.ssh or /var/tmp is touched. To be sourced.
#
#	nodes_start N          node1 .. nodeN listen; $GRETA_SSH_CONFIG knows them by name, $nodes_dir holds it all
#	node_start K [OPT...]  one of them (again), with further lines for its sshd_config
#	node_pids K            its listening sshd and the sessions below it
#	nodes_stop             ends all sshds and what is left on the nodes
#	$nodes_setenv          further variables of a session: NAME=value ..., with %k for the number of the node
#
# SHLVL keeps bash from reading the rc files of whoever runs this, which may be slow and leave locks behind when killed.
# Each node has its own spool, slots and store (GRETA_SPOOL_DIR and so on, set by its sshd), and says that it is another
# machine (GRETA_NODE_ID).

nodes_port=${nodes_port:-$((20000 + RANDOM % 20000))}
nodes_setenv=${nodes_setenv:-}

nodes_skip_unless_possible() {
	[ -x /usr/sbin/sshd ] || { echo "SKIP: there is no /usr/sbin/sshd"; exit 77; }
	[ "$(id -u)" = 0 ] || [ -d /run/sshd ] || { echo "SKIP: /run/sshd is missing and only root can make it"; exit 77; }
	mkdir -p /run/sshd
}

node_address() { echo "127.0.$((1 + $1 / 250)).$(($1 % 250 + 1))"; }

node_start() {
	local k=$1 dir=$nodes_dir/node$1
	shift
	mkdir -p "$dir"
	[ -f "$dir/host_key" ] || ssh-keygen -q -t ed25519 -N '' -C "node$k" -f "$dir/host_key"
	{
		echo "ListenAddress $(node_address "$k")"
		echo "Port $nodes_port"
		echo "HostKey $dir/host_key"
		echo "PidFile $dir/sshd.pid"
		echo "AuthorizedKeysFile $nodes_dir/authorized_keys"
		echo "StrictModes no"
		echo "UsePAM no"
		echo "PasswordAuthentication no"
		echo "KbdInteractiveAuthentication no"
		echo "MaxStartups 100:30:200"
		echo "Subsystem sftp internal-sftp"
		echo "SetEnv GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots GRETA_CACHE_DIR=$dir/cache" \
			"SHLVL=9 GRETA_NODE_ID=$(printf '%032x' "$k") ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0} ${nodes_setenv//%k/$k}"
		printf '%s\n' "$@"
	} >"$dir/sshd_config"
	node_listens "$k" || node_listens "$k" || { cat "$dir/sshd.log"; return 1; }
}

# sshd goes into the background before it binds, which it can't while the one before is still dying.
node_listens() {
	local dir=$nodes_dir/node$1 tries=100
	rm -f "$dir/sshd.pid"
	/usr/sbin/sshd -f "$dir/sshd_config" -E "$dir/sshd.log" || return 1
	until [ -s "$dir/sshd.pid" ]; do
		[ $((tries--)) -gt 0 ] || return 1
		sleep 0.02
	done
}

nodes_start() {
	local n=$1 k
	nodes_skip_unless_possible
	nodes_dir=${nodes_dir:-$(mktemp -d)}
	chmod 755 "$nodes_dir"
	ssh-keygen -q -t ed25519 -N '' -C greta-test -f "$nodes_dir/id"
	cp "$nodes_dir/id.pub" "$nodes_dir/authorized_keys"
	for k in $(seq "$n"); do
		node_start "$k" || return 1
		echo "[$(node_address "$k")]:$nodes_port $(cut -d' ' -f1,2 "$nodes_dir/node$k/host_key.pub")"
	done >"$nodes_dir/known_hosts"
	{
		for k in $(seq "$n"); do
			printf 'Host node%d\n\tHostName %s\n' "$k" "$(node_address "$k")"
		done
		echo "Host *"
		echo "	Port $nodes_port"
		echo "	User $(id -un)"
		echo "	IdentityFile $nodes_dir/id"
		echo "	IdentitiesOnly yes"
		echo "	IdentityAgent none"
		echo "	UserKnownHostsFile $nodes_dir/known_hosts"
		echo "	GlobalKnownHostsFile /dev/null"
		echo "	StrictHostKeyChecking yes"
	} >"$nodes_dir/ssh_config"
	export GRETA_SSH_CONFIG=$nodes_dir/ssh_config GRETA_CACHE_DIR=$nodes_dir/cache
}

# Also works while the sshd is stopped.
node_pids() {
	local pid
	pid=$(cat "$nodes_dir/node$1/sshd.pid" 2>/dev/null) || return 0
	echo "$pid"
	local child grand
	for child in $(pgrep -P "$pid"); do
		echo "$child"
		for grand in $(pgrep -P "$child"); do echo "$grand"; done
	done
}

node_stop() {
	local pids
	pids=$(node_pids "$1")
	[ -z "$pids" ] || kill -KILL $pids 2>/dev/null
	return 0
}

# What runs for the nodes is found by the folder that its environment names.
nodes_processes() {
	local p
	for p in /proc/[0-9]*; do
		{ tr '\0' '\n' <"$p/environ"; } 2>/dev/null | grep -q "^GRETA_SPOOL_DIR=$nodes_dir/" && echo "${p#/proc/}"
	done
	return 0
}

nodes_stop() {
	local k
	for k in "$nodes_dir"/node*; do
		[ -d "$k" ] && node_stop "${k##*/node}"
	done
	kill -KILL $(nodes_processes) 2>/dev/null
	return 0
}

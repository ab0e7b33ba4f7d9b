# slurm.sh: a Slurm cluster of its own on this machine, for flows: munged, slurmctld and several slurmd under a temporary
# folder, with ports, key, socket and state of their own. Nothing of the system's Slurm or munge is touched. To be sourced.
#
#	slurm_alone COMMAND...        runs COMMAND in place of this script, in namespaces that go away with it, where that is possible
#	slurm_start N GPUS [LINE...]  node n1 .. nN with GPUS each; further lines for its slurm.conf. $SLURM_CONF leads there
#	slurm_accounting              to be called before slurm_start: accounts and sacct by a slurmdbd and its database;
#	                              false where their packages are absent
#	slurm_ctld_start              slurmctld (again); slurm_ctld_kill is a kill -9
#	slurm_job_die JOB             as if its machine had lost power: KILL to all of its processes
#	slurm_stop                    ends everything, what jobs have left included
#
# A GPU is a character device that does nothing, below the node's own /dev, and an entry in the node's own /proc: jobs on a
# node are told so by TaskProlog, and by nothing else (GRETA_PROC_ROOT and so on).

# Its ports are then nobody else's, and whatever kills the script ends all that it has started. A name is resolved only where
# an interface has an address beside 127.0.0.1.
slurm_alone() {
	if [ -n "${SLURM_ALONE:-}" ]; then
		ip link set lo up && ip address add 10.0.0.1/32 dev lo
	elif unshare --pid --net --fork --mount-proc true 2>/dev/null; then
		SLURM_ALONE=1 exec unshare --pid --net --fork --mount-proc --kill-child "$@"
	fi
}

slurm_skip_unless_possible() {
	local program
	for program in munged slurmctld slurmd sbatch; do
		PATH=$PATH:/usr/sbin command -v $program >/dev/null || { echo "SKIP: there is no $program"; exit 77; }
	done
	[ "$(id -u)" = 0 ] || { echo "SKIP: several slurmd on one machine and device files need root"; exit 77; }
	[ "$(stat -f -c %T /sys/fs/cgroup)" != sysfs ] || { echo "SKIP: slurmd needs a file system on /sys/fs/cgroup"; exit 77; }
	mknod "$slurm_dir/null" c 1 3 2>/dev/null || { echo "SKIP: device files can't be made here"; exit 77; }
}

slurm_port_is_free() { ! (exec 9<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A run of free ports below those that the kernel gives to clients.
slurm_find_ports() {
	local n=$1 first k
	for _ in $(seq 50); do
		first=$((20000 + RANDOM % 11000))
		for k in $(seq 0 "$n"); do slurm_port_is_free $((first + k)) || continue 2; done
		slurm_port=$first
		return 0
	done
	echo "no $n free ports in a row were found"
	return 1
}

slurm_node() { # K GPUS: its folders, devices and what its jobs are told
	local node=$slurm_dir/n$1 i gpu
	mkdir -p "$node/spool" "$node/dev" "$node/proc/driver/nvidia/gpus"
	for ((i = 0; i < $2; i++)); do
		mknod "$node/dev/nvidia$i" c 1 3 && chmod 666 "$node/dev/nvidia$i"
		gpu=$node/proc/driver/nvidia/gpus/0000:$(printf %02x "$i"):00.0
		mkdir -p "$gpu"
		printf 'Model: \t\t Test GPU\nGPU UUID: \t GPU-n%d-%d\nDevice Minor: \t %d\n' "$1" "$i" "$i" >"$gpu/information"
	done
}

slurm_config() { # N GPUS [LINE...]
	local n=$1 gpus=$2 gres=""
	shift 2
	[ "$gpus" -gt 0 ] && gres="Gres=gpu:$gpus"
	cat >"$slurm_dir/slurm.conf" <<-CONF
		ClusterName=greta
		SlurmctldHost=localhost(127.0.0.1)
		SlurmctldPort=$slurm_port
		SlurmUser=root
		SlurmdUser=root
		AuthType=auth/munge
		AuthInfo=socket=$slurm_dir/munge.sock
		CryptoType=crypto/munge
		StateSaveLocation=$slurm_dir/state
		SlurmdSpoolDir=$slurm_dir/%n/spool
		SlurmctldPidFile=$slurm_dir/slurmctld.pid
		SlurmdPidFile=$slurm_dir/%n/slurmd.pid
		SlurmctldLogFile=$slurm_dir/slurmctld.log
		SlurmdLogFile=$slurm_dir/%n/slurmd.log
		ProctrackType=proctrack/linuxproc
		TaskPlugin=task/none
		SwitchType=switch/none
		MpiDefault=none
		JobAcctGatherType=jobacct_gather/none
		AccountingStorageType=accounting_storage/${slurm_storage:-none}
		AccountingStorageHost=127.0.0.1
		AccountingStoragePort=$((slurm_port + n + 1))
		AccountingStoragePass=$slurm_dir/munge.sock
		${slurm_enforce:+AccountingStorageEnforce=$slurm_enforce}
		SelectType=select/cons_tres
		SelectTypeParameters=CR_CPU
		SlurmdParameters=config_overrides
		GresTypes=gpu
		TaskProlog=$slurm_dir/prolog
		SchedulerParameters=${slurm_scheduler:-batch_sched_delay=0,bf_interval=1,sched_min_interval=100000,defer_batch}
		KillWait=3
		SlurmctldTimeout=30
		SlurmdTimeout=60
		ReturnToService=2
		PreemptType=preempt/partition_prio
		PreemptMode=REQUEUE
		NodeName=n[1-$n] NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=[$((slurm_port + 1))-$((slurm_port + n))] CPUs=16 $gres
		PartitionName=main Nodes=ALL Default=YES MaxTime=UNLIMITED PriorityTier=1
		PartitionName=urgent Nodes=ALL MaxTime=UNLIMITED PriorityTier=10
		$(printf '%s\n' "$@")
	CONF
	[ "$gpus" -gt 0 ] && for k in $(seq "$n"); do
		echo "NodeName=n$k Name=gpu File=$slurm_dir/n$k/dev/nvidia[0-$((gpus - 1))]"
	done >"$slurm_dir/gres.conf"
	cat >"$slurm_dir/prolog" <<-PROLOG
		#!/bin/sh
		node=$slurm_dir/\$SLURMD_NODENAME
		echo "export GRETA_PROC_ROOT=\$node/proc"
		echo "export GRETA_SYSFS_ROOT=\$node/sys"
		echo "export GRETA_DEV_ROOT=\$node/dev"
		echo "export GRETA_SLOTS_DIR=\$node/slots"
		echo "export GRETA_CACHE_DIR=\$node/cache"
	PROLOG
	chmod 755 "$slurm_dir/prolog"
}

slurm_accounting() {
	[ -x /usr/sbin/slurmdbd ] && command -v mariadbd >/dev/null || return 1
	slurm_storage=slurmdbd slurm_enforce=associations,limits
}

# Without tables of users the database lets everybody in, by a socket in our folder. It needs one for procedures: slurmdbd
# asks one for limits, and takes no answer for limits of 0.
slurm_accounting_start() { # N
	mkdir -p "$slurm_dir/db"
	(printf '%s;\n' "CREATE DATABASE mysql" "USE mysql"
		grep '^CREATE TABLE IF NOT EXISTS proc ' /usr/share/mysql/mysql_system_tables.sql) >"$slurm_dir/db.sql"
	export MYSQL_UNIX_PORT=$slurm_dir/db.sock
	mariadbd --no-defaults --user=root --datadir="$slurm_dir/db" --socket="$MYSQL_UNIX_PORT" --pid-file="$slurm_dir/db.pid" \
		--init-file="$slurm_dir/db.sql" --skip-networking --skip-grant-tables --skip-log-bin --innodb-flush-log-at-trx-commit=0 \
		--innodb-buffer-pool-size=32M --innodb-log-file-size=8M >"$slurm_dir/db.out" 2>&1 &
	slurm_helper_pids="$!"
	wait_for 30 test -S "$MYSQL_UNIX_PORT" || return 1
	cat >"$slurm_dir/slurmdbd.conf" <<-CONF
		AuthType=auth/munge
		AuthInfo=socket=$slurm_dir/munge.sock
		DbdHost=localhost
		DbdAddr=127.0.0.1
		DbdPort=$((slurm_port + $1 + 1))
		SlurmUser=root
		StorageType=accounting_storage/mysql
		StorageHost=localhost
		StorageUser=root
		LogFile=$slurm_dir/slurmdbd.log
		PidFile=$slurm_dir/slurmdbd.pid
	CONF
	chmod 600 "$slurm_dir/slurmdbd.conf"
	/usr/sbin/slurmdbd -D >"$slurm_dir/slurmdbd.out" 2>&1 &
	slurm_helper_pids="$! $slurm_helper_pids"
	wait_for 30 sacctmgr -n show cluster && sacctmgr -iQ add cluster greta >/dev/null
}

slurm_ctld_start() {
	/usr/sbin/slurmctld -D >>"$slurm_dir/slurmctld.out" 2>&1 &
	slurm_ctld_pid=$!
}

slurm_ctld_kill() {
	kill -9 "$slurm_ctld_pid"
	wait "$slurm_ctld_pid" 2>/dev/null
}

slurm_job_die() { # JOB
	local p
	for p in /proc/[0-9]*; do
		{ tr '\0' '\n' <"$p/environ"; } 2>/dev/null | grep -qx "SLURM_JOB_ID=$1" && echo "${p#/proc/}"
	done | xargs -r kill -KILL
}

slurmd_start() { # K
	/usr/sbin/slurmd -D -N "n$1" >>"$slurm_dir/n$1/slurmd.out" 2>&1 &
	echo $! >"$slurm_dir/n$1/pid"
}

slurm_nodes_idle() { [ "$(sinfo -h -N -p main -o %t 2>/dev/null | grep -c '^idle$')" = "$1" ]; }

slurm_start() {
	local n=$1 gpus=$2 k
	shift 2
	slurm_dir=${slurm_dir:-$dir/slurm}
	mkdir -p "$slurm_dir/state"
	chmod 755 "$slurm_dir"
	slurm_skip_unless_possible
	slurm_find_ports $((n + 1)) || return 1
	for k in $(seq "$n"); do slurm_node "$k" "$gpus"; done
	slurm_config "$n" "$gpus" "$@"
	export SLURM_CONF=$slurm_dir/slurm.conf
	(umask 077 && head -c 1024 /dev/urandom >"$slurm_dir/munge.key")
	/usr/sbin/munged --force --foreground --key-file="$slurm_dir/munge.key" --socket="$slurm_dir/munge.sock" \
		--pid-file="$slurm_dir/munged.pid" --log-file="$slurm_dir/munged.log" --seed-file="$slurm_dir/munged.seed" \
		>"$slurm_dir/munged.out" 2>&1 &
	slurm_munged_pid=$!
	wait_for 10 test -S "$slurm_dir/munge.sock" || { cat "$slurm_dir"/munged.*; return 1; }
	[ -z "${slurm_storage:-}" ] || slurm_accounting_start "$n" || { tail -n 5 "$slurm_dir"/*.out; return 1; }
	slurm_ctld_start
	for k in $(seq "$n"); do slurmd_start "$k"; done
	wait_for 30 slurm_nodes_idle "$n" && return 0
	tail -n 5 "$slurm_dir"/*.out "$slurm_dir"/*.log "$slurm_dir"/n1/*.log
	sinfo -N
	return 1
}

slurm_stop() {
	local k pid
	[ -n "${slurm_munged_pid:-}" ] || return 0
	scancel --user="$(id -un)" 2>/dev/null
	wait_for 10 eval '[ -z "$(squeue -h)" ]'
	local pids="$slurm_ctld_pid $(cat "$slurm_dir"/n*/pid) ${slurm_helper_pids:-} $slurm_munged_pid"
	for pid in $pids; do kill -TERM "$pid" 2>/dev/null; done
	for pid in $pids; do
		wait_for 5 eval "! kill -0 $pid" || kill -9 "$pid"
	done
	wait 2>/dev/null
	slurm_munged_pid=""
}

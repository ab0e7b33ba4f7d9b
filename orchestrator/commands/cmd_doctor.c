/* doctor: what stands in the way of a campaign on this machine, and what to do about it. */
#include "base/buf.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/version.h"
#include "db/db.h"
#include "orchestrator/cmd.h"
#include "orchestrator/print/output.h"
#include "orchestrator/print/table.h"
#include "orchestrator/remote/transport.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DISK_LOW_BYTES 1e9
#define NOFILE_WANTED 4096 /* a few descriptors a node, a few hundred nodes */

enum health { HEALTH_GOOD, HEALTH_NOTE, HEALTH_BAD };

struct doctor {
	struct cmd_ctx *ctx;
	struct table *table;
	bool bad;
};

static void report(struct doctor *d, const char *what, enum health health, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static void report(struct doctor *d, const char *what, enum health health, const char *fmt, ...)
{
	static const char *const words[] = {"good", "note", "bad"};
	static const enum term_style styles[] = {TERM_GOOD, TERM_WARN, TERM_BAD};
	cleanup_buf struct greta_buf text = {0};
	va_list ap;
	va_start(ap, fmt);
	greta_buf_vaddf(&text, fmt, ap);
	va_end(ap);
	table_row(d->table);
	table_str(d->table, what);
	table_str(d->table, words[health]);
	table_style(d->table, styles[health]);
	table_str(d->table, greta_buf_str(&text));
	d->bad |= health == HEALTH_BAD;
}

static void check_database(struct doctor *d)
{
	struct greta_err err = {0};
	struct greta_db *db = greta_db_open_reader(d->ctx->db_path, &err);
	if (!db && err.code == GRETA_ENOENT) {
		report(d, "database", HEALTH_NOTE, "%s is not there yet: the first submit makes it", d->ctx->db_path);
		return;
	}
	if (!db || greta_db_check(db, &err))
		report(d, "database", HEALTH_BAD, "%s", err.text);
	else
		report(d, "database", HEALTH_GOOD, "%s is whole", d->ctx->db_path);
	greta_db_close(db);
}

static void check_controller(struct doctor *d)
{
	struct greta_err err = {0};
	cleanup_free char *path = greta_format("%s.lock", d->ctx->db_path);
	if (access(path, F_OK)) {
		report(d, "controller", HEALTH_GOOD, "none runs; the next command that needs one starts it");
		return;
	}
	int fd = greta_fs_lock(path, 0600, &err);
	if (fd >= 0) {
		close(fd);
		report(d, "controller", HEALTH_GOOD, "none runs; the next command that needs one starts it");
	} else {
		report(d, "controller", err.code == GRETA_EBUSY ? HEALTH_GOOD : HEALTH_BAD, "%s", err.text);
	}
}

static void check_program(struct doctor *d, const char *name)
{
	cleanup_free char *dir = greta_fs_self_dir();
	cleanup_free char *path = dir ? greta_fs_join(dir, name) : greta_strdup(name);
	const char *argv[] = {path, "--version", NULL};
	struct greta_child_spec spec = {.argv = argv};
	struct greta_child_result result = {0};
	struct greta_err err = {0};
	cleanup_buf struct greta_buf out = {0};
	if (greta_child_run(&spec, 5000, 4096, &out, &result, &err)) {
		report(d, name, HEALTH_BAD, "%s", err.text);
		return;
	}
	const char *text = greta_buf_str(&out);
	if (result.timed_out || result.status != 0)
		report(d, name, HEALTH_BAD, "%s --version does not work", path);
	else if (!strstr(text, GRETA_VERSION))
		report(d, name, HEALTH_BAD, "%s is of another version (%.*s), this is %s: install all of one build", path,
		       (int)strcspn(text, "\n"), text, GRETA_VERSION);
	else
		report(d, name, HEALTH_GOOD, "%.*s", (int)strcspn(text, "\n"), text);
}

static void check_ssh(struct doctor *d)
{
	report(d, "libssh", HEALTH_GOOD, "%s", transport_ssh_library());
	const char *socket_path = getenv("SSH_AUTH_SOCK");
	struct stat st;
	if (!socket_path || !*socket_path)
		report(d, "ssh-agent", HEALTH_NOTE, "none (SSH_AUTH_SOCK is not set): keys without a passphrase are used");
	else if (stat(socket_path, &st))
		report(d, "ssh-agent", HEALTH_NOTE, "SSH_AUTH_SOCK names %s, which is not there", socket_path);
	else
		report(d, "ssh-agent", HEALTH_GOOD, "%s", socket_path);
	const char *home = getenv("HOME");
	cleanup_free char *known_hosts = greta_format("%s/.ssh/known_hosts", home ? home : "");
	if (access(known_hosts, R_OK))
		report(d, "known_hosts", HEALTH_NOTE, "%s can't be read: node add --accept-new writes a host's first key",
		       known_hosts);
	else
		report(d, "known_hosts", HEALTH_GOOD, "%s", known_hosts);
}

static void check_disk(struct doctor *d)
{
	cleanup_free char *dir = greta_strdup(d->ctx->db_path);
	struct statvfs fs;
	char size[32];
	for (char *slash = strrchr(dir, '/'); slash && statvfs(dir, &fs); slash = strrchr(dir, '/'))
		*slash = 0; /* the nearest folder that is there */
	if (statvfs(*dir ? dir : "/", &fs)) {
		report(d, "disk", HEALTH_NOTE, "free space at %s can't be read", d->ctx->db_path);
		return;
	}
	double left = (double)fs.f_bavail * (double)fs.f_frsize;
	greta_str_bytes(size, sizeof size, left);
	report(d, "disk", left < DISK_LOW_BYTES ? HEALTH_BAD : HEALTH_GOOD, "%s free at %s", size, *dir ? dir : "/");
}

static void check_limits(struct doctor *d)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r))
		return;
	report(d, "open files", r.rlim_max < NOFILE_WANTED ? HEALTH_NOTE : HEALTH_GOOD,
	       "%llu allowed (the controller raises %llu by itself)%s", (unsigned long long)r.rlim_max,
	       (unsigned long long)r.rlim_cur, r.rlim_max < NOFILE_WANTED ? ": ulimit -Hn is low for hundreds of nodes" : "");
}

/* With logind and no linger, what a user leaves running may end at logout. */
static void check_linger(struct doctor *d)
{
	const char *user = getenv("USER");
	if (access("/run/systemd/system", F_OK)) {
		report(d, "logout", HEALTH_GOOD, "no systemd: a controller outlives its terminal");
		return;
	}
	cleanup_free char *path = greta_format("/var/lib/systemd/linger/%s", user ? user : "");
	bool lingers = user && access(path, F_OK) == 0;
	if (getuid() == 0 || lingers)
		report(d, "logout", HEALTH_GOOD, "a controller outlives its terminal%s", lingers ? " (linger is on)" : "");
	else
		report(d, "logout", HEALTH_NOTE, "a controller may end at logout where KillUserProcesses=yes: loginctl enable-linger");
}

static void print_unit(const struct cmd_ctx *ctx)
{
	cleanup_free char *dir = greta_fs_self_dir();
	printf("# ~/.config/systemd/user/greta.service: takes up open campaigns after a reboot.\n"
	       "# systemctl --user enable --now greta.service; loginctl enable-linger\n"
	       "[Unit]\nDescription=GRETA controller\n\n"
	       "[Service]\nType=simple\nExecStart=%s/greta-orch resume --db %s\nRestart=on-failure\nRestartSec=10\n\n"
	       "[Install]\nWantedBy=default.target\n",
	       dir ? dir : "", ctx->db_path);
}

static const struct table_column doctor_columns[] = {
	{"check", "check", TABLE_TEXT, 0},
	{"health", "health", TABLE_TEXT, 0},
	{"detail", "detail", TABLE_TEXT, 0},
};

struct doctor_values {
	struct cmd_common common;
	bool unit;
};

static int doctor_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	(void)e;
	const struct doctor_values *v = values;
	if (v->unit) {
		print_unit(ctx);
		return CMD_OK;
	}
	struct doctor d = {.ctx = ctx, .table = table_create(doctor_columns, GRETA_COUNT(doctor_columns))};
	struct output o = output_of(ctx, NULL);
	check_database(&d);
	check_controller(&d);
	check_program(&d, "greta-agent");
	check_program(&d, "greta-infer");
	check_program(&d, "greta-gpu-probe");
	check_ssh(&d);
	check_disk(&d);
	check_limits(&d);
	check_linger(&d);
	output_table(&o, d.table);
	table_destroy(d.table);
	return d.bad ? CMD_INFRA : CMD_OK;
}

static const struct greta_opt doctor_opts[] = {
	{"unit", 0, GRETA_OPT_FLAG, offsetof(struct doctor_values, unit), NULL,
	 "print a systemd user unit that takes up open campaigns after a reboot"},
	{0},
};

const struct cmd cmd_doctor = {
	.name = "doctor",
	.group = "Help",
	.summary = "what stands in the way of a campaign on this machine",
	.operands = "",
	.details = "Exit code 3: something is bad. A node is looked at by greta-orch node check.\n",
	.opts = doctor_opts,
	.values_size = sizeof(struct doctor_values),
	.exec = doctor_exec,
};

#include "agent/files.h"
#include "agent/node_id.h"
#include "agent/pool.h"
#include "agent/queue.h"
#include "agent/slurm.h"
#include "agent/spool.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "schemas/msg.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPOOL_BELOW_HOME ".local/state/greta/slurm"
#define FACTS_MAX (1024 * 1024)

char *pool_spool(const struct greta_slurm *s, struct greta_err *e)
{
	const char *home = getenv("HOME");
	if ((!s->spool || *s->spool != '/') && (!home || *home != '/')) {
		greta_err_set(e, GRETA_EINVAL, "HOME is not set here: name a shared folder with `node add --spool`");
		return NULL;
	}
	char *spool = !s->spool ? greta_format("%s/" SPOOL_BELOW_HOME "/%s", home, s->name)
		      : *s->spool == '/' ? greta_strdup(s->spool) : greta_format("%s/%s", home, s->spool);
	if (greta_fs_mkdirs(spool, 0700, e) == 0 && spool_prepare(spool, true, e) == 0 && queue_prepare(spool, e) == 0)
		return spool;
	free(spool);
	return NULL;
}

static void add_row(struct greta_facts *f, const char *key, const char *value)
{
	if (value && *value)
		*GRETA_PUSH(f->env, f->n_env, f->cap_env) = (struct greta_fact){greta_strdup(key), greta_strdup(value)};
}

/* Of a machine there: what the last pilot told. Until there was one, only Slurm's own rows are known. */
static void take_machine(const char *spool, struct greta_facts *f)
{
	struct greta_facts seen = {0};
	cleanup_buf struct greta_buf text = {0};
	cleanup_free char *path = greta_fs_join(spool, "facts.json");
	if (greta_fs_read(path, FACTS_MAX, &text, NULL) == 0 &&
	    greta_facts_parse(greta_buf_str(&text), text.len, &seen, NULL) == 0) {
		f->mem_bytes = seen.mem_bytes;
		for (size_t i = 0; i < seen.n_env; i++)
			add_row(f, seen.env[i].key, seen.env[i].value);
	}
	greta_facts_release(&seen);
}

/* One pool is one node, wherever it is reached from. */
static char *node_id(const char *cluster, const char *spool)
{
	char hex[GRETA_SHA256_HEX + 1];
	struct greta_sha256 h;
	greta_sha256_init(&h);
	greta_sha256_add(&h, "greta slurm", strlen("greta slurm") + 1);
	greta_sha256_add(&h, cluster, strlen(cluster) + 1);
	greta_sha256_add(&h, spool, strlen(spool));
	greta_sha256_hex(&h, hex);
	return greta_strndup(hex, NODE_ID_LEN);
}

int pool_facts(const struct greta_slurm *s, const char *spool, struct greta_err *e)
{
	char cluster[64], version[32];
	struct greta_facts f = {0};
	struct slurm_jobs jobs = {0};
	cleanup_buf struct greta_buf text = {0};
	int rc = slurm_list(s, &jobs, e);
	slurm_jobs_release(&jobs);
	if (rc != 0 || slurm_try(s, spool, e) != 0)
		return -1;
	slurm_cluster(cluster, version);
	f.node_id = node_id(cluster, spool);
	f.hostname = greta_format("Slurm cluster %s", *cluster ? cluster : "?");
	f.machine_id = greta_strdup("");
	f.boot_id = greta_strdup(greta_clock_boot_id());
	f.n_cpus = s->cpus > 0 ? s->cpus : 1;
	f.spool_free_bytes = file_free_bytes(spool);
	f.survives_logout = true;
	f.survives_why = greta_strdup("they run in jobs of Slurm");
	take_machine(spool, &f);
	add_row(&f, "slurm.cluster", cluster);
	add_row(&f, "slurm.version", version);
	add_row(&f, "slurm.partition", s->partition);
	add_row(&f, "slurm.gres", s->gres);
	greta_facts_print(&f, &text);
	puts(greta_buf_str(&text));
	greta_facts_release(&f);
	return 0;
}

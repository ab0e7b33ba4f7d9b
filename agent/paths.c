#include "agent/paths.h"
#include "agent/devices.h"
#include "agent/node_id.h"
#include "agent/spool.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *from_env(const char *variable, const char *otherwise)
{
	const char *value = getenv(variable);
	return greta_strdup(value && *value ? value : otherwise);
}

static char *cache_dir(const char *otherwise)
{
	char *dir = greta_fs_cache_dir();
	return dir ? dir : greta_fs_join(otherwise, "cache");
}

static char *spool_base(void)
{
	const char *set = getenv("GRETA_SPOOL_DIR");
	return set && *set ? greta_strdup(set) : greta_format("/var/tmp/greta-%u", (unsigned)geteuid());
}

static int find_node_id(struct agent_paths *p, struct greta_err *e)
{
	char id[NODE_ID_LEN + 1];
	const char *set = getenv("GRETA_NODE_ID");
	if (set && *set && !strchr(set, '/')) {
		p->node_id = greta_strdup(set);
		return 0;
	}
	struct greta_facts found = {0};
	cleanup_strs struct greta_strs gpus = {0};
	devices_find(p->sys, p->proc, p->dev, &found);
	for (size_t i = 0; i < found.n_devices; i++)
		greta_strs_add(&gpus, found.devices[i].uuid);
	greta_facts_release(&found);
	if (node_id_get(p->spool_base, "/etc/machine-id", &gpus, id, e) != 0)
		return -1;
	p->node_id = greta_strdup(id);
	return 0;
}

void agent_paths_places(struct agent_paths *p)
{
	p->slots = from_env("GRETA_SLOTS_DIR", "/var/tmp/greta-slots");
	p->sys = from_env("GRETA_SYSFS_ROOT", "/sys");
	p->proc = from_env("GRETA_PROC_ROOT", "/proc");
	p->dev = from_env("GRETA_DEV_ROOT", "/dev");
	p->spool_base = spool_base();
	p->cache = cache_dir(p->spool_base);
}

int agent_paths_init(struct agent_paths *p, struct greta_err *e)
{
	agent_paths_places(p);
	if (spool_own_folder(p->spool_base, e) != 0 || find_node_id(p, e) != 0)
		return -1;
	p->spool = greta_fs_join(p->spool_base, p->node_id);
	return spool_prepare(p->spool, false, e);
}

void agent_paths_release(struct agent_paths *p)
{
	free(p->spool_base);
	free(p->spool);
	free(p->slots);
	free(p->cache);
	free(p->sys);
	free(p->proc);
	free(p->dev);
	free(p->node_id);
	*p = (struct agent_paths){0};
}

#include "orchestrator/remote/agent_bundle.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <link.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int agent_bundle_find(struct agent_bundle *b, struct greta_err *e)
{
	const char *set = getenv("GRETA_AGENT");
	if (b->agent)
		return 0;
	cleanup_free char *dir = greta_fs_self_dir();

	*b = (struct agent_bundle){ .agent = set && *set ? greta_strdup(set) : greta_fs_join(dir, "greta-agent") };
	if (access(b->agent, X_OK) == 0)
		return 0;
	greta_err_set(e, GRETA_ENOENT, "greta-agent is not at %s: build it, or name it in GRETA_AGENT", b->agent);
	agent_bundle_release(b);
	return -1;
}

/* The library that this program itself uses is the one that the agent was built against. */
static int on_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	char **found = arg;
	const char *slash = strrchr(info->dlpi_name, '/');

	(void)size;
	if (!slash || strncmp(slash + 1, "libcjson.so.1", strlen("libcjson.so.1")))
		return 0;
	*found = greta_strdup(info->dlpi_name);
	return 1;
}

static int hash_file(struct bundle_file *f, struct greta_err *e)
{
	struct stat st;

	if (stat(f->local, &st) < 0)
		return greta_err_sys(e, "%s", f->local);
	f->bytes = st.st_size;
	return greta_sha256_file(f->local, f->sha256, e);
}

/* Takes local (NULL, or a file that is not there: nothing to bring). */
static void add(struct agent_bundle *b, char *local, const char *name)
{
	if (local && access(local, R_OK) == 0)
		b->files[b->n_files++] = (struct bundle_file){.local = local, .name = name};
	else
		free(local);
}

static char *beside_agent(const struct agent_bundle *b, const char *name)
{
	const char *slash = strrchr(b->agent, '/');

	return slash ? greta_format("%.*s/%s", (int)(slash - b->agent), b->agent, name) : greta_strdup(name);
}

int agent_bundle_hash(struct agent_bundle *b, struct greta_err *e)
{
	char *cjson = NULL;
	struct greta_sha256 all;

	if (b->sha256[0])
		return 0;
	if (!b->n_files) {
		dl_iterate_phdr(on_object, &cjson);
		add(b, greta_strdup(b->agent), "greta-agent");
		add(b, cjson, "libcjson.so.1");
		add(b, beside_agent(b, "greta-gguf"), "greta-gguf");
		add(b, beside_agent(b, "greta-gpu-probe"), "greta-gpu-probe");
	}
	greta_sha256_init(&all);
	for (int i = 0; i < b->n_files; i++) {
		if (hash_file(&b->files[i], e) < 0)
			return -1;
		greta_sha256_add(&all, b->files[i].name, strlen(b->files[i].name));
		greta_sha256_add(&all, b->files[i].sha256, GRETA_SHA256_HEX);
	}
	greta_sha256_hex(&all, b->sha256);
	return 0;
}

void agent_bundle_release(struct agent_bundle *b)
{
	free(b->agent);
	for (int i = 0; i < AGENT_BUNDLE_FILES; i++)
		free(b->files[i].local);
	*b = (struct agent_bundle){0};
}

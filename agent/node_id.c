#include "agent/node_id.h"
#include "agent/files.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/sha256.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REMEMBERED_MAX 8192

static void hash_text(const char *salt, const char *text, char out[NODE_ID_LEN + 1])
{
	char hex[GRETA_SHA256_HEX + 1];
	struct greta_sha256 h;
	greta_sha256_init(&h);
	greta_sha256_add(&h, salt, strlen(salt) + 1);
	greta_sha256_add(&h, text, strlen(text));
	greta_sha256_hex(&h, hex);
	greta_str_copy(out, NODE_ID_LEN + 1, hex);
}

void node_id_machine(const char *etc_machine_id, char out[NODE_ID_LEN + 1])
{
	char raw[64];
	out[0] = '\0';
	if (file_text(etc_machine_id, NULL, raw, sizeof raw) == 0 && raw[0])
		hash_text("greta machine", raw, out);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The remembered file: "node ID", "machine HASH", then a "gpu UUID" a line. True when it tells of this machine: the
 * same machine-id, and no GPU that it does not know. */
static bool is_same_machine(const char *text, const char *machine, const struct greta_strs *gpus)
{
	char value[NODE_ID_LEN + 1];
	if (file_field(text, "machine", value, sizeof value) != 0 || strcmp(value, machine) != 0)
		return false;
	for (size_t i = 0; i < gpus->n; i++) {
		char line[160];
		snprintf(line, sizeof line, "gpu %s\n", gpus->items[i]);
		if (!strstr(text, line))
			return false;
	}
	return true;
}

static void derive(const char *machine, const struct greta_strs *gpus, struct greta_buf *remember,
		   char out[NODE_ID_LEN + 1])
{
	cleanup_buf struct greta_buf all = {0};
	cleanup_strs struct greta_strs sorted = {0};
	for (size_t i = 0; i < gpus->n; i++)
		greta_strs_add(&sorted, gpus->items[i]);
	if (sorted.n)
		qsort(sorted.items, sorted.n, sizeof *sorted.items, by_text);
	greta_buf_addf(&all, "machine %s\n", machine);
	for (size_t i = 0; i < sorted.n; i++)
		greta_buf_addf(&all, "gpu %s\n", sorted.items[i]);
	hash_text("greta node", greta_buf_str(&all), out);
	greta_buf_addf(remember, "node %s\n%s", out, greta_buf_str(&all));
}

int node_id_get(const char *base, const char *machine_id, const struct greta_strs *gpus, char out[NODE_ID_LEN + 1],
		struct greta_err *e)
{
	char machine[NODE_ID_LEN + 1];
	cleanup_free char *path = greta_fs_join(base, "node");
	cleanup_buf struct greta_buf text = {0}, remember = {0};
	node_id_machine(machine_id, machine);
	if (greta_fs_read(path, REMEMBERED_MAX, &text, NULL) == 0 &&
	    is_same_machine(greta_buf_str(&text), machine, gpus) &&
	    file_field(greta_buf_str(&text), "node", out, NODE_ID_LEN + 1) == 0 && strlen(out) == NODE_ID_LEN)
		return 0;
	derive(machine, gpus, &remember, out);
	return greta_fs_write_atomic(path, remember.data, remember.len, 0600, e);
}

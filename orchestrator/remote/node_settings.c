#include "orchestrator/remote/transport.h"

#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "schemas/json.h"

#include <string.h>

#define STORE ".cache/greta/store"

static void take_str(const struct greta_json_val *o, const char *key, char **out)
{
	const char *s;

	if (greta_json_str(greta_json_get(o, key), &s) == 0)
		*out = greta_strdup(s);
}

static void take_slurm(const struct greta_json_val *v, struct node_settings *out)
{
	struct greta_buf text = {0};

	if (!v)
		return;
	greta_json_print(v, &text);
	out->slurm = greta_buf_steal(&text);
}

/* It becomes part of a command line that a login shell there reads. */
static bool plain_path(const char *s)
{
	return *s && s[0] != '-' &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-") == strlen(s);
}

int node_settings_parse(const char *json, struct node_settings *out, struct greta_err *e)
{
	struct greta_json *j = greta_json_parse("node settings", json, strlen(json), e);
	const struct greta_json_val *o;

	*out = (struct node_settings){0};
	if (!j)
		return -1;
	o = greta_json_root(j);
	take_str(o, "host", &out->host);
	take_str(o, "user", &out->user);
	take_str(o, "identity", &out->identity);
	take_str(o, "ssh_config", &out->ssh_config);
	take_str(o, "store", &out->store);
	take_slurm(greta_json_get(o, "slurm"), out);
	greta_json_i64(greta_json_get(o, "port"), &out->port);
	greta_json_bool(greta_json_get(o, "accept_new"), &out->accept_new);
	greta_json_destroy(j);
	if (out->store && !plain_path(out->store)) {
		greta_err_set(e, GRETA_EINVAL, "store %s: only letters, digits and ._/- are possible in this path",
			      out->store);
		node_settings_release(out);
		return -1;
	}
	return 0;
}

void node_settings_print(const struct node_settings *s, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);
	const struct {
		const char *key, *value;
	} strings[] = {
		{"host", s->host}, {"user", s->user}, {"identity", s->identity},
		{"ssh_config", s->ssh_config}, {"store", s->store},
	};

	greta_jsonw_object(&w, NULL);
	for (size_t i = 0; i < GRETA_COUNT(strings); i++)
		if (strings[i].value)
			greta_jsonw_str(&w, strings[i].key, strings[i].value);
	if (s->slurm)
		greta_jsonw_raw(&w, "slurm", s->slurm);
	if (s->port)
		greta_jsonw_i64(&w, "port", s->port);
	if (s->accept_new)
		greta_jsonw_bool(&w, "accept_new", true);
	greta_jsonw_end_object(&w);
}

void node_settings_release(struct node_settings *s)
{
	free(s->host);
	free(s->user);
	free(s->identity);
	free(s->ssh_config);
	free(s->store);
	free(s->slurm);
	*s = (struct node_settings){0};
}

const char *node_settings_store(const struct node_settings *s)
{
	return s->store ? s->store : STORE;
}

bool node_settings_is_here(const struct node_settings *s, const char *transport)
{
	return greta_str_eq(transport, "local") || (s->slurm && !s->host);
}

#include "engine/backend.h"
#include "base/mem.h"
#include "base/str.h"

/* The fastest kind first: "auto" takes the first that opens. */
static const struct backend_ops *const backends[] = {&backend_gpu, &backend_cpu};

/* The first that opens; one that this machine has no device for is passed over. */
static int open_any(const struct model *m, const struct greta_engine_params *p, struct backend **out, struct greta_err *e)
{
	struct greta_err why = {0};

	for (size_t i = 0; i < GRETA_COUNT(backends); i++) {
		if (backends[i]->open(m, p, out, &why) == 0)
			return 0;
		if (why.code != GRETA_EUNSUPPORTED)
			break;
	}
	if (e)
		*e = why;
	return -1;
}

int backend_open(const struct model *m, const struct greta_engine_params *p, struct backend **out, struct greta_err *e)
{
	cleanup_buf struct greta_buf known = {0};

	if (!p->backend || greta_str_eq(p->backend, "auto"))
		return open_any(m, p, out, e);
	for (size_t i = 0; i < GRETA_COUNT(backends); i++) {
		if (greta_str_eq(p->backend, backends[i]->name))
			return backends[i]->open(m, p, out, e);
		greta_buf_addf(&known, ", %s", backends[i]->name);
	}
	return greta_err_set(e, GRETA_EINVAL, "backend \"%s\" is not known; there are: auto%s", p->backend,
			     greta_buf_str(&known));
}

void backend_list(struct greta_buf *out)
{
	for (size_t i = 0; i < GRETA_COUNT(backends); i++)
		greta_buf_addf(out, "backend: %s\n", backends[i]->name);
	backend_gpu_describe(out);
}

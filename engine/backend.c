#include "engine/backend.h"
#include "base/mem.h"
#include "base/str.h"

/* The fastest kind first: "auto" takes the first that opens. */
static const struct backend_ops *const backends[] = {&backend_gpu, &backend_cpu};

int backend_open(const struct model *m, const struct greta_engine_params *p, struct backend **out, struct greta_err *e)
{
	const char *name = p->backend ? p->backend : "auto";
	cleanup_buf struct greta_buf known = {0};

	for (size_t i = 0; i < GRETA_COUNT(backends); i++) {
		struct greta_err why;
		if (greta_str_eq(name, backends[i]->name))
			return backends[i]->open(m, p, out, e);
		if (greta_str_eq(name, "auto")) {
			if (backends[i]->open(m, p, out, &why) == 0)
				return 0;
			if (why.code != GRETA_EUNSUPPORTED || i + 1 == GRETA_COUNT(backends)) {
				if (e)
					*e = why;
				return -1;
			}
		}
		greta_buf_addf(&known, ", %s", backends[i]->name);
	}
	greta_err_set(e, GRETA_EINVAL, "backend \"%s\" is not known; there are: auto%s", name, greta_buf_str(&known));
	return -1;
}

void backend_list(struct greta_buf *out)
{
	for (size_t i = 0; i < GRETA_COUNT(backends); i++)
		greta_buf_addf(out, "backend: %s\n", backends[i]->name);
	backend_gpu_describe(out);
}

#include "schemas/kernels.h"

#include "base/mem.h"
#include "schemas/shapes.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void init(void *obj)
{
	struct greta_kernel *k = obj;

	k->scratch_bytes = -1;
	k->vgpr = k->agpr = k->sgpr = k->lds_bytes = k->spills = k->blocks_per_unit = -1;
}

static const struct field kernel_fields[] = {
	{F_STR(struct greta_kernel, kernel), .required = true},
	{F_STR(struct greta_kernel, arch), .required = true},
	{F_STR(struct greta_kernel, attn_impl)},
	{F_STR(struct greta_kernel, code_object_sha256)},
	{F_I64(struct greta_kernel, scratch_bytes), .required = true},
	{F_I64(struct greta_kernel, vgpr)},
	{F_I64(struct greta_kernel, agpr)},
	{F_I64(struct greta_kernel, sgpr)},
	{F_I64(struct greta_kernel, lds_bytes)},
	{F_I64(struct greta_kernel, spills)},
	{F_I64(struct greta_kernel, blocks_per_unit)},
	{0},
};
static const struct shape shape_kernel = {"kernel", sizeof(struct greta_kernel), kernel_fields, init};

/* ---- reading */

/* Where the array starts: at the first line that begins with a bracket. */
static const char *find_array(const char *text, size_t n)
{
	const char *end = text + n;

	for (const char *line = text; line && line < end; line = memchr(line, '\n', (size_t)(end - line))) {
		line += *line == '\n';
		if (line < end && *line == '[')
			return line;
	}
	return NULL;
}

static int read_all(const struct greta_json *j, struct greta_kernels *out, struct greta_err *e)
{
	const struct greta_json_val *v = greta_json_root(j);

	if (greta_json_type(v) != GRETA_JSON_ARRAY)
		return greta_err_set(e, GRETA_EPROTO, "kernels: expected an array");
	for (v = greta_json_first(v); v; v = greta_json_next(v)) {
		struct greta_kernel *k = GRETA_PUSH(out->items, out->n, out->cap);

		if (fields_parse(&shape_kernel, j, v, k, e) < 0)
			return -1;
	}
	return 0;
}

int greta_kernels_parse(const char *text, size_t n, struct greta_kernels *out, struct greta_err *e)
{
	const char *array = find_array(text, n);
	struct greta_json *j;
	int rc;

	*out = (struct greta_kernels){0};
	if (!array)
		return greta_err_set(e, GRETA_EPROTO, "kernels: no JSON array in what was printed");
	j = greta_json_parse("kernels", array, n - (size_t)(array - text), e);
	rc = j ? read_all(j, out, e) : -1;
	greta_json_destroy(j);
	if (rc < 0)
		greta_kernels_release(out);
	return rc;
}

void greta_kernels_release(struct greta_kernels *k)
{
	for (size_t i = 0; i < k->n; i++)
		fields_release(&shape_kernel, &k->items[i]);
	free(k->items);
	*k = (struct greta_kernels){0};
}

/* ---- the gate */

static bool is_among(const struct greta_strs *archs, const char *arch)
{
	for (size_t i = 0; i < archs->n; i++)
		if (greta_str_starts(arch, archs->items[i])) /* a driver says sm_90 where the kernels are for sm_90a */
			return true;
	return archs->n == 0;
}

/* Of these architectures, and run by this variant. */
static bool concerns(const struct greta_kernel *k, const struct greta_strs *archs, const char *attn_impl)
{
	return is_among(archs, k->arch) && (!attn_impl || !k->attn_impl || greta_str_eq(k->attn_impl, attn_impl));
}

static void say_blind(const struct greta_strs *archs, const char *attn_impl, struct greta_buf *why)
{
	greta_buf_adds(why, "no_spill has nothing to look at: the engine lists no kernel");
	if (attn_impl)
		greta_buf_addf(why, " of %s", attn_impl);
	for (size_t i = 0; i < archs->n; i++)
		greta_buf_addf(why, "%s%s", i ? " or " : " for ", archs->items[i]);
}

bool greta_kernels_no_spill(const struct greta_kernels *kernels, const struct greta_strs *archs, const char *attn_impl,
			    struct greta_buf *why)
{
	size_t n_seen = 0;

	for (size_t i = 0; i < kernels->n; i++) {
		const struct greta_kernel *k = &kernels->items[i];

		if (!concerns(k, archs, attn_impl))
			continue;
		n_seen += !attn_impl || k->attn_impl;
		if (k->scratch_bytes == 0)
			continue;
		greta_buf_addf(why, "no_spill: kernel %s (%s) uses %" PRId64 " bytes of scratch memory a lane", k->kernel,
			       k->arch, k->scratch_bytes);
		return false;
	}
	if (n_seen == 0)
		say_blind(archs, attn_impl, why);
	return n_seen > 0;
}

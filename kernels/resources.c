/* resources: what each embedded kernel takes of its machine, and the static gate.
 *
 * gfx942 figures come from the code objects' own metadata, sm_90a's from the report of ptxas that the build recorded.
 * Occupancy is blocks a compute unit can hold by registers, LDS and threads: an upper bound.
 */
#include "base/buf.h"
#include "base/jsonw.h"
#include "base/sha256.h"
#include "base/str.h"
#include "kernels/code_meta.h"
#include "kernels/code_objects.h"
#include "kernels/gpu_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct resource {
	const char *kernel, *arch;
	int vgpr, agpr, sgpr, lds, scratch, spills, occupancy, mma;
	char attn_impl[32];              /* the rung that it belongs to; "": run whatever the rung */
	char hash[GRETA_SHA256_HEX + 1]; /* of the code object */
	char broken[96];                 /* which rule of the gate; "" if none */
};

static int round_up(int x, int unit)
{
	return (x + unit - 1) / unit * unit;
}

static int least(int a, int b)
{
	return a < b ? a : b;
}

/* Four SIMDs of 512 registers a lane (granted by 8) and 8 waves each; 64 KB of LDS. */
static int occupancy_gfx942(const struct resource *r, int threads)
{
	int waves = (threads + 63) / 64;
	int waves_per_simd = r->vgpr ? least(512 / round_up(r->vgpr, 8), 8) : 8;
	int by_waves = waves_per_simd * 4 / waves;

	return r->lds ? least(by_waves, 65536 / r->lds) : by_waves;
}

/* 65,536 registers (granted by 8 a lane), 2048 threads, 32 blocks, 227 KB of shared memory, 1 KB of it the system's. */
static int occupancy_sm_90a(const struct resource *r, int threads)
{
	int by_registers = 65536 / (round_up(r->vgpr ? r->vgpr : 1, 8) * threads);

	return least(least(by_registers, 2048 / threads), least(32, 232448 / (r->lds + 1024)));
}

/* "mma NAME COUNT" */
static int noted_mma(const struct gpu_code_object *o, const char *kernel)
{
	char key[96];
	int n = snprintf(key, sizeof key, "mma %s ", kernel);
	const char *hit = memmem(o->notes, o->notes_size, key, (size_t)n);

	return hit ? (int)strtol(hit + n, NULL, 10) : 0;
}

static void break_rule(struct resource *r, const char *rule)
{
	if (!r->broken[0])
		greta_str_copy(r->broken, sizeof r->broken, rule);
}

static void from_metadata(struct resource *r, const struct gpu_code_object *o, const struct gpu_kernel_info *info)
{
	struct code_meta m;
	const struct code_kernel *k;

	if (!code_meta_parse(&m, o->data, o->size) || !(k = code_meta_find(&m, r->kernel))) {
		break_rule(r, "not in its code object");
		return;
	}
	r->vgpr = (int)k->vgpr;
	r->agpr = (int)k->agpr;
	r->sgpr = (int)k->sgpr;
	r->lds = (int)k->lds_bytes;
	r->scratch = (int)k->scratch_bytes;
	r->spills = (int)(k->vgpr_spills + k->sgpr_spills);
	r->occupancy = occupancy_gfx942(r, info->threads_amd);
	if (k->dynamic_stack)
		break_rule(r, "dynamic stack");
	if (k->n_args < 1 || k->args[0].size != info->args_size)
		break_rule(r, "argument struct differs from the host's");
	for (size_t i = 1; i < k->n_args && i < CODE_META_ARGS; i++)
		if (strcmp(k->args[i].kind, "hidden_hostcall_buffer") == 0 || strcmp(k->args[i].kind, "hidden_heap_v1") == 0)
			break_rule(r, "host call or heap");
	if (k->lds_bytes > 65536)
		break_rule(r, "more than 64 KB of LDS");
	code_meta_release(&m);
}

/* The number before `unit` in the line; 0 if it has none. */
static int number_before(const char *line, size_t n, const char *unit)
{
	const char *hit = memmem(line, n, unit, strlen(unit));

	if (!hit)
		return 0;
	while (hit > line && hit[-1] == ' ')
		hit--;
	while (hit > line && hit[-1] >= '0' && hit[-1] <= '9')
		hit--;
	return (int)strtol(hit, NULL, 10);
}

/* What ptxas calls it: all of a function's products, or a wait put between two because their registers are touched. */
static bool serialised(const struct gpu_code_object *o, const char *told)
{
	return memmem(o->notes, o->notes_size, told, strlen(told)) != NULL;
}

static void from_ptxas(struct resource *r, const struct gpu_code_object *o, const struct gpu_kernel_info *info)
{
	char key[128];
	int n = snprintf(key, sizeof key, "Compiling entry function '%s'", r->kernel);
	const char *at = memmem(o->notes, o->notes_size, key, (size_t)n), *end = o->notes + o->notes_size, *stop;
	size_t left;

	if (!at) {
		break_rule(r, "not in ptxas's report");
		return;
	}
	at += n;
	stop = memmem(at, (size_t)(end - at), "Compiling entry function", 24);
	left = (size_t)((stop ? stop : end) - at);
	r->scratch = number_before(at, left, " bytes stack frame");
	r->spills = (number_before(at, left, " bytes spill stores") + number_before(at, left, " bytes spill loads")) / 4;
	r->vgpr = number_before(at, left, " registers");
	r->lds = number_before(at, left, " bytes smem") + info->dynamic_lds_nvidia;
	r->occupancy = occupancy_sm_90a(r, info->threads_nvidia);
	if (r->spills)
		break_rule(r, "spills");
	if (serialised(o, "wgmma.mma_async instructions are serialized") || serialised(o, "warpgroup.wait is injected"))
		break_rule(r, "ptxas serialised wgmma");
}

/* Kernels of the ladder are named RUNG_DTYPE_WIDTH. */
static void name_rung(struct resource *r)
{
	const char *dtype = strstr(r->kernel, "_f16_");

	if (!dtype)
		dtype = strstr(r->kernel, "_bf16_");
	for (int i = 0; dtype && i < GRETA_ATTN_N_RUNGS; i++) {
		const char *rung = greta_attn_name((enum greta_attn_rung)i);

		if (strncmp(r->kernel, rung, strlen(rung)) == 0 && r->kernel + strlen(rung) == dtype)
			greta_str_copy(r->attn_impl, sizeof r->attn_impl, rung);
	}
}

static void measure(struct resource *r, const struct gpu_code_object *o, const struct gpu_kernel_info *info)
{
	*r = (struct resource){ .kernel = info->name, .arch = o->arch };
	name_rung(r);
	r->mma = noted_mma(o, r->kernel);
	greta_sha256_of(o->data, o->size, r->hash);
	if (greta_str_eq(o->arch, "sm_90a"))
		from_ptxas(r, o, info);
	else
		from_metadata(r, o, info);
	if (r->scratch)
		break_rule(r, "scratch memory");
}

static void add_json(struct greta_jsonw *w, const struct resource *r)
{
	greta_jsonw_object(w, NULL);
	greta_jsonw_str(w, "kernel", r->kernel);
	greta_jsonw_str(w, "arch", r->arch);
	if (r->attn_impl[0])
		greta_jsonw_str(w, "attn_impl", r->attn_impl);
	greta_jsonw_i64(w, "vgpr", r->vgpr);
	greta_jsonw_i64(w, "agpr", r->agpr);
	greta_jsonw_i64(w, "sgpr", r->sgpr);
	greta_jsonw_i64(w, "lds_bytes", r->lds);
	greta_jsonw_i64(w, "scratch_bytes", r->scratch);
	greta_jsonw_i64(w, "spills", r->spills);
	greta_jsonw_i64(w, "blocks_per_unit", r->occupancy);
	greta_jsonw_i64(w, "mma", r->mma);
	greta_jsonw_str(w, "code_object_sha256", r->hash);
	greta_jsonw_str(w, "gate", r->broken[0] ? r->broken : "ok");
	greta_jsonw_end_object(w);
}

static void add_line(struct greta_buf *out, const struct resource *r)
{
	greta_buf_addf(out, "%-28s %-7s %5d %5d %5d %7d %8d %7d %7d %5d  %.12s  %s\n", r->kernel, r->arch, r->vgpr, r->agpr,
		       r->sgpr, r->lds, r->scratch, r->spills, r->occupancy, r->mma, r->hash,
		       r->broken[0] ? r->broken : "ok");
}

int greta_gpu_resources(struct greta_buf *out, bool json)
{
	struct greta_jsonw w = greta_jsonw(out);
	size_t n;
	const struct gpu_code_object *list = gpu_code_objects(&n);
	int broken = 0;

	if (json)
		greta_jsonw_array(&w, NULL);
	else
		greta_buf_addf(out, "%-28s %-7s %5s %5s %5s %7s %8s %7s %7s %5s  %-12s  %s\n", "kernel", "arch", "vgpr", "agpr",
			       "sgpr", "lds", "scratch", "spills", "blocks", "mma", "code object", "gate");
	for (size_t i = 0; i < n; i++) {
		for (int k = 0; k < GPU_N_KERNELS; k++) {
			struct resource r;

			if (!greta_str_eq(gpu_kernel_info[k].object, list[i].name))
				continue;
			measure(&r, &list[i], &gpu_kernel_info[k]);
			broken += r.broken[0] != 0;
			if (json)
				add_json(&w, &r);
			else
				add_line(out, &r);
		}
	}
	if (json) {
		greta_jsonw_end_array(&w);
		greta_buf_addc(out, '\n');
	}
	return broken;
}

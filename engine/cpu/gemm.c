#include "engine/cpu/gemm.h"
#include <string.h>

/* Below this many tokens each weight is used so rarely that unpacking it costs more than it saves. */
#define GEMV_MAX_TOKENS 3

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static bool uses_gemv(const struct cpu *cpu, int n)
{
	return n <= GEMV_MAX_TOKENS && !cpu->deterministic;
}

struct panels panels_of(const struct cpu *cpu, int n)
{
	/* gemv wants plain vectors, which panels of one row are */
	int mr = uses_gemv(cpu, n) ? 1 : cpu->k->mr;
	return (struct panels){.n = n, .n_panels = (n + mr - 1) / mr};
}

int panels_row(const struct panels *p, int panel)
{
	int base = p->n / p->n_panels, longer = p->n % p->n_panels;
	return panel * base + (panel < longer ? panel : longer);
}

/* --- packing activations ------------------------------------------------------------------------------------------ */

struct pack_job {
	const struct cpu *cpu;
	struct panels panels;
	const float *x;
	size_t ldx, k;
	const float *norm; /* NULL: as it is */
	float eps;
	float *packed;
};

static void pack_task(void *arg, int64_t panel, int thread)
{
	const struct pack_job *j = arg;
	const struct cpu_kernels *kern = j->cpu->k;
	int row = panels_row(&j->panels, (int)panel), rows = panels_row(&j->panels, (int)panel + 1) - row;
	const float *x = j->x + (size_t)row * j->ldx;
	size_t ldx = j->ldx;

	if (j->norm) {
		float *tmp = j->cpu->scratch[thread];
		for (int r = 0; r < rows; r++)
			kern->rms_norm(x + (size_t)r * ldx, j->norm, j->eps, j->k, tmp + (size_t)r * j->k);
		x = tmp;
		ldx = j->k;
	}
	kern->pack_x(x, ldx, rows, j->k, j->packed + (size_t)row * j->k);
}

void gemm_pack_norm(const struct cpu *cpu, const float *x, size_t ldx, int n, size_t k, const float *weight, float eps,
		    float *packed)
{
	struct pack_job j = {.cpu = cpu, .panels = panels_of(cpu, n), .x = x, .ldx = ldx, .k = k, .norm = weight, .eps = eps,
			     .packed = packed};
	pool_run(cpu->pool, j.panels.n_panels, pack_task, &j);
}

void gemm_pack(const struct cpu *cpu, const float *x, size_t ldx, int n, size_t k, float *packed)
{
	gemm_pack_norm(cpu, x, ldx, n, k, NULL, 0.0f, packed);
}

/* --- products ----------------------------------------------------------------------------------------------------- */

/* Outputs per task: few enough that every thread finds work, whole register tiles. */
static size_t columns_per_task(const struct cpu *cpu, size_t n_out)
{
	size_t nr = (size_t)cpu->k->nr, share = n_out / (4 * (size_t)cpu->n_threads);

	share = (share + nr - 1) / nr * nr;
	return share < nr ? nr : min_size(share, GEMM_NC);
}

static size_t n_chunks(size_t n_out, size_t nc)
{
	return (n_out + nc - 1) / nc;
}

static void add_bias(const struct weight *w, float *y, size_t ldy, int n, size_t out0, size_t n_out)
{
	for (int r = 0; w->bias && r < n; r++)
		for (size_t i = 0; i < n_out; i++)
			y[(size_t)r * ldy + i] += w->bias[out0 + i];
}

/* Outputs out0 .. out0 + n_out - 1 of all rows: y points at row 0, output out0. */
static void product(const struct cpu *cpu, const struct panels *p, const float *packed, const struct weight *w, size_t out0,
		    size_t n_out, float *y, size_t ldy, bool add, float *strip)
{
	const struct cpu_kernels *kern = cpu->k;
	size_t nr = (size_t)kern->nr;
	const char *data = (const char *)w->data + out0 * w->row_bytes;

	for (size_t k0 = 0; k0 < w->n_in; k0 += GEMM_KC) {
		size_t kc = min_size(GEMM_KC, w->n_in - k0);
		for (size_t i = 0; i < n_out; i += nr)
			kern->pack_w(w->traits, data + i * w->row_bytes, w->row_bytes, (int)min_size(nr, n_out - i), k0, kc,
				     strip + i * kc);
		for (int panel = 0; panel < p->n_panels; panel++) {
			int row = panels_row(p, panel), rows = panels_row(p, panel + 1) - row;
			const float *x = packed + (size_t)row * w->n_in + k0 * (size_t)rows;
			for (size_t i = 0; i < n_out; i += nr)
				kern->gemm_f32(rows, kc, x, strip + i * kc, y + (size_t)row * ldy + i, ldy,
					       (int)min_size(nr, n_out - i), add || k0 > 0);
		}
	}
	add_bias(w, y, ldy, p->n, out0, n_out);
}

static void product_gemv(const struct cpu *cpu, int n, const float *x, const struct weight *w, size_t out0, size_t n_out,
			 float *y, size_t ldy, bool add)
{
	const char *data = (const char *)w->data + out0 * w->row_bytes;

	for (int r = 0; r < n; r++)
		cpu->k->gemv(w->traits, data, w->row_bytes, n_out, w->n_in, x + (size_t)r * w->n_in, y + (size_t)r * ldy, add);
	add_bias(w, y, ldy, n, out0, n_out);
}

struct gemm_job {
	const struct cpu *cpu;
	struct panels panels;
	const float *packed;
	const struct gemm_out *outs;
	int n_outs;
	size_t nc;
	const struct weight *gate, *up; /* of swiglu */
	float *packed_out;
};

static void chunk_product(const struct gemm_job *j, const struct weight *w, size_t out0, size_t n_out, float *y, size_t ldy,
			  bool add, float *strip)
{
	if (uses_gemv(j->cpu, j->panels.n))
		product_gemv(j->cpu, j->panels.n, j->packed, w, out0, n_out, y, ldy, add);
	else
		product(j->cpu, &j->panels, j->packed, w, out0, n_out, y, ldy, add, strip);
}

static void run_task(void *arg, int64_t item, int thread)
{
	const struct gemm_job *j = arg;
	const struct gemm_out *o = j->outs;
	size_t chunk = (size_t)item;

	while (chunk >= n_chunks(o->w->n_out, j->nc)) {
		chunk -= n_chunks(o->w->n_out, j->nc);
		o++;
	}
	size_t out0 = chunk * j->nc, n_out = min_size(j->nc, o->w->n_out - out0);
	chunk_product(j, o->w, out0, n_out, o->y + out0, o->ldy, o->add, j->cpu->scratch[thread]);
}

void gemm_run(const struct cpu *cpu, const float *packed, int n, const struct gemm_out *outs, int n_outs)
{
	struct gemm_job j = {.cpu = cpu, .panels = panels_of(cpu, n), .packed = packed, .outs = outs, .n_outs = n_outs};
	size_t total = 0, items = 0;

	for (int i = 0; i < n_outs; i++)
		total += outs[i].w->n_out;
	j.nc = columns_per_task(cpu, total);
	for (int i = 0; i < n_outs; i++)
		items += n_chunks(outs[i].w->n_out, j.nc);
	pool_run(cpu->pool, (int64_t)items, run_task, &j);
}

/* Gate and up of the same outputs in one task: both tiles are in cache when they are multiplied. */
static void swiglu_task(void *arg, int64_t item, int thread)
{
	const struct gemm_job *j = arg;
	const struct panels *p = &j->panels;
	size_t n_ff = j->gate->n_out, out0 = (size_t)item * j->nc, n_out = min_size(j->nc, n_ff - out0);
	float *strip = j->cpu->scratch[thread];
	float *gate = strip + GEMM_KC * GEMM_NC, *up = gate + (size_t)p->n * j->nc;

	chunk_product(j, j->gate, out0, n_out, gate, j->nc, false, strip);
	chunk_product(j, j->up, out0, n_out, up, j->nc, false, strip);
	for (int r = 0; r < p->n; r++)
		j->cpu->k->silu_mul(gate + (size_t)r * j->nc, up + (size_t)r * j->nc, n_out);
	for (int panel = 0; panel < p->n_panels; panel++) {
		int row = panels_row(p, panel), rows = panels_row(p, panel + 1) - row;
		j->cpu->k->pack_x(gate + (size_t)row * j->nc, j->nc, rows, n_out,
				  j->packed_out + (size_t)row * n_ff + out0 * (size_t)rows);
	}
}

void gemm_swiglu(const struct cpu *cpu, const float *packed, int n, const struct weight *gate, const struct weight *up,
		 float *packed_out)
{
	struct gemm_job j = {.cpu = cpu, .panels = panels_of(cpu, n), .packed = packed, .gate = gate, .up = up,
			     .packed_out = packed_out, .nc = columns_per_task(cpu, gate->n_out)};
	pool_run(cpu->pool, (int64_t)n_chunks(gate->n_out, j.nc), swiglu_task, &j);
}

size_t gemm_scratch_bytes(const struct cpu *cpu, int max_n, size_t max_k)
{
	size_t strip = GEMM_KC * GEMM_NC, tiles = 2 * (size_t)max_n * GEMM_NC, rows = (size_t)cpu->k->mr * max_k;
	size_t floats = strip + tiles > rows ? strip + tiles : rows;
	return floats * sizeof(float);
}

#include "db/columns.h"

#include "base/mem.h"
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define KIND_EMPTY 0
#define KIND_DECIMAL 1
#define KIND_DOUBLE 2
#define HAS_MISSING 8
#define MAX_SCALE 6
#define CELLS_MAX (64u * 1024 * 1024) /* no block of ours is near; a damaged one must not take all memory */

static const double powers[MAX_SCALE + 1] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6};

/* ---- writing */

static uint64_t zigzag(int64_t v)
{
	return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

static char *put_varint(char *to, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		*to++ = (char)(v | 0x80);
	*to++ = (char)v;
	return to;
}

static void add_varint(struct greta_buf *out, uint64_t v)
{
	char *to = greta_buf_reserve(out, 10);

	out->len += (size_t)(put_varint(to, v) - to);
}

static void encode_times(const int64_t *t_ns, size_t n, struct greta_buf *out)
{
	char *start = greta_buf_reserve(out, n * 10);
	char *to = start;
	uint64_t last = 0, step = 0; /* unsigned: differences may wrap, and wrap back when read */

	for (size_t r = 0; r < n; r++) {
		uint64_t now = (uint64_t)t_ns[r], d = now - last;

		to = put_varint(to, zigzag((int64_t)(r < 2 ? d : d - step)));
		step = d;
		last = now;
	}
	out->len += (size_t)(to - start);
}

static bool is_decimal(double v, int scale, int64_t *whole)
{
	double scaled = v * powers[scale];

	if (!(fabs(scaled) < 9007199254740992.0)) /* 2^53: beyond, not every whole number is a double */
		return false;
	*whole = llrint(scaled);
	/* -0.0 has no decimal form; a zero that is compared equal to it would lose its sign. */
	return (double)*whole / powers[scale] == v && !(v == 0 && signbit(v));
}

/* The smallest scale at which every reading comes back exactly, or -1. present: the column without its gaps. */
static int find_scale(const double *present, size_t n)
{
	int scale = 0;
	int64_t whole;

	for (size_t i = 0; i < n; i++)
		while (!is_decimal(present[i], scale, &whole))
			if (++scale > MAX_SCALE)
				return -1;
	/* A larger scale may have spoiled an earlier, large reading. */
	for (size_t i = 0; i < n; i++)
		if (!is_decimal(present[i], scale, &whole))
			return -1;
	return scale;
}

static void encode_decimal(const double *present, size_t n, int scale, struct greta_buf *out)
{
	char *start, *to;
	int64_t last = 0, whole = 0;

	greta_buf_addc(out, (char)scale);
	start = to = greta_buf_reserve(out, n * 10);
	for (size_t i = 0; i < n; i++) {
		is_decimal(present[i], scale, &whole);
		to = put_varint(to, zigzag(whole - last));
		last = whole;
	}
	out->len += (size_t)(to - start);
}

static void encode_double(const double *present, size_t n, struct greta_buf *out)
{
	unsigned char *to = (unsigned char *)greta_buf_reserve(out, n * 8);

	for (size_t i = 0; i < n; i++) {
		uint64_t bits;

		memcpy(&bits, &present[i], sizeof bits);
		for (size_t b = 0; b < 8; b++)
			to[b * n + i] = (unsigned char)(bits >> (8 * b));
	}
	out->len += n * 8;
}

static void encode_missing(const double *values, size_t n, size_t m, struct greta_buf *out)
{
	size_t bytes = (n + 7) / 8;
	unsigned char *bits = (unsigned char *)greta_buf_reserve(out, bytes);

	memset(bits, 0, bytes);
	for (size_t r = 0; r < n; r++)
		if (!isnan(values[r * m]))
			bits[r / 8] |= (unsigned char)(1u << (r % 8));
	out->len += bytes;
}

static void encode_column(const double *values, size_t n, size_t m, double *present, struct greta_buf *out)
{
	size_t n_present = 0;
	int scale, gaps;

	for (size_t r = 0; r < n; r++)
		if (!isnan(values[r * m]))
			present[n_present++] = values[r * m];
	if (!n_present) {
		greta_buf_addc(out, KIND_EMPTY);
		return;
	}
	gaps = n_present < n ? HAS_MISSING : 0;
	scale = find_scale(present, n_present);
	greta_buf_addc(out, (char)((scale < 0 ? KIND_DOUBLE : KIND_DECIMAL) | gaps));
	if (gaps)
		encode_missing(values, n, m, out);
	if (scale < 0)
		encode_double(present, n_present, out);
	else
		encode_decimal(present, n_present, scale, out);
}

void columns_encode(const int64_t *t_ns, const double *values, size_t n, size_t m, struct greta_buf *out)
{
	double *present = greta_alloc((n ? n : 1) * sizeof *present);

	add_varint(out, n);
	add_varint(out, m);
	encode_times(t_ns, n, out);
	for (size_t c = 0; c < m; c++)
		encode_column(values + c, n, m, present, out);
	free(present);
}

/* ---- reading */

struct reader {
	const unsigned char *at, *end;
	bool bad; /* ran over the end, once and for all */
};

static uint64_t get_varint(struct reader *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64 && r->at < r->end; shift += 7) {
		unsigned char byte = *r->at++;

		v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return v;
	}
	r->bad = true;
	return 0;
}

static uint64_t get_zigzag(struct reader *r)
{
	uint64_t v = get_varint(r);

	return (v >> 1) ^ -(v & 1);
}

static const unsigned char *get_bytes(struct reader *r, size_t n)
{
	const unsigned char *from = r->at;

	if ((size_t)(r->end - r->at) < n) {
		r->bad = true;
		return NULL;
	}
	r->at += n;
	return from;
}

static void decode_times(struct reader *r, struct columns *out)
{
	uint64_t last = 0, step = 0;

	for (size_t i = 0; i < out->n; i++) {
		uint64_t d = get_zigzag(r);

		step = i < 2 ? d : step + d;
		last += step;
		out->t_ns[i] = (int64_t)last;
	}
}

static bool has_reading(const unsigned char *bits, size_t row)
{
	return !bits || (bits[row / 8] >> (row % 8) & 1);
}

static void decode_decimal(struct reader *r, const unsigned char *bits, size_t n, size_t m, double *values)
{
	const unsigned char *scale = get_bytes(r, 1);
	uint64_t whole = 0;

	if (!scale || *scale > MAX_SCALE) {
		r->bad = true;
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (!has_reading(bits, i))
			continue;
		whole += get_zigzag(r);
		values[i * m] = (double)(int64_t)whole / powers[*scale];
	}
}

static void decode_double(struct reader *r, const unsigned char *bits, size_t n, size_t m, double *values)
{
	const unsigned char *planes;
	size_t n_present = 0, k = 0;

	for (size_t i = 0; i < n; i++)
		n_present += has_reading(bits, i);
	planes = get_bytes(r, n_present * 8);
	for (size_t i = 0; planes && i < n; i++) {
		uint64_t word = 0;

		if (!has_reading(bits, i))
			continue;
		for (size_t b = 0; b < 8; b++)
			word |= (uint64_t)planes[b * n_present + k] << (8 * b);
		k++;
		memcpy(&values[i * m], &word, sizeof word);
	}
}

static void decode_column(struct reader *r, size_t n, size_t m, double *values)
{
	const unsigned char *kind = get_bytes(r, 1), *bits = NULL;

	for (size_t i = 0; i < n; i++)
		values[i * m] = NAN;
	if (!kind || *kind == KIND_EMPTY)
		return;
	if (*kind & HAS_MISSING) {
		bits = get_bytes(r, (n + 7) / 8);
		if (!bits)
			return;
	}
	if ((*kind & ~HAS_MISSING) == KIND_DECIMAL)
		decode_decimal(r, bits, n, m, values);
	else if ((*kind & ~HAS_MISSING) == KIND_DOUBLE)
		decode_double(r, bits, n, m, values);
	else
		r->bad = true;
}

/* Every row costs a byte at least, so a size that the bytes can't hold is refused before memory is taken for it. */
static int read_shape(struct reader *r, struct columns *out)
{
	uint64_t n = get_varint(r), m = get_varint(r);
	size_t left = (size_t)(r->end - r->at);

	if (r->bad || n > left || m > left || (m && n > CELLS_MAX / m))
		return -1;
	out->n = n;
	out->m = m;
	out->t_ns = greta_try_alloc(n + 1, sizeof *out->t_ns); /* one more, so that none is not NULL */
	out->values = greta_try_alloc(n * m + 1, sizeof *out->values);
	return out->t_ns && out->values ? 0 : -1;
}

int columns_decode(const void *data, size_t len, struct columns *out)
{
	struct reader r = {.at = data, .end = (const unsigned char *)data + len};

	*out = (struct columns){0};
	if (!read_shape(&r, out)) {
		decode_times(&r, out);
		for (size_t c = 0; c < out->m && !r.bad; c++)
			decode_column(&r, out->n, out->m, out->values + c);
		if (!r.bad && r.at == r.end)
			return 0;
	}
	columns_release(out);
	return -1;
}

void columns_release(struct columns *c)
{
	free(c->t_ns);
	free(c->values);
	*c = (struct columns){0};
}

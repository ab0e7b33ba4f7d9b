/* What a file holds, for a person as tables, for a program as JSON. Text from the file is made harmless first. */
#include "engine/gguf_cmd.h"

#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>

#define SHOWN_ITEMS 4  /* of an array in the table */
#define SHOWN_BYTES 60 /* of a string in the table */
#define JSON_ITEMS 64  /* of an array in JSON, unless --full */

struct values {
	bool json, full;
};

static const struct greta_opt options[] = {
	{"json", 0, GRETA_OPT_FLAG, offsetof(struct values, json), NULL, "as one JSON object"},
	{"full", 0, GRETA_OPT_FLAG, offsetof(struct values, full), NULL, "arrays whole, however long"},
	{0},
};

/* --- text --- */

/* Bytes of the UTF-8 sequence at s, or 0 if it is none (C1 control characters count as none). */
static size_t utf8_len(const unsigned char *s, size_t n)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;

	if (len > n || (len == 2 && s[0] == 0xc2 && s[1] < 0xa0))
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

void gguf_cmd_text(struct greta_buf *out, const char *s, size_t n)
{
	for (size_t i = 0; i < n;) {
		unsigned char c = (unsigned char)s[i];
		size_t len = utf8_len((const unsigned char *)s + i, n - i);
		if (c == '\n')
			greta_buf_adds(out, "\\n");
		else if (len == 0 || c < 0x20 || c == 0x7f)
			greta_buf_addf(out, "\\x%02x", c);
		else
			greta_buf_add(out, s + i, len);
		i += len ? len : 1;
	}
}

/* At most SHOWN_BYTES, cut between characters. */
static void add_short_text(struct greta_buf *out, struct gguf_str s)
{
	size_t n = s.n;

	if (n > SHOWN_BYTES)
		for (n = SHOWN_BYTES; n > SHOWN_BYTES - 4 && (s.s[n] & 0xc0) == 0x80;)
			n--;
	gguf_cmd_text(out, s.s, n);
	if (n < s.n)
		greta_buf_addf(out, "... (%zu bytes)", s.n);
}

void gguf_cmd_shape(struct greta_buf *out, const struct gguf_tensor *t)
{
	for (int i = 0; i < t->n_dims; i++)
		greta_buf_addf(out, "%s%" PRIu64, i ? " x " : "", t->ne[i]);
}

/* As few digits as read back equal. */
static void add_f32(struct greta_buf *out, float f)
{
	char text[32];

	for (int digits = 6; digits <= 9; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, (double)f);
		if (strtof(text, NULL) == f)
			break;
	}
	greta_buf_adds(out, text);
}

static void add_number(struct greta_buf *out, const struct gguf_kv *kv, uint64_t i)
{
	uint64_t u;

	if (kv->item_type == GGUF_BOOL)
		greta_buf_adds(out, kv->data[i] ? "true" : "false");
	else if (kv->item_type == GGUF_F32)
		add_f32(out, (float)gguf_item_f64(kv, i));
	else if (kv->item_type == GGUF_F64)
		greta_buf_addf(out, "%.17g", gguf_item_f64(kv, i));
	else if (kv->item_type == GGUF_U64) {
		memcpy(&u, kv->data + 8 * i, sizeof u);
		greta_buf_addf(out, "%" PRIu64, u);
	} else
		greta_buf_addf(out, "%" PRId64, gguf_item_i64(kv, i));
}

static void add_value(struct greta_buf *out, const struct gguf_kv *kv, bool full)
{
	uint64_t shown = full || kv->n < SHOWN_ITEMS ? kv->n : SHOWN_ITEMS, at = 0;
	struct gguf_str s;

	for (uint64_t i = 0; i < shown; i++) {
		greta_buf_adds(out, i ? ", " : "");
		if (kv->item_type != GGUF_STR) {
			add_number(out, kv, i);
			continue;
		}
		gguf_next_str(kv, &at, &s);
		greta_buf_adds(out, kv->type == GGUF_ARRAY ? "\"" : "");
		add_short_text(out, s);
		greta_buf_adds(out, kv->type == GGUF_ARRAY ? "\"" : "");
	}
	if (shown < kv->n)
		greta_buf_adds(out, ", ...");
}

static uint64_t n_values(const struct gguf_tensor *t)
{
	return t->ne[0] * gguf_tensor_rows(t);
}

/* --- tables --- */

static uint32_t shape_key(const struct gguf *g, const char *arch, const char *name)
{
	cleanup_free char *key = greta_format("%s.%s", arch, name);
	struct greta_err ignored; /* a table of what is there: what is not is shown as 0 */
	uint32_t v = 0;

	gguf_get_u32_or(g, key, 0, &v, &ignored);
	return v;
}

static void add_model(const struct gguf *g, struct greta_buf *out)
{
	struct gguf_str s = {"", 0};
	struct greta_err ignored;
	cleanup_free char *arch = NULL;
	cleanup_buf struct greta_buf shown = {0};

	if (gguf_get_str(g, "general.architecture", &s, &ignored)) {
		greta_buf_adds(out, "Model       unknown: no general.architecture\n");
		return;
	}
	arch = greta_strndup(s.s, s.n);
	gguf_cmd_text(&shown, s.s, s.n);
	uint32_t heads = shape_key(g, arch, "attention.head_count"), kv = shape_key(g, arch, "attention.head_count_kv");
	greta_buf_addf(out,
		       "Model       %s: %" PRIu32 " layers, embedding %" PRIu32 ", %" PRIu32 " heads (%" PRIu32
		       " for keys and values), feed-forward %" PRIu32 "\n",
		       greta_buf_str(&shown), shape_key(g, arch, "block_count"), shape_key(g, arch, "embedding_length"),
		       heads, kv ? kv : heads, shape_key(g, arch, "feed_forward_length"));
	greta_buf_addf(out, "Context     %" PRIu32 " tokens\n", shape_key(g, arch, "context_length"));
}

static void add_types(const struct gguf *g, struct greta_buf *out)
{
	const char *lead = "Types      ";
	char size[32];

	for (uint32_t id = 0; id < QUANT_ID_LIMIT; id++) {
		size_t n = 0;
		uint64_t bytes = 0;
		for (size_t i = 0; i < gguf_n_tensors(g); i++)
			if (gguf_tensor_at(g, i)->traits->type == id) {
				n++;
				bytes += gguf_tensor_at(g, i)->bytes;
			}
		if (!n)
			continue;
		greta_buf_addf(out, "%s %s in %zu tensor%s, %s", lead, quant_traits(id)->name, n, n == 1 ? "" : "s",
			       greta_str_bytes(size, sizeof size, (double)bytes));
		lead = ";";
	}
	greta_buf_adds(out, *lead == ';' ? "\n" : "");
}

static void add_summary(const struct gguf *g, struct greta_buf *out)
{
	uint64_t parameters = 0, data = 0;
	char size[32], data_size[32];

	for (size_t i = 0; i < gguf_n_tensors(g); i++) {
		parameters += n_values(gguf_tensor_at(g, i));
		data += gguf_tensor_at(g, i)->bytes;
	}
	greta_buf_addf(out, "File        %s\n", gguf_path(g));
	greta_buf_addf(out, "Format      GGUF version %" PRIu32 ", %zu keys, %zu tensors, alignment %" PRIu32 "\n",
		       gguf_version(g), gguf_n_kv(g), gguf_n_tensors(g), gguf_alignment(g));
	greta_buf_addf(out, "Size        %s, of it %s tensor data\n",
		       greta_str_bytes(size, sizeof size, (double)gguf_file_bytes(g)),
		       greta_str_bytes(data_size, sizeof data_size, (double)data));
	add_model(g, out);
	greta_buf_addf(out, "Parameters  %.2f M\n", (double)parameters / 1e6);
	add_types(g, out);
}

static int key_width(const struct gguf *g)
{
	size_t width = 3;

	for (size_t i = 0; i < gguf_n_kv(g); i++) {
		size_t n = strlen(gguf_kv_at(g, i)->key);
		width = n > width && n <= 48 ? n : width;
	}
	return (int)width;
}

static void add_keys(const struct gguf *g, bool full, struct greta_buf *out)
{
	int width = key_width(g);

	greta_buf_addf(out, "\n%-*s  %-13s  %s\n", width, "KEY", "TYPE", "VALUE");
	for (size_t i = 0; i < gguf_n_kv(g); i++) {
		const struct gguf_kv *kv = gguf_kv_at(g, i);
		cleanup_buf struct greta_buf key = {0};
		char type[40];

		gguf_cmd_text(&key, kv->key, strlen(kv->key));
		snprintf(type, sizeof type, kv->type == GGUF_ARRAY ? "%s[%" PRIu64 "]" : "%s",
			 gguf_value_type_name(kv->item_type), kv->n);
		greta_buf_addf(out, "%-*s  %-13s  ", width, greta_buf_str(&key), type);
		add_value(out, kv, full);
		greta_buf_addc(out, '\n');
	}
}

static void add_tensors(const struct gguf *g, struct greta_buf *out)
{
	size_t width = 6;
	char size[32];

	if (!gguf_n_tensors(g))
		return;
	for (size_t i = 0; i < gguf_n_tensors(g); i++) {
		size_t n = strlen(gguf_tensor_at(g, i)->name);
		width = n > width ? n : width;
	}
	greta_buf_addf(out, "\n%-*s  %-7s  %-20s  %10s  %14s\n", (int)width, "TENSOR", "TYPE", "SHAPE", "SIZE",
		       "OFFSET");
	for (size_t i = 0; i < gguf_n_tensors(g); i++) {
		const struct gguf_tensor *t = gguf_tensor_at(g, i);
		cleanup_buf struct greta_buf shape = {0}, name = {0};

		gguf_cmd_shape(&shape, t);
		gguf_cmd_text(&name, t->name, strlen(t->name));
		greta_buf_addf(out, "%-*s  %-7s  %-20s  %10s  %14" PRIu64 "\n", (int)width, greta_buf_str(&name),
			       t->traits->name, greta_buf_str(&shape),
			       greta_str_bytes(size, sizeof size, (double)t->bytes), t->offset);
	}
}

/* --- JSON --- */

static void json_item(struct greta_jsonw *w, const char *name, const struct gguf_kv *kv, uint64_t i, uint64_t *at)
{
	cleanup_buf struct greta_buf number = {0};
	struct gguf_str s;

	if (kv->item_type == GGUF_STR) {
		gguf_next_str(kv, at, &s);
		greta_jsonw_strn(w, name, s.s, s.n);
	} else if (kv->item_type == GGUF_F64 || !isfinite(gguf_item_f64(kv, i))) {
		greta_jsonw_f64(w, name, gguf_item_f64(kv, i));
	} else {
		add_number(&number, kv, i);
		greta_jsonw_raw(w, name, greta_buf_str(&number));
	}
}

static void json_key(struct greta_jsonw *w, const struct gguf_kv *kv, bool full)
{
	uint64_t shown = full || kv->n < JSON_ITEMS ? kv->n : JSON_ITEMS, at = 0;

	greta_jsonw_object(w, NULL);
	greta_jsonw_str(w, "key", kv->key);
	greta_jsonw_str(w, "type", gguf_value_type_name(kv->type));
	greta_jsonw_i64(w, "offset", (int64_t)kv->offset);
	if (kv->type != GGUF_ARRAY) {
		json_item(w, "value", kv, 0, &at);
	} else {
		greta_jsonw_str(w, "item_type", gguf_value_type_name(kv->item_type));
		greta_jsonw_i64(w, "n", (int64_t)kv->n);
		greta_jsonw_bool(w, "cut", shown < kv->n);
		greta_jsonw_array(w, "value");
		for (uint64_t i = 0; i < shown; i++)
			json_item(w, NULL, kv, i, &at);
		greta_jsonw_end_array(w);
	}
	greta_jsonw_end_object(w);
}

static void json_tensor(struct greta_jsonw *w, const struct gguf_tensor *t)
{
	greta_jsonw_object(w, NULL);
	greta_jsonw_str(w, "name", t->name);
	greta_jsonw_str(w, "type", t->traits->name);
	greta_jsonw_array(w, "shape");
	for (int i = 0; i < t->n_dims; i++)
		greta_jsonw_i64(w, NULL, (int64_t)t->ne[i]);
	greta_jsonw_end_array(w);
	greta_jsonw_i64(w, "offset", (int64_t)t->offset);
	greta_jsonw_i64(w, "bytes", (int64_t)t->bytes);
	greta_jsonw_end_object(w);
}

static void add_json(const struct gguf *g, bool full, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);

	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "file", gguf_path(g));
	greta_jsonw_i64(&w, "version", gguf_version(g));
	greta_jsonw_i64(&w, "alignment", gguf_alignment(g));
	greta_jsonw_i64(&w, "file_bytes", (int64_t)gguf_file_bytes(g));
	greta_jsonw_i64(&w, "data_offset", (int64_t)gguf_data_offset(g));
	greta_jsonw_array(&w, "keys");
	for (size_t i = 0; i < gguf_n_kv(g); i++)
		json_key(&w, gguf_kv_at(g, i), full);
	greta_jsonw_end_array(&w);
	greta_jsonw_array(&w, "tensors");
	for (size_t i = 0; i < gguf_n_tensors(g); i++)
		json_tensor(&w, gguf_tensor_at(g, i));
	greta_jsonw_end_array(&w);
	greta_jsonw_end_object(&w);
	greta_buf_addc(out, '\n');
}

static int run(void *values, const struct greta_strs *operands, struct greta_buf *out, struct greta_err *e)
{
	const struct values *v = values;
	struct gguf *g = gguf_open(operands->items[0], e);

	if (!g)
		return -1;
	if (v->json) {
		add_json(g, v->full, out);
	} else {
		add_summary(g, out);
		add_keys(g, v->full, out);
		add_tensors(g, out);
	}
	gguf_close(g);
	return GGUF_EXIT_OK;
}

const struct gguf_cmd gguf_cmd_inspect = {
	.name = "inspect",
	.opts =
		{
			.program = "greta-gguf inspect",
			.operands = "FILE",
			.min_operands = 1,
			.max_operands = 1,
			.summary = "show a file's metadata and tensors",
			.details = "Examples:\n"
				   "  greta-gguf inspect model.gguf\n"
				   "  greta-gguf inspect --json model.gguf | jq '.keys[] | select(.key == "
				   "\"llama.context_length\")'\n",
			.opts = options,
		},
	.values_bytes = sizeof(struct values),
	.run = run,
};

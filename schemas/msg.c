#include "schemas/msg.h"
#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "schemas/shapes.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DETAIL_INLINE_MAX (32 * 1024) /* a longer detail travels as raw bytes */

/* ---- which members of struct greta_msg each type carries */

static const struct field no_fields[] = {{0}};

static const struct field hello_fields[] = {
	{F_I64(struct greta_msg, protocol_min), .required = true},
	{F_I64(struct greta_msg, protocol_max), .required = true},
	{F_STR(struct greta_msg, version)},
	{F_UUID(struct greta_msg, db)},
	{F_I64(struct greta_msg, fence)},
	{F_STR(struct greta_msg, peer)},
	{F_STR(struct greta_msg, node_id)},
	{F_STR(struct greta_msg, boot_id)},
	{0},
};

static const struct field start_fields[] = {
	{F_POINTER(struct greta_msg, spec, greta_spec, shape_spec), .required = true},
	{F_I64(struct greta_msg, credit_bytes)},
	{0},
};

static const struct field attach_fields[] = {
	{F_UUID(struct greta_msg, attempt), .required = true},
	{F_I64(struct greta_msg, seq)},
	{F_I64(struct greta_msg, credit_bytes)},
	{0},
};

static const struct field ack_fields[] = {
	{F_UUID(struct greta_msg, attempt), .required = true},
	{F_I64(struct greta_msg, seq), .required = true},
	{0},
};

static const struct field cancel_fields[] = {
	{F_UUID(struct greta_msg, attempt), .required = true},
	{F_CODE(struct greta_msg, code)},
	{F_STR(struct greta_msg, text)},
	{0},
};

static const struct field credit_fields[] = {
	{F_UUID(struct greta_msg, attempt)},
	{F_I64(struct greta_msg, credit_bytes), .required = true},
	{0},
};

static const struct field ping_fields[] = {
	{F_I64(struct greta_msg, stamp_ns), .required = true},
	{0},
};

static const struct field pong_fields[] = {
	{F_I64(struct greta_msg, stamp_ns), .required = true},
	{F_I64(struct greta_msg, boot_ns), .required = true},
	{F_I64(struct greta_msg, wall_ns), .required = true},
	{0},
};

static const struct field list_fields[] = {
	{F_UUID(struct greta_msg, db)},
	{0},
};

static const struct field attempts_fields[] = {
	{F_LIST(struct greta_msg, held, greta_held, shape_held)},
	{0},
};

static const struct field facts_fields[] = {
	{F_POINTER(struct greta_msg, facts, greta_facts, shape_facts), .required = true},
	{0},
};

static const struct field gc_fields[] = {
	{F_I64(struct greta_msg, keep_bytes)},
	{0},
};

static const struct field answer_fields[] = { /* done, refused */
	{F_CODE(struct greta_msg, code)},
	{F_STR(struct greta_msg, text)},
	{F_UUID(struct greta_msg, attempt)},
	{F_I64(struct greta_msg, fence)},
	{0},
};

static const struct field event_fields[] = {
	{F_POINTER(struct greta_msg, event, greta_event, shape_event), .required = true},
	{0},
};

static const struct field *const fields_of[GRETA_MSG_COUNT] = {
	[GRETA_MSG_NONE] = no_fields,
	[GRETA_MSG_HELLO] = hello_fields,
	[GRETA_MSG_START] = start_fields,
	[GRETA_MSG_ATTACH] = attach_fields,
	[GRETA_MSG_ACK] = ack_fields,
	[GRETA_MSG_CANCEL] = cancel_fields,
	[GRETA_MSG_CREDIT] = credit_fields,
	[GRETA_MSG_PING] = ping_fields,
	[GRETA_MSG_PONG] = pong_fields,
	[GRETA_MSG_LIST] = list_fields,
	[GRETA_MSG_ATTEMPTS] = attempts_fields,
	[GRETA_MSG_PROBE] = no_fields,
	[GRETA_MSG_FACTS] = facts_fields,
	[GRETA_MSG_GC] = gc_fields,
	[GRETA_MSG_DONE] = answer_fields,
	[GRETA_MSG_REFUSED] = answer_fields,
	[GRETA_MSG_EVENT] = event_fields,
};

/* All members that own memory, whatever the type. */
static const struct field owning_fields[] = {
	{F_STR(struct greta_msg, version)},
	{F_STR(struct greta_msg, peer)},
	{F_STR(struct greta_msg, node_id)},
	{F_STR(struct greta_msg, boot_id)},
	{F_STR(struct greta_msg, text)},
	{F_POINTER(struct greta_msg, spec, greta_spec, shape_spec)},
	{F_POINTER(struct greta_msg, facts, greta_facts, shape_facts)},
	{F_LIST(struct greta_msg, held, greta_held, shape_held)},
	{0},
};
static const struct shape shape_msg = {"message", sizeof(struct greta_msg), owning_fields, NULL};

/* ---- release */

void greta_msg_release(struct greta_msg *m)
{
	if (m->event)
		greta_event_release(m->event);
	free(m->event);
	fields_release(&shape_msg, m);
}

void greta_event_release(struct greta_event *ev)
{
	free(ev->bytes);
	fields_release(&shape_event, ev);
}

void greta_spec_release(struct greta_spec *s)
{
	fields_release(&shape_spec, s);
}

void greta_facts_release(struct greta_facts *f)
{
	fields_release(&shape_facts, f);
}

void greta_end_release(struct greta_end *end)
{
	fields_release(&shape_end, end);
}

/* ---- encode */

struct raw_parts { /* what follows the line */
	const char *detail, *bytes;
	size_t n_detail, n_bytes;
};

static struct raw_parts raw_parts_of(const struct greta_msg *m)
{
	struct raw_parts raw = {0};

	if (m->type != GRETA_MSG_EVENT || !m->event)
		return raw;
	if (m->event->detail && strlen(m->event->detail) > DETAIL_INLINE_MAX) {
		raw.detail = m->event->detail;
		raw.n_detail = strlen(raw.detail);
	}
	raw.bytes = m->event->bytes;
	raw.n_bytes = raw.bytes ? m->event->n_bytes : 0;
	return raw;
}

static void print_event(const struct greta_msg *m, const struct raw_parts *raw, struct greta_jsonw *w)
{
	static char nothing[] = "{}";
	struct greta_event ev = *m->event;

	if (raw->detail)
		ev.detail = NULL; /* travels behind the line */
	else if (!ev.detail)
		ev.detail = nothing;
	fields_print(&shape_event, &ev, w, "event");
}

static void print_line(const struct greta_msg *m, const struct raw_parts *raw, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);

	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "type", greta_msg_type_name(m->type));
	if (m->re)
		greta_jsonw_i64(&w, "re", m->re);
	if (m->type == GRETA_MSG_EVENT && m->event)
		print_event(m, raw, &w);
	else
		fields_print_members(fields_of[m->type], m, &w);
	if (raw->n_detail)
		greta_jsonw_i64(&w, "detail_bytes", (int64_t)raw->n_detail);
	if (raw->n_detail + raw->n_bytes)
		greta_jsonw_i64(&w, "bytes", (int64_t)(raw->n_detail + raw->n_bytes));
	greta_jsonw_end_object(&w);
	greta_buf_addc(out, '\n');
}

int greta_msg_encode(const struct greta_msg *m, struct greta_buf *out, struct greta_err *e)
{
	struct raw_parts raw = raw_parts_of(m);
	size_t begin = out->len;

	if (m->type <= GRETA_MSG_NONE || m->type >= GRETA_MSG_COUNT)
		return greta_err_set(e, GRETA_EINVAL, "a message without a type can't be sent");
	if (raw.n_detail + raw.n_bytes > GRETA_FRAME_BYTES_MAX)
		return greta_err_set(e, GRETA_EINVAL, "a message of %zu raw bytes; at most %d travel behind one",
				     raw.n_detail + raw.n_bytes, GRETA_FRAME_BYTES_MAX);
	print_line(m, &raw, out);
	if (out->len - begin > GRETA_FRAME_MAX) {
		size_t n = out->len - begin;

		out->len = begin;
		out->data[begin] = '\0';
		return greta_err_set(e, GRETA_EINVAL, "a \"%s\" message of %zu bytes; at most %d fit a frame",
				     greta_msg_type_name(m->type), n, GRETA_FRAME_MAX);
	}
	greta_buf_add(out, raw.detail, raw.n_detail);
	greta_buf_add(out, raw.bytes, raw.n_bytes);
	return 0;
}

/* ---- decode */

/* "behind" fields of a line: 0 where they are absent. */
static int read_behind(const struct greta_json_val *root, const char *name, size_t *out, struct greta_err *e)
{
	const struct greta_json_val *v = greta_json_get(root, name);
	int64_t n = 0;

	if (v && (greta_json_i64(v, &n) || n < 0 || n > GRETA_FRAME_BYTES_MAX))
		return greta_err_set(e, GRETA_EPROTO, "frame: \"%s\" is not a number from 0 to %d", name,
				     GRETA_FRAME_BYTES_MAX);
	*out = (size_t)n;
	return 0;
}

static int read_type(const struct greta_json_val *root, struct greta_msg *out, struct greta_err *e)
{
	const char *name;
	int type;

	if (greta_json_type(root) != GRETA_JSON_OBJECT || greta_json_str(greta_json_get(root, "type"), &name))
		return greta_err_set(e, GRETA_EPROTO, "frame: expected an object with a \"type\"");
	type = words_find(&words_msg, name);
	if (type <= GRETA_MSG_NONE)
		return greta_err_set(e, GRETA_EPROTO, "frame: unknown message type \"%.40s\"", name);
	out->type = (enum greta_msg_type)type;
	if (greta_json_get(root, "re") && greta_json_i64(greta_json_get(root, "re"), &out->re))
		return greta_err_set(e, GRETA_EPROTO, "frame: \"re\" is not a whole number");
	return 0;
}

/* A detail is one JSON object, and is not believed to be one because the frame says so. */
static int read_detail(const char *text, size_t n, struct greta_event *ev, struct greta_err *e)
{
	struct greta_json *j = greta_json_parse("detail", text, n, e);
	struct greta_buf compact = {0};

	if (!j)
		return -1;
	if (greta_json_type(greta_json_root(j)) != GRETA_JSON_OBJECT) {
		greta_json_destroy(j);
		return greta_err_set(e, GRETA_EPROTO, "detail: expected an object");
	}
	greta_json_print(greta_json_root(j), &compact);
	greta_json_destroy(j);
	free(ev->detail);
	ev->detail = greta_buf_steal(&compact);
	return 0;
}

static int read_raw(const char *raw, size_t n_detail, size_t n, struct greta_msg *out, struct greta_err *e)
{
	struct greta_event *ev = out->event;

	if (n_detail > n)
		return greta_err_set(e, GRETA_EPROTO, "frame: more \"detail_bytes\" than \"bytes\"");
	if (!ev) /* bytes behind a message that has none today: skipped, as an unknown field is */
		return 0;
	if (n_detail && read_detail(raw, n_detail, ev, e))
		return -1;
	if (!ev->detail)
		ev->detail = greta_strdup("{}");
	if (n > n_detail) {
		ev->n_bytes = n - n_detail;
		ev->bytes = greta_alloc(ev->n_bytes + 1);
		memcpy(ev->bytes, raw + n_detail, ev->n_bytes);
	}
	return 0;
}

struct frame {
	const char *line, *raw; /* raw: behind the line */
	size_t len;             /* of the line with its newline */
	size_t n;               /* all that there is, from the line on */
};

/* Bytes of the frame, 0 when some are missing, -1. */
static ssize_t decode_line(const struct frame *f, const struct greta_json *j, struct greta_msg *out,
			   struct greta_err *e)
{
	const struct greta_json_val *root = greta_json_root(j);
	size_t n_detail, n_raw;

	if (read_type(root, out, e) || read_behind(root, "bytes", &n_raw, e) ||
	    read_behind(root, "detail_bytes", &n_detail, e))
		return -1;
	if (f->n - f->len < n_raw)
		return 0;
	if (fields_parse_members(fields_of[out->type], j, root, out, e) || read_raw(f->raw, n_detail, n_raw, out, e))
		return greta_err_wrap(e, "\"%s\" message", greta_msg_type_name(out->type));
	return (ssize_t)(f->len + n_raw);
}

ssize_t greta_msg_decode(const char *in, size_t n, struct greta_msg *out, struct greta_err *e)
{
	const char *newline = n ? memchr(in, '\n', n < GRETA_FRAME_MAX ? n : GRETA_FRAME_MAX) : NULL;
	struct frame f = {.line = in, .n = n};
	struct greta_json *j;
	ssize_t used;

	memset(out, 0, sizeof(*out));
	if (!newline && n >= GRETA_FRAME_MAX)
		return greta_err_set(e, GRETA_EPROTO, "frame: a line of more than %d bytes", GRETA_FRAME_MAX);
	if (!newline)
		return 0;
	f.raw = newline + 1;
	f.len = (size_t)(f.raw - in);
	j = greta_json_parse("frame", in, f.len - 1, e);
	if (!j) {
		if (e)
			e->code = GRETA_EPROTO;
		return -1;
	}
	used = decode_line(&f, j, out, e);
	greta_json_destroy(j);
	if (used <= 0)
		greta_msg_release(out);
	if (used < 0 && e)
		e->code = GRETA_EPROTO;
	return used;
}

/* ---- the magic line */

/* What a login shell or a peer printed, short enough for a message and harmless to a terminal. */
static char *excerpt(const char *text, size_t n)
{
	char *copy = greta_strndup(text, n < 100 ? n : 100);

	for (char *c = copy; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' ';
	return copy;
}

/* The protocol in "... 1\r\n"; -1 when it is none. */
static int read_protocol(const char *number, const char *newline)
{
	size_t n = (size_t)(newline - number);
	cleanup_free char *digits = greta_strndup(number, n && number[n - 1] == '\r' ? n - 1 : n);
	int64_t value;

	return greta_str_i64(digits, &value) || value < 1 || value > 1000000 ? -1 : (int)value;
}

ssize_t greta_msg_find_magic(const char *in, size_t n, const char *nonce, int *protocol, struct greta_err *e)
{
	cleanup_free char *magic = greta_format(GRETA_MAGIC " %s ", nonce);
	const char *at = n ? memmem(in, n, magic, strlen(magic)) : NULL;
	const char *newline = at ? memchr(at, '\n', n - (size_t)(at - in)) : NULL;
	cleanup_free char *seen = NULL;
	int value;

	if (!newline) {
		if (n < GRETA_FRAME_MAX)
			return 0;
		seen = excerpt(in, n);
		return greta_err_set(e, GRETA_EPROTO, "the node printed %zu bytes and no agent came: %s", n, seen);
	}
	value = read_protocol(at + strlen(magic), newline);
	if (value < 0) {
		seen = excerpt(at, (size_t)(newline - at));
		return greta_err_set(e, GRETA_EPROTO, "the agent's first line names no protocol: %s", seen);
	}
	*protocol = value;
	return newline + 1 - in;
}

/* ---- the structs as texts */

static void print_text(const struct shape *shape, const void *obj, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);

	fields_print(shape, obj, &w, NULL);
}

static int parse_text(const struct shape *shape, const char *text, size_t n, void *obj, struct greta_err *e)
{
	struct greta_json *j = greta_json_parse(shape->name, text, n, e);
	int rc;

	memset(obj, 0, shape->size);
	if (!j)
		return -1;
	rc = fields_parse(shape, j, greta_json_root(j), obj, e);
	greta_json_destroy(j);
	return rc;
}

void greta_spec_print(const struct greta_spec *s, struct greta_buf *out)
{
	print_text(&shape_spec, s, out);
}

int greta_spec_parse(const char *text, size_t n, struct greta_spec *out, struct greta_err *e)
{
	return parse_text(&shape_spec, text, n, out, e);
}

void greta_end_print(const struct greta_end *end, struct greta_buf *out)
{
	print_text(&shape_end, end, out);
}

int greta_end_parse(const char *text, size_t n, struct greta_end *out, struct greta_err *e)
{
	return parse_text(&shape_end, text, n, out, e);
}

void greta_facts_print(const struct greta_facts *f, struct greta_buf *out)
{
	print_text(&shape_facts, f, out);
}

int greta_facts_parse(const char *text, size_t n, struct greta_facts *out, struct greta_err *e)
{
	return parse_text(&shape_facts, text, n, out, e);
}

void greta_event_print(const struct greta_event *ev, struct greta_buf *out)
{
	print_text(&shape_event, ev, out);
}

int greta_event_parse(const char *text, size_t n, struct greta_event *out, struct greta_err *e)
{
	return parse_text(&shape_event, text, n, out, e);
}

void greta_progress_print(const struct greta_progress *p, struct greta_buf *out)
{
	print_text(&shape_progress, p, out);
}

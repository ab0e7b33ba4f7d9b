#include "schemas/msg.h"
#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "schemas/shapes.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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
	{F_I64(struct greta_msg, seq)},
	{F_I64(struct greta_msg, credit_bytes)},
	{0},
};

static const struct field printed_start_fields[] = {
	{FIELD_OF(struct greta_msg, printed_spec, "spec", FIELD_RAW, const char *)},
	{F_I64(struct greta_msg, seq)},
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

static const struct field quarantine_fields[] = {
	{F_STRS(struct greta_msg, release)},
	{0},
};

static const struct field quarantined_fields[] = {
	{F_LIST(struct greta_msg, slots, greta_quarantine, shape_quarantine)},
	{0},
};

/* done, refused */
static const struct field answer_fields[] = {
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
	[GRETA_MSG_NONE] = no_fields,		[GRETA_MSG_HELLO] = hello_fields,
	[GRETA_MSG_START] = start_fields,	[GRETA_MSG_ATTACH] = attach_fields,
	[GRETA_MSG_ACK] = ack_fields,		[GRETA_MSG_CANCEL] = cancel_fields,
	[GRETA_MSG_CREDIT] = credit_fields,	[GRETA_MSG_PING] = ping_fields,
	[GRETA_MSG_PONG] = pong_fields,		[GRETA_MSG_LIST] = list_fields,
	[GRETA_MSG_ATTEMPTS] = attempts_fields, [GRETA_MSG_PROBE] = no_fields,
	[GRETA_MSG_FACTS] = facts_fields,	[GRETA_MSG_GC] = gc_fields,
	[GRETA_MSG_QUARANTINE] = quarantine_fields, [GRETA_MSG_QUARANTINED] = quarantined_fields,
	[GRETA_MSG_DONE] = answer_fields,	[GRETA_MSG_REFUSED] = answer_fields,
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
	{F_STRS(struct greta_msg, release)},
	{F_LIST(struct greta_msg, slots, greta_quarantine, shape_quarantine)},
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

void greta_quarantine_release(struct greta_quarantine *q)
{
	fields_release(&shape_quarantine, q);
}

void greta_end_release(struct greta_end *end)
{
	fields_release(&shape_end, end);
}

/* ---- encode */

/* Behind the line: the body (the type's members, as an object) if it was too long for the line, then the bytes. */
struct raw {
	size_t n_body, n_bytes;
};

static void print_members(const struct greta_msg *m, struct greta_jsonw *w)
{
	static char nothing[] = "{}";

	if (m->type == GRETA_MSG_EVENT && m->event && !m->event->detail) {
		struct greta_event ev = *m->event;

		ev.detail = nothing;
		fields_print(&shape_event, &ev, w, "event");
		return;
	}
	fields_print_members(m->printed_spec ? printed_start_fields : fields_of[m->type], m, w);
}

static void print_line(const struct greta_msg *m, const struct raw *raw, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);

	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "type", greta_msg_type_name(m->type));
	if (m->re)
		greta_jsonw_i64(&w, "re", m->re);
	if (raw->n_body)
		greta_jsonw_i64(&w, "body_bytes", (int64_t)raw->n_body);
	else
		print_members(m, &w);
	if (raw->n_body + raw->n_bytes)
		greta_jsonw_i64(&w, "bytes", (int64_t)(raw->n_body + raw->n_bytes));
	greta_jsonw_end_object(&w);
	greta_buf_addc(out, '\n');
}

static void print_body(const struct greta_msg *m, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);

	greta_jsonw_object(&w, NULL);
	print_members(m, &w);
	greta_jsonw_end_object(&w);
}

static void cut(struct greta_buf *b, size_t len)
{
	b->len = len;
	if (b->data)
		b->data[len] = '\0';
}

int greta_msg_encode(const struct greta_msg *m, struct greta_buf *out, struct greta_err *e)
{
	const struct greta_event *ev = m->type == GRETA_MSG_EVENT ? m->event : NULL;
	struct raw raw = {.n_bytes = ev && ev->bytes ? ev->n_bytes : 0};
	cleanup_buf struct greta_buf body = {0};
	size_t begin = out->len;

	if (m->type <= GRETA_MSG_NONE || m->type >= GRETA_MSG_COUNT)
		return greta_err_set(e, GRETA_EINVAL, "a message without a type can't be sent");
	print_line(m, &raw, out);
	if (out->len - begin > GRETA_FRAME_MAX) {
		cut(out, begin);
		print_body(m, &body);
		raw.n_body = body.len;
		print_line(m, &raw, out);
	}
	if (raw.n_body + raw.n_bytes > GRETA_FRAME_BYTES_MAX) {
		cut(out, begin);
		return greta_err_set(e, GRETA_EINVAL, "a \"%s\" message with %zu bytes behind its line; at most %d fit",
				     greta_msg_type_name(m->type), raw.n_body + raw.n_bytes, GRETA_FRAME_BYTES_MAX);
	}
	greta_buf_add(out, body.data, body.len);
	if (raw.n_bytes)
		greta_buf_add(out, ev->bytes, raw.n_bytes);
	return 0;
}

/* ---- decode */

/* How many bytes a line says that follow it; 0 where it says nothing. */
static int read_count(const struct greta_json_val *root, const char *name, size_t *out, struct greta_err *e)
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

static int read_body(const char *body, size_t n, struct greta_msg *out, struct greta_err *e)
{
	struct greta_json *j = greta_json_parse("body", body, n, e);
	int rc = -1;

	if (!j)
		return -1;
	if (greta_json_type(greta_json_root(j)) != GRETA_JSON_OBJECT)
		greta_err_set(e, GRETA_EPROTO, "body: expected an object");
	else
		rc = fields_parse_members(fields_of[out->type], j, greta_json_root(j), out, e);
	greta_json_destroy(j);
	return rc;
}

/* Bytes behind a message that has none today are skipped, as an unknown field is. */
static void take_bytes(struct greta_event *ev, const char *bytes, size_t n)
{
	if (!ev->detail)
		ev->detail = greta_strdup("{}");
	if (!n)
		return;
	ev->bytes = greta_alloc(n + 1);
	memcpy(ev->bytes, bytes, n);
	ev->n_bytes = n;
}

/* raw, n: what there is behind the line. Returns the raw bytes used, or -1; *whole: false when some are missing. */
static ssize_t decode_line(const struct greta_json *j, const char *raw, size_t n, struct greta_msg *out, bool *whole,
			   struct greta_err *e)
{
	const struct greta_json_val *root = greta_json_root(j);
	size_t n_body, n_raw;
	int rc;

	if (read_type(root, out, e) || read_count(root, "bytes", &n_raw, e) ||
	    read_count(root, "body_bytes", &n_body, e))
		return -1;
	if (n_body > n_raw)
		return greta_err_set(e, GRETA_EPROTO, "frame: more \"body_bytes\" than \"bytes\"");
	*whole = n >= n_raw;
	if (!*whole)
		return 0;
	rc = n_body ? read_body(raw, n_body, out, e) : fields_parse_members(fields_of[out->type], j, root, out, e);
	if (rc)
		return greta_err_wrap(e, "\"%s\" message", greta_msg_type_name(out->type));
	if (out->event)
		take_bytes(out->event, raw + n_body, n_raw - n_body);
	return (ssize_t)n_raw;
}

ssize_t greta_msg_decode(const char *in, size_t n, struct greta_msg *out, struct greta_err *e)
{
	const char *newline = n ? memchr(in, '\n', n < GRETA_FRAME_MAX ? n : GRETA_FRAME_MAX) : NULL;
	size_t line = newline ? (size_t)(newline - in) + 1 : 0;
	struct greta_json *j;
	ssize_t used = -1;
	bool whole = true;

	memset(out, 0, sizeof(*out));
	if (!newline && n >= GRETA_FRAME_MAX)
		return greta_err_set(e, GRETA_EPROTO, "frame: a line of more than %d bytes", GRETA_FRAME_MAX);
	if (!newline)
		return 0;
	j = greta_json_parse("frame", in, line - 1, e);
	if (j)
		used = decode_line(j, in + line, n - line, out, &whole, e);
	greta_json_destroy(j);
	if (used < 0 || !whole)
		greta_msg_release(out);
	if (used < 0 && e)
		e->code = GRETA_EPROTO;
	return used < 0 ? -1 : whole ? used + (ssize_t)line : 0;
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

const char *greta_spec_alike(const char *printed)
{
	static const char last[] = "\"try_no\":";
	const char *at = strstr(printed, last);

	return at ? at + strcspn(at, ",") + 1 : printed + 1;
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

void greta_progress_print(const struct greta_progress *p, struct greta_buf *out)
{
	print_text(&shape_progress, p, out);
}

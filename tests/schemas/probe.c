/* What the C side takes and says, for check_schemas.py to compare with the published JSON Schemas.
 *
 *   probe campaign    documents from stdin, each ended by a NUL byte: "ok", or "bad" and the complaints, a line each
 *   probe progress    lines from stdin: "ok" or "bad", a line each
 *   probe frames      one frame of each message, every field filled
 *   probe judge CONTEXT SAMPLES FIELD VALUE    an engine's output from stdin: the outcome, whether tokens are verified,
 *                     and why not ok */
#include "base/mem.h"
#include "schemas/campaign.h"
#include "schemas/msg.h"
#include "schemas/result.h"
#include "schemas/shapes.h"

#define UUID "0b9cbe04-6b2f-4b9e-8c63-0a4d8a0f0001"

static void probe_campaign(const char *text, size_t n)
{
	struct greta_campaign c;
	struct greta_problems problems = {0};
	int rc = greta_campaign_parse("t", text, n, &c, &problems);

	fputs(rc ? "bad" : "ok", stdout);
	for (size_t i = 0; rc && i < problems.n; i++)
		if (!problems.items[i].warning)
			printf("\t%s: %s", problems.items[i].path, problems.items[i].text);
	putchar('\n');
	greta_problems_release(&problems);
	greta_campaign_release(&c);
}

static void probe_progress(const char *text, size_t n)
{
	struct greta_progress p;

	puts(greta_progress_parse(text, n, &p, NULL) ? "bad" : "ok");
}

static void each_document(char end, void (*probe)(const char *, size_t))
{
	cleanup_buf struct greta_buf text = {0};
	int c;

	while ((c = getchar()) != EOF) {
		if (c != end) {
			greta_buf_addc(&text, (char)c);
			continue;
		}
		probe(greta_buf_str(&text), text.len);
		greta_buf_clear(&text);
	}
}

/* ---- structs with every field filled, by their tables */

static void fill(const struct field *fields, char *obj);

static void *filled(const struct shape *shape)
{
	char *obj = greta_alloc(shape->size);

	fill(shape->fields, obj);
	return obj;
}

static void fill_metrics(const struct field *f, char *obj)
{
	struct greta_sample s = {0};

	greta_sample_set_number(&s, "prefill_s", 1.5);
	greta_sample_set_text(&s, "attn_impl", "q_lds");
	memcpy(obj + f->offset, &s.metrics, sizeof(s.metrics));
	memcpy(obj + f->n_offset, &s.n, sizeof(s.n));
}

static void fill_field(const struct field *f, char *obj)
{
	char *text = f->kind == FIELD_RAW ? (char[]){"{\"a\":1}"} : (char[]){"text"};
	struct greta_strs strs = {0};
	char *part;

	switch (f->kind) {
	case FIELD_I64:
		memcpy(obj + f->offset, &(int64_t){1}, sizeof(int64_t));
		break;
	case FIELD_INT:
	case FIELD_ENUM:
	case FIELD_ENUM_OPEN:
	case FIELD_CODE:
		memcpy(obj + f->offset, &(int){1}, sizeof(int));
		break;
	case FIELD_F64:
		memcpy(obj + f->offset, &(double){0.5}, sizeof(double));
		break;
	case FIELD_BOOL:
		memcpy(obj + f->offset, &(bool){true}, sizeof(bool));
		break;
	case FIELD_STR:
	case FIELD_RAW:
		text = greta_strdup(text);
		memcpy(obj + f->offset, &text, sizeof(text));
		break;
	case FIELD_CHARS:
		greta_str_copy(obj + f->offset, f->size, "text");
		break;
	case FIELD_UUID:
		greta_str_copy(obj + f->offset, GRETA_UUID_LEN + 1, UUID);
		break;
	case FIELD_STRS:
		greta_strs_add(&strs, "text");
		memcpy(obj + f->offset, &strs, sizeof(strs));
		break;
	case FIELD_OBJECT:
		fill(f->shape->fields, obj + f->offset);
		break;
	case FIELD_BY_NAME:
		for (int i = 0; i < f->words->n; i++)
			fill(f->shape->fields, obj + f->offset + (size_t)i * f->shape->size);
		break;
	case FIELD_POINTER:
	case FIELD_LIST:
		part = filled(f->shape);
		memcpy(obj + f->offset, &part, sizeof(part));
		if (f->kind == FIELD_LIST)
			memcpy(obj + f->n_offset, &(size_t){1}, sizeof(size_t));
		break;
	case FIELD_METRICS:
		fill_metrics(f, obj);
		break;
	}
}

static void fill(const struct field *fields, char *obj)
{
	for (const struct field *f = fields; f->name; f++)
		fill_field(f, obj);
}

static void fill_msg(struct greta_msg *m)
{
	*m = (struct greta_msg){.re = 1,
				.protocol_min = 1,
				.protocol_max = 1,
				.fence = 1,
				.stamp_ns = 1,
				.boot_ns = 1,
				.wall_ns = 1,
				.seq = 1,
				.credit_bytes = 1,
				.keep_bytes = 1,
				.code = GRETA_EFAIL,
				.db = UUID,
				.attempt = UUID};
	m->version = greta_strdup("1.0");
	m->peer = greta_strdup("host:1");
	m->node_id = greta_strdup("node");
	m->boot_id = greta_strdup("boot");
	m->text = greta_strdup("text");
	m->spec = filled(&shape_spec);
	m->facts = filled(&shape_facts);
	m->event = filled(&shape_event);
	m->held = filled(&shape_held);
	m->n_held = 1;
	m->slots = filled(&shape_quarantine);
	m->n_slots = 1;
	greta_strs_add(&m->release, "text");
}

/* The outcome's detail, too, since its struct travels in there. */
static void put_end(struct greta_event *ev)
{
	struct greta_end *end = filled(&shape_end);
	struct greta_buf text = {0};

	greta_end_print(end, &text);
	free(ev->detail);
	ev->detail = greta_buf_steal(&text);
	ev->kind = GRETA_EVENT_OUTCOME;
	greta_end_release(end);
	free(end);
}

static int print_frames(void)
{
	cleanup_buf struct greta_buf out = {0};
	struct greta_err e = {0};

	for (int type = GRETA_MSG_NONE + 1; type < GRETA_MSG_COUNT; type++) {
		struct greta_msg m;

		fill_msg(&m);
		put_end(m.event);
		m.type = (enum greta_msg_type)type;
		if (greta_msg_encode(&m, &out, &e)) {
			fprintf(stderr, "%s\n", e.text);
			return 1;
		}
		greta_msg_release(&m);
	}
	fwrite(out.data, 1, out.len, stdout);
	return 0;
}

static void probe_judge(char **args)
{
	struct greta_expect expect = {args[2], args[3]};
	struct greta_contract c = {.expect = &expect, .n_expect = 1};
	struct greta_result_reader *r = greta_result_reader_create(GRETA_ADAPTER_PERF_TIMING);
	cleanup_buf struct greta_buf why = {0};
	struct greta_samples samples;
	bool contradicts;
	int verified;
	char bytes[4096];

	for (size_t n; (n = fread(bytes, 1, sizeof(bytes), stdin));)
		greta_result_reader_feed(r, bytes, n);
	greta_result_reader_finish(r, &samples, &why, &contradicts);
	greta_result_reader_destroy(r);
	if (greta_str_i64(args[0], &c.context) || greta_str_i64(args[1], &c.samples) || contradicts) {
		printf("contradicts: %s\n", greta_buf_str(&why));
	} else {
		const char *outcome = greta_outcome_name(greta_result_judge(&samples, &c, &verified, &why));

		printf("%s %d %s\n", outcome, verified, greta_buf_str(&why));
	}
	greta_samples_release(&samples);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (greta_str_eq(what, "campaign"))
		each_document('\0', probe_campaign);
	else if (greta_str_eq(what, "progress"))
		each_document('\n', probe_progress);
	else if (greta_str_eq(what, "frames"))
		return print_frames();
	else if (greta_str_eq(what, "judge") && argc == 6)
		probe_judge(argv + 2);
	else
		return 2;
	return 0;
}

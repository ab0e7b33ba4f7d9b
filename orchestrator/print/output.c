#include "orchestrator/print/output.h"
#include <stdarg.h>
#include <stdio.h>

struct output output_of(const struct cmd_ctx *ctx, const struct output_options *options)
{
	struct output o = {.term = term_of(1, ctx->color)};
	if (ctx->json)
		o.form = OUTPUT_JSON;
	else if (options && options->csv)
		o.form = OUTPUT_CSV;
	else if (options && options->markdown)
		o.form = OUTPUT_MARKDOWN;
	return o;
}

void output_table(const struct output *o, const struct table *t)
{
	cleanup_buf struct greta_buf out = {0};
	struct greta_jsonw w = greta_jsonw(&out);
	switch (o->form) {
	case OUTPUT_JSON:
		table_write_json(t, &w, NULL);
		greta_buf_addc(&out, '\n');
		break;
	case OUTPUT_CSV:
		table_print_csv(t, &out);
		break;
	case OUTPUT_MARKDOWN:
		table_print_markdown(t, &out);
		break;
	case OUTPUT_TEXT:
		table_print(t, &o->term, &out);
	}
	fwrite(greta_buf_str(&out), 1, out.len, stdout);
}

void output_say(const struct output *o, const char *fmt, ...)
{
	if (o->form != OUTPUT_TEXT)
		return;
	va_list ap;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
}

/* output: one choice of form for every command that prints rows: a table for people, --json, --csv, --markdown. */
#ifndef ORCHESTRATOR_PRINT_OUTPUT_H
#define ORCHESTRATOR_PRINT_OUTPUT_H

#include "orchestrator/cmd.h"
#include "orchestrator/print/table.h"

struct output_options {
	bool csv, markdown;
};

#define OUTPUT_OPTIONS(type, member)                                                                           \
	{"csv", 0, GRETA_OPT_FLAG, offsetof(type, member.csv), NULL, "print CSV with a header line"},          \
	{"markdown", 0, GRETA_OPT_FLAG, offsetof(type, member.markdown), NULL, "print a Markdown table"}

enum output_form { OUTPUT_TEXT, OUTPUT_JSON, OUTPUT_CSV, OUTPUT_MARKDOWN };

struct output {
	enum output_form form;
	struct term term;
};

struct output output_of(const struct cmd_ctx *ctx, const struct output_options *options); /* options NULL: none */

/* The rows to standard output; JSON as an array of objects. */
void output_table(const struct output *o, const struct table *t);
/* A sentence for people; nothing in the other forms, which stay data. */
void output_say(const struct output *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif

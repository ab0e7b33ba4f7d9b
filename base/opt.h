/* opt: command lines from tables. One table of options gives parsing, errors with a suggestion, --help, man pages and
 * shell completion. Every option is long; some have a letter. */
#ifndef BASE_OPT_H
#define BASE_OPT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum greta_opt_type { GRETA_OPT_FLAG, GRETA_OPT_STR, GRETA_OPT_STRS, GRETA_OPT_I64, GRETA_OPT_F64, GRETA_OPT_SECONDS };

struct greta_opt {
	const char *name;         /* "max-tokens"; a flag is also taken as --no-NAME */
	char letter;              /* 0: none */
	enum greta_opt_type type;
	size_t offset;            /* of the bool, const char *, struct greta_strs, int64_t or double in the values struct */
	const char *arg;          /* "N", "FILE"; NULL for a flag. "a|b|c": one of these, checked */
	const char *help;         /* one line */
};

struct greta_opts {
	const char *program;      /* "greta-orch submit" */
	const char *operands;     /* "FILE", "[NAME...]", "" */
	int min_operands, max_operands; /* max -1: any number */
	const char *summary;      /* one line */
	const char *details;      /* paragraphs below the options; NULL: none. Examples belong here */
	const struct greta_opt *opts; /* ends with a NULL name */
};

/* Parses argv[1..] into values (strings are borrowed from argv). Returns 0, or 1 when --help was asked (nothing is
 * printed), or -1 with EINVAL naming the option and the way out. `--` ends options and is kept out of operands. With
 * stop_at_operand, parsing ends at the first operand, which stays with all that follow (subcommands, `run -- CMD`). */
int greta_opt_parse(const struct greta_opts *o, int argc, char **argv, void *values, struct greta_strs *operands,
		    bool stop_at_operand, struct greta_err *e);
void greta_opt_help(const struct greta_opts *o, struct greta_buf *out);

#endif

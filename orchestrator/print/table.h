/* table: rows once, printed as a table for people, Markdown, CSV or JSON.
 *
 * A cell is text, a number or nothing. A column says how people read its numbers; CSV and JSON get them in full. */
#ifndef ORCHESTRATOR_PRINT_TABLE_H
#define ORCHESTRATOR_PRINT_TABLE_H

#include "base/buf.h"
#include "base/jsonw.h"
#include "orchestrator/print/term.h"
#include <stdbool.h>
#include <stdint.h>

enum table_format {
	TABLE_TEXT,
	TABLE_GENERAL,  /* whatever it is: text to the left, numbers as they are */
	TABLE_INT,      /* 4096 */
	TABLE_FIXED,    /* digits after the point */
	TABLE_SIGNIF,   /* significant digits: 22.77, 0.02277 */
	TABLE_RATIO,    /* 5.0x */
	TABLE_BYTES,    /* 13.5 GB */
	TABLE_SECONDS,  /* 22.8 s, 1 h 04 min */
};

struct table_column {
	const char *key;    /* CSV header and JSON member: "prefill_s" */
	const char *title;  /* "prefill s" */
	enum table_format format;
	int digits;
};

struct table;

struct table *table_create(const struct table_column *columns, size_t n_columns); /* columns: borrowed, static */
void table_destroy(struct table *t);
size_t table_rows(const struct table *t);

void table_row(struct table *t);                       /* begins a row; its cells follow in column order */
void table_str(struct table *t, const char *text);     /* NULL: nothing */
void table_num(struct table *t, double value);         /* NAN: nothing */
void table_int(struct table *t, int64_t value);
void table_none(struct table *t);
void table_style(struct table *t, enum term_style style); /* of the last cell, on a terminal with colours */
/* What people read in place of the last cell's value; CSV and JSON keep the value. */
void table_note(struct table *t, const char *text);

void table_print(const struct table *t, const struct term *term, struct greta_buf *out);
void table_print_record(const struct table *t, struct greta_buf *out); /* the first row as "title  value" lines */
void table_print_markdown(const struct table *t, struct greta_buf *out);
void table_add_csv(struct greta_buf *out, const char *text);               /* one field, in quotes where it needs them */
void table_print_csv(const struct table *t, struct greta_buf *out);     /* RFC 4180, with a header line */
void table_write_json(const struct table *t, struct greta_jsonw *w, const char *key); /* an array of objects */
/* What a page needs to show them: an array of {"key","title","number","digits","format"}. */
void table_write_json_columns(const struct table *t, struct greta_jsonw *w, const char *key);

#endif

/* llama_sql: what `llama-bench -o sql` prints, as the objects that its -o json has.
 *
 * One CREATE TABLE a process, then an INSERT a test, each value in single quotes whatever its column's type, and quotes inside
 * of it as they are: so a value ends at a quote with a comma or a bracket behind it. The repetitions are not in it, only
 * their mean, which becomes the one sample of the test. */
#ifndef ORCHESTRATOR_IMPORT_LLAMA_SQL_H
#define ORCHESTRATOR_IMPORT_LLAMA_SQL_H

#include "base/buf.h"
#include "base/err.h"
#include "schemas/json.h"
#include <stdbool.h>

bool llama_sql_is(const char *text); /* it begins so */

/* Calls take for each test, until one is refused. EINVAL names the line, and `path` before it. */
typedef int llama_sql_fn(void *arg, const struct greta_json_val *test, struct greta_err *e);
int llama_sql_read(const struct greta_buf *text, const char *path, llama_sql_fn *take, void *arg, struct greta_err *e);

#endif

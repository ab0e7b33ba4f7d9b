/* import_bench: other engines' results from a file, as a campaign of kind "import": what llama-bench prints with -o json,
 * -o jsonl or -o sql, or generic JSON lines.
 *
 * A llama-bench test is one process, so it becomes one attempt with its repetitions as samples; the variant is its model
 * type and backends. Tests that generate tokens or begin behind a filled cache are left out, which a note says. A generic
 * line is one run: {"variant":"x","context":4096,"prefill_s":1.2}, with
 * "prompt_tokens" and any other number or text that is known; "env":{"NAME":"VALUE"} becomes its environment, and a run
 * without times says how it ended: "outcome":"hung". Importing again adds nothing twice. */
#ifndef ORCHESTRATOR_IMPORT_IMPORT_BENCH_H
#define ORCHESTRATOR_IMPORT_IMPORT_BENCH_H

#include "orchestrator/import/import.h"

/* r->dir is the file. EINVAL names the line of what is neither; then nothing is imported. The first of r->variants, if
 * there is one, names all of them. */
int import_bench(struct greta_db *db, const struct import_request *r, struct import_summary *out, struct greta_err *e);

#endif

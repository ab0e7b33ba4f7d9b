/* shapes: the tables of the structs that travel. Private to schemas/. */
#ifndef SCHEMAS_SHAPES_H
#define SCHEMAS_SHAPES_H

#include "schemas/fields.h"

extern const struct shape shape_progress, shape_spec, shape_facts, shape_end, shape_event, shape_held,
	shape_quarantine;

#endif

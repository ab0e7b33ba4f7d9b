#include "orchestrator/analysis/reference.h"
#include "base/mem.h"
#include "db/campaigns.h"
#include "schemas/campaign.h"
#include <string.h>

int reference_of_campaign(struct greta_db *db, int64_t campaign_id, char **name, struct greta_err *e)
{
	struct greta_campaign_row row = {0};
	struct greta_campaign c = {0};
	struct greta_problems problems = {0};
	*name = NULL;
	if (greta_campaigns_get(db, campaign_id, &row, e))
		return -1;
	if (row.kind != GRETA_CAMPAIGN_IMPORT &&
	    greta_campaign_parse(row.name, row.text, strlen(row.text), &c, &problems) == 0)
		*name = greta_strdup(c.reference);
	greta_campaign_release(&c);
	greta_problems_release(&problems);
	greta_campaign_row_release(&row);
	return 0;
}

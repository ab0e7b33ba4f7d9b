#include "orchestrator/analysis/hang_rate.h"

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_sf_gamma.h>
#include <math.h>

#define MISS (1 - HANG_RATE_LEVEL)

static double lower(struct hang_rate r, double miss)
{
	return r.hung > 0 ? gsl_cdf_beta_Pinv(miss, (double)r.hung, (double)(r.runs - r.hung) + 1) : 0;
}

static double upper(struct hang_rate r, double miss)
{
	return r.hung < r.runs ? gsl_cdf_beta_Qinv(miss, (double)r.hung + 1, (double)(r.runs - r.hung)) : 1;
}

struct hang_interval hang_rate_interval(struct hang_rate r)
{
	return (struct hang_interval){lower(r, MISS / 2), upper(r, MISS / 2)};
}

double hang_rate_bound(struct hang_rate r)
{
	return upper(r, MISS);
}

/* ---- at any time */

/* Logarithms of likelihoods. */
static double of_mixture(struct hang_rate r)
{
	return gsl_sf_lnbeta((double)r.hung + 0.5, (double)(r.runs - r.hung) + 0.5) - gsl_sf_lnbeta(0.5, 0.5);
}

static double of_rate(struct hang_rate r, double p)
{
	double hung = (double)r.hung, quiet = (double)(r.runs - r.hung);

	return (hung > 0 ? hung * log(p) : 0) + (quiet > 0 ? quiet * log1p(-p) : 0);
}

/* Where the mixture gets too far ahead, between a rate inside and one outside. */
static double border(struct hang_rate r, double inside, double outside)
{
	double least = of_mixture(r) + log(MISS);

	for (int i = 0; i < 60; i++) {
		double p = (inside + outside) / 2;

		if (of_rate(r, p) > least)
			inside = p;
		else
			outside = p;
	}
	return outside;
}

struct hang_interval hang_rate_any_time(struct hang_rate r)
{
	double seen = r.runs > 0 ? (double)r.hung / (double)r.runs : 0.5;

	return (struct hang_interval){r.hung > 0 ? border(r, seen, 0) : 0, r.hung < r.runs ? border(r, seen, 1) : 1};
}

int64_t hang_rate_runs(double rate, double miss)
{
	return rate < 1 ? (int64_t)ceil(log(miss) / log1p(-rate)) : 1;
}

void hang_rate_words(struct hang_rate r, struct greta_buf *out)
{
	struct hang_interval i = hang_rate_interval(r);

	if (r.runs == 0) {
		greta_buf_adds(out, "no run that tells");
		return;
	}
	greta_buf_addf(out, "%lld of %lld hung: ", (long long)r.hung, (long long)r.runs);
	if (r.hung == 0)
		greta_buf_addf(out, "hang rate under %.1f %% (one-sided 95 %% bound)", 100 * hang_rate_bound(r));
	else
		greta_buf_addf(out, "%.1f %% (95 %% interval %.1f to %.1f %%)", 100 * (double)r.hung / (double)r.runs,
			       100 * i.low, 100 * i.high);
}

-- Version 8: what history asks of a run, side by side.
--
-- compare and regress read some ten thousand runs of earlier campaigns, a few columns of each. In the rows of `attempt` those
-- lie hundreds of bytes apart, and each page that is touched costs more than what is read from it.
CREATE INDEX attempt_result ON attempt(id, prefill_s, environment_id, build_id, model_id, alias_id, node_id, ended_ns, tokens_verified,
                                       device_type, dtype, attn_impl, excluded) WHERE prefill_s IS NOT NULL;

-- Which campaigns came before: without the texts of all of them, which lie in front of the columns that are asked for.
CREATE INDEX campaign_age ON campaign(submitted_ns, id, mode, kind);

-- A row is a state that documents of a partition have, and why they were not to be sent or were rejected.
SELECT
    _entity,
    _day,
    state,
    CASE WHEN state IS NULL OR state IN ('planned', 'sending') THEN aside END AS aside,
    CASE WHEN state = 'rejected' THEN coalesce(reason, 'no reason given') END AS reason,
    count(*) AS documents,
    sum(amount) AS amount,
    coalesce(sum(amount_in_ledger), 0) AS amount_in_ledger
FROM memory.main.outcomes
GROUP BY ALL
ORDER BY ALL

-- A row is a document that a person should see: of each kind in each partition as many as can be shown.
SELECT
    _entity,
    _day,
    source_id,
    amount,
    file,
    line,
    state,
    aside,
    position,
    reason,
    what_to_do,
    field,
    error_id,
    support_id
FROM memory.main.outcomes
WHERE coalesce(state, 'planned') <> 'posted'
    AND (aside IS NULL OR state IN ('rejected', 'uncertain'))
QUALIFY row_number() OVER (PARTITION BY _entity, _day, state ORDER BY source_id) <= $shown
ORDER BY _entity, _day, source_id

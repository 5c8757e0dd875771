-- A row is a row of Intacct's pages, typed, with the partition it belongs to.
-- `_flaw` names the column whose value would not arrive as it is, and shows the value; null is good.
WITH wire AS (
    SELECT {{typed}},
        {{flaw}} AS _flaw
    FROM {{pages}}
)
SELECT
    {{columns}},
    {{entity}} AS _entity,
    -- what has no change time, or is older than the first day, belongs to the first day
    -- where the walk took older rows; elsewhere it is outside, and the load is refused
    {{day}} AS _day,
    {{run_id}} AS _run_id,
    CAST({{extracted_at}} AS TIMESTAMP WITH TIME ZONE) AS _extracted_at,
    _flaw
FROM wire

-- A row is a row of Intacct's pages, typed, as a version: who read it, when, and of which day its
-- change is. A value that would not arrive as it is stops the statement, as does a row without a key
-- or of another entity.
INSERT INTO {{raw}} BY NAME
WITH wire AS (
    SELECT {{typed}},
        {{file}} AS _file
    FROM {{pages}}
)
SELECT
    {{columns}},
    CASE WHEN {{strange}} THEN error('strange row') ELSE {{entity}} END AS _entity,
    -- what has no change time, or is older than the first day, belongs to the first day
    -- where the load takes older rows; elsewhere it is outside, and the load is refused
    {{day}} AS _day,
    {{run_id}} AS _run_id,
    CAST({{extracted_at}} AS TIMESTAMP WITH TIME ZONE) AS _extracted_at,
    {{read_at}} AS _read_at,
    {{load}} AS _load_id
FROM wire
{{answers}}

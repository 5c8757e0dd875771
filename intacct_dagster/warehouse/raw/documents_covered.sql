-- A row is a document whose lines the load read, all of one version of it: also one without lines.
INSERT INTO {{documents}} BY NAME
WITH lines AS (
    SELECT {{unit}} AS key, count(*) AS lines
    FROM {{raw}}
    WHERE _load_id = {{load}}
    GROUP BY {{unit}}
)

SELECT
    covered.key,
    CAST(covered.changed AS TIMESTAMP WITH TIME ZONE) AS changed,
    coalesce(lines.lines, 0) AS lines,
    {{entity}} AS _entity,
    CAST({{read_at}} AS TIMESTAMP WITH TIME ZONE) AS _read_at,
    CAST({{load}} AS BIGINT) AS _load_id
FROM (SELECT DISTINCT key, changed FROM {{covered}}) AS covered
LEFT JOIN lines ON lines.key = covered.key

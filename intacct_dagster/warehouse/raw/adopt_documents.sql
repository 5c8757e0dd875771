-- A row is a version of a document of which an older version of this package had lines. A document
-- that changed on several days has some on each of them.
INSERT INTO {{documents}} BY NAME
SELECT
    {{unit}} AS key,
    {{changed}} AS changed,
    count(*) AS lines,
    _entity,
    max(_read_at) AS _read_at,
    min(_load_id) AS _load_id
FROM {{raw}}
GROUP BY {{unit}}, {{changed}}, _entity

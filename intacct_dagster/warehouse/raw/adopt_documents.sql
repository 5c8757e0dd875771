-- A row is a document of which an older version of this package had lines, all of one version of it.
INSERT INTO {{documents}} BY NAME
SELECT
    {{unit}} AS key,
    max({{changed}}) AS changed,
    count(*) AS lines,
    _entity,
    max(_read_at) AS _read_at,
    min(_load_id) AS _load_id
FROM {{raw}}
GROUP BY {{unit}}, _entity

-- A row is what an older version of this package left of an object of an entity, as one load.
INSERT INTO warehouse.meta.loads BY NAME
SELECT
    min(_load_id) AS load_id,
    CAST($object AS VARCHAR) AS object,
    _entity AS entity,
    'adopted' AS kind,
    max(_run_id) AS run_id,
    max(_read_at) AS extracted_at,
    min(_read_at) AS read_from,
    max(_read_at) AS read_to,
    min(_day) AS first_day,
    max(_day) AS last_day,
    count(*) AS rows,
    0 AS went_back
FROM {{raw}}
GROUP BY _entity

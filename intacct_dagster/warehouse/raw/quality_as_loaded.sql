-- A row is a partition of which the raw table has other rows than the load that filled it proved, or
-- rows of another entity.
WITH stored AS (
    SELECT
        _entity AS entity,
        _day AS day,
        count(*) AS has,
        count(*) FILTER (WHERE {{foreign}}) AS of_others
    FROM raw.{{table}}
    GROUP BY _entity, _day
)
SELECT
    coalesce(stored.entity, loads.entity) AS entity,
    coalesce(stored.day, loads.day) AS day,
    coalesce(stored.has, 0) AS has,
    loads.rows AS proved,
    coalesce(stored.of_others, 0) AS of_others
FROM stored
FULL JOIN (
    SELECT entity, day, rows
    FROM meta.raw_loads
    WHERE object = $object
) AS loads ON loads.entity = stored.entity AND loads.day = stored.day
WHERE coalesce(stored.has, 0) IS DISTINCT FROM loads.rows OR stored.of_others > 0
ORDER BY day, entity

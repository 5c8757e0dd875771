-- A row is a load of which the raw table has other rows than it added and proved, or rows of another
-- entity; or rows of no load.
WITH stored AS (
    SELECT
        _load_id AS load_id,
        min(_entity) AS entity,
        min(_day) AS day,
        count(*) AS has,
        count(*) FILTER (WHERE {{foreign}}) AS of_others
    FROM raw.{{table}}
    GROUP BY _load_id
)

SELECT
    coalesce(loads.entity, stored.entity) AS entity,
    coalesce(loads.first_day, stored.day, CAST(loads.extracted_at AS DATE)) AS day,
    coalesce(stored.has, 0) AS has,
    loads.rows AS proved,
    coalesce(stored.of_others, 0) AS of_others
FROM stored
FULL JOIN (
    SELECT *
    FROM meta.loads
    WHERE object = $object AND kind NOT IN ('delete_scan', 'adopted')
) AS loads ON loads.load_id = stored.load_id
WHERE
    -- what an older version of this package left was not counted by load
    (coalesce(stored.load_id, 1) > 0 AND coalesce(stored.has, 0) IS DISTINCT FROM loads.rows)
    OR stored.of_others > 0
ORDER BY day, entity

-- A row is an entity of which not every record was loaded, up to the last day that is reconciled or
-- was loaded: there is no load that took all older rows, or a day after that load is missing.
WITH needed AS (
    SELECT entity, max(day) AS last_day
    FROM (
        SELECT entity, day FROM memory.main.partitions
        UNION ALL
        SELECT entity, day
        FROM warehouse.meta.raw_loads
        SEMI JOIN memory.main.partitions USING (entity)
        WHERE object = $object
    )
    GROUP BY entity
),

begun AS (
    SELECT entity, max(day) AS first_day
    FROM warehouse.meta.raw_loads
    WHERE object = $object AND takes_older
    GROUP BY entity
),

wanted AS (
    SELECT
        needed.entity,
        CAST(unnest(generate_series(begun.first_day, needed.last_day, INTERVAL 1 DAY)) AS DATE) AS day
    FROM needed
    INNER JOIN begun USING (entity)
),

absent AS (
    SELECT wanted.entity, min(wanted.day) AS day, count(*) AS days
    FROM wanted
    ANTI JOIN (SELECT entity, day FROM warehouse.meta.raw_loads WHERE object = $object)
        USING (entity, day)
    GROUP BY wanted.entity
)

SELECT
    needed.entity,
    begun.first_day,
    absent.day,
    absent.days
FROM needed
LEFT JOIN begun USING (entity)
LEFT JOIN absent USING (entity)
WHERE begun.first_day IS NULL OR absent.day IS NOT NULL
ORDER BY needed.entity

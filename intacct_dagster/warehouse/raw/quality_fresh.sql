-- A row is an object of an entity that should be read: the last day that it was, to its end, and the
-- days before that were not.
SELECT
    wanted.entity,
    wanted.object,
    max(loads.day) AS last_day,
    max(loads.extracted_at) AS read_at,
    CAST($until AS DATE) - coalesce(max(loads.day), CAST($first AS DATE) - 1) AS behind,
    coalesce(max(loads.day), CAST($first AS DATE) - 1) - CAST($first AS DATE) + 1
        - count(loads.day) AS gaps
FROM (
    SELECT entity, object
    FROM (SELECT unnest($entities::VARCHAR[]) AS entity)
    CROSS JOIN (SELECT unnest($objects::VARCHAR[]) AS object)
) AS wanted
LEFT JOIN meta.raw_loads AS loads
    ON loads.entity = wanted.entity
    AND loads.object = wanted.object
    AND loads.day BETWEEN CAST($first AS DATE) AND CAST($until AS DATE)
    AND loads.read_until IS NULL
GROUP BY wanted.entity, wanted.object
ORDER BY behind DESC, gaps DESC, wanted.entity, wanted.object

-- A row is a day of an object and entity that was not read, or was read before it was over.
SELECT wanted.object, wanted.entity, wanted.day
FROM (
    SELECT objects.object, entities.entity, days.day
    FROM (SELECT unnest($objects::VARCHAR[]) AS object) AS objects
    CROSS JOIN (SELECT unnest($entities::VARCHAR[]) AS entity) AS entities
    CROSS JOIN (SELECT unnest($days::DATE[]) AS day) AS days
) AS wanted
LEFT JOIN {{loads}} AS loads
    ON loads.object = wanted.object AND loads.entity = wanted.entity AND loads.day = wanted.day
WHERE loads.day IS NULL OR loads.read_until IS NOT NULL
ORDER BY ALL

-- A row is one of the last seven days of an entity that has far more or far fewer rows than that day
-- of the week mostly has: five times, of at least twenty.
WITH days AS (
    SELECT
        entity,
        day,
        rows,
        max(day) OVER (PARTITION BY entity) - day < 7 AS judged,
        median(rows) OVER earlier AS usual,
        count(*) OVER earlier AS weeks
    FROM meta.raw_loads
    WHERE object = $object AND NOT takes_older AND NOT coalesce(snapshot, false) AND read_until IS NULL
    WINDOW earlier AS (
        PARTITION BY entity, isodow(day)
        ORDER BY day
        ROWS BETWEEN 8 PRECEDING AND 1 PRECEDING
    )
)
SELECT entity, day, rows, CAST(usual AS BIGINT) AS usual, weeks
FROM days
WHERE
    judged
    AND weeks >= 4
    AND greatest(rows, usual) >= 20
    AND (rows > 5 * usual OR rows * 5 < usual)
ORDER BY day, entity

-- A row is a count: the units of a load that an earlier reading had with a later change time.
SELECT count(*)
FROM (
    SELECT
        key,
        max(changed) FILTER (load_id = {{load}}) AS now,
        max(read_at) FILTER (load_id = {{load}}) AS read_at
    FROM temp.main.candidates
    GROUP BY key
) AS fresh
WHERE EXISTS (
    SELECT 1
    FROM temp.main.candidates AS earlier
    WHERE earlier.key = fresh.key AND earlier.changed > fresh.now AND earlier.read_at <= fresh.read_at
)

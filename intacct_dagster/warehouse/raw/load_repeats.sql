-- A row is an older version of a key that was loaded more than once: it changed within the window
-- while it was read, and was met at both its places.
DELETE FROM {{raw}}
WHERE rowid IN (
    SELECT place
    FROM (
        SELECT
            rowid AS place,
            row_number() OVER (PARTITION BY {{key}} ORDER BY {{changed}} DESC NULLS LAST, rowid DESC) AS version
        FROM {{raw}}
        WHERE _load_id = {{load}}
            AND hash({{key}}) IN (
                SELECT hash({{key}})
                FROM {{raw}}
                WHERE _load_id = {{load}}
                GROUP BY 1
                HAVING count(*) > 1
            )
    ) AS repeated
    WHERE version > 1
)

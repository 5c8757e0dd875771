-- A row is a good line. `_occurrence` counts how often its document has come so far: 1 for the
-- first, 2 where the same line of the same document comes again, in this file or a later one.
WITH good AS (
    SELECT
        {{columns}},
        _document,
        _file,
        _file_order,
        _line
    FROM memory.main.checked
    WHERE _kind IS NULL
),

repeated AS (
    -- a row is what came more than once: mostly none, so that few lines have to be put in order
    SELECT {{by}}
    FROM good
    GROUP BY {{by}}
    HAVING {{again}}
)

SELECT *, 1 AS _occurrence
FROM good
ANTI JOIN repeated USING ({{by}})
UNION ALL
SELECT *, {{occurrence}} AS _occurrence
FROM good
SEMI JOIN repeated USING ({{by}})

-- A row is a good line. `_occurrence` counts how often its document has come so far: 1 for the
-- first, 2 where the same line of the same document comes again, in this file or a later one.
SELECT
    {{columns}},
    _file,
    _file_order,
    _line,
    {{occurrence}} AS _occurrence
FROM memory.main.checked
WHERE _kind IS NULL

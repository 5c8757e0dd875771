-- A row is a record of a file that could not be used, as it stands in the file, and why.
INSERT INTO warehouse.feed.quarantine BY NAME
SELECT
    CAST($feed AS VARCHAR) AS feed,
    _file AS file,
    _line AS line,
    _kind AS kind,
    _reason AS reason,
    _source_id AS source_id,
    {{entity}} AS entity,
    {{date}} AS day,
    _raw AS raw,
    CAST($run_id AS VARCHAR) AS run_id,
    CAST($read_at AS TIMESTAMP WITH TIME ZONE) AS read_at
FROM memory.main.checked
WHERE _kind IS NOT NULL
ORDER BY _file_order, _line

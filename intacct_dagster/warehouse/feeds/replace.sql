-- A row is a good line of a document of one of the partitions that are replaced.
INSERT INTO {{feed}} BY NAME
SELECT
    {{columns}},
    lines.{{entity}} AS _entity,
    lines.{{date}} AS _day,
    lines._document,
    lines._file,
    lines._line,
    lines._occurrence,
    sources.invalid AS _invalid,
    CAST($run_id AS VARCHAR) AS _run_id,
    CAST($read_at AS TIMESTAMP WITH TIME ZONE) AS _read_at
FROM memory.main.lines AS lines
LEFT JOIN memory.main.sources AS sources 
    ON sources.document = lines._document AND sources.entity = lines.{{entity}}
INNER JOIN memory.main.partitions AS partitions
    ON partitions.entity = lines.{{entity}} AND partitions.day = lines.{{date}}
ORDER BY lines._file_order, lines._line

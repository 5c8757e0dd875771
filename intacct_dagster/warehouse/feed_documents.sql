-- A row is a document by its source id, whatever number of times it came, and why none of its
-- occurrences may be posted: null if nothing speaks against it.
CREATE TABLE memory.main.sources AS
WITH occurrences AS (
    -- a row is one occurrence of a document
    SELECT
        {{source_id}} AS source_id,
        _occurrence,
        min((_file_order, _line)) AS began,
        arg_min(concat(_file, ':', _line), (_file_order, _line)) AS place,
        -- the lines whatever their order, in 128 bits: the lines themselves would not fit into memory
        (count(*), sum(md5_number_lower(_content)), sum(md5_number_upper(_content))) AS content,
        nullif(concat_ws(', ', {{conflicts}}), '') AS conflicts,
        nullif(concat_ws('; ', {{totals}}), '') AS totals
    FROM (SELECT *, CAST(to_json([{{content}}]) AS VARCHAR) AS _content FROM memory.main.lines)
    GROUP BY ALL
),

quarantined AS (
    -- a row is a document that has lost a line to quarantine
    SELECT
        _source_id AS source_id,
        arg_min(concat('line ', _line, ' of ', _file, ' is in quarantine: ', _reason), (_file_order, _line))
            AS reason
    FROM memory.main.checked
    WHERE _kind IS NOT NULL AND _source_id IS NOT NULL
    GROUP BY _source_id
),

unassigned AS (
    -- a row is a file with a line in quarantine that may be of any document of the file
    SELECT
        _file,
        concat(
            'line ', min(_line), ' of ', _file, ' is in quarantine and may belong to any document of',
            ' the file; give the feed a `total`, and documents that add up are safe from that'
        ) AS reason
    FROM memory.main.checked
    WHERE _kind IS NOT NULL AND NOT _certain
    GROUP BY _file
),

unread AS (
    -- the one row is the first file of which nothing could be read
    SELECT
        concat(
            arg_min(_file, _file_order),
            ' could not be read, and documents may continue in it; give the feed a `total`, and',
            ' documents that add up are safe from that'
        ) AS reason
    FROM memory.main.checked
    WHERE _kind = 'file'
    HAVING count(*) > 0
),

exposed AS (
    -- a row is a document with lines in such a file, where nothing can tell that one is lost
    SELECT
        {{source_id}} AS source_id,
        min(unassigned.reason) AS reason
    FROM memory.main.lines
    INNER JOIN unassigned USING (_file)
    WHERE NOT {{cannot_be_cut}}
    GROUP BY ALL
)

SELECT
    occurrences.source_id,
    coalesce(
        any_value(quarantined.reason),
        CASE
            WHEN count(DISTINCT occurrences.content) > 1
                THEN concat(
                    'different documents carry this id: ',
                    string_agg(occurrences.place, ', ' ORDER BY occurrences.began)
                )
        END,
        'its lines differ in ' || min(occurrences.conflicts),
        min(occurrences.totals),
        any_value(exposed.reason),
        CASE WHEN {{spans_files}} AND NOT {{cannot_be_cut}} THEN (SELECT reason FROM unread) END
    ) AS invalid
FROM occurrences
LEFT JOIN quarantined USING (source_id)
LEFT JOIN exposed USING (source_id)
GROUP BY occurrences.source_id
